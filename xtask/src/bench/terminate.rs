//! From TERM to the wrapper to the handler in the agent.

use std::path::Path;

use anyhow::Result;

use super::{
    probe::{self, Probe},
    statistics::{Sample, microseconds, ratio},
    variants::{self, Variant},
};

/// How many fresh instances of each get their one TERM.
const INSTANCES: usize = 40;

pub(super) fn report(wrapper: &Path, stamp: &Path) -> Result<String> {
    let mut variants = vec![variants::bare()];
    variants.extend(variants::peers());
    variants.push(variants::standalone(wrapper)?);
    let mut times = vec![Vec::new(); variants.len()];
    for round in 0..INSTANCES {
        for turn in 0..variants.len() {
            let place = (round + turn) % variants.len();
            times[place].push(terminate(&variants[place], stamp)?);
        }
    }
    let samples: Vec<_> = times.into_iter().map(Sample::new).collect();
    let base = samples[0].median();
    let mut text = format!(
        "### From TERM to the agent's handler\n\nOne TERM to an idle, fresh instance; median of {INSTANCES} each in \
         rotating order.\n\n| | median (µs) | 10 % to 90 % (µs) | of nothing |\n|---|---:|---:|---:|\n"
    );
    for (variant, sample) in variants.iter().zip(&samples) {
        text.push_str(&format!(
            "| {} | {} | {} to {} | {} |\n",
            variant.name,
            microseconds(sample.median()),
            microseconds(sample.quantile(10)),
            microseconds(sample.quantile(90)),
            ratio(sample.median(), base)
        ));
    }
    Ok(text)
}

fn terminate(variant: &Variant, stamp: &Path) -> Result<u64> {
    let mut probe = Probe::start(variant.command(stamp, &["wait"]))?;
    // Its start, and the moment from which on it obeys.
    probe.stamp()?;
    probe.stamp()?;
    probe.settle()?;
    let sent = probe::now()?;
    probe.terminate()?;
    let time = probe.stamp()?.saturating_sub(sent);
    probe.end()?;
    Ok(time)
}
