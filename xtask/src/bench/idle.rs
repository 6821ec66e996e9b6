//! What the wrapper costs while nothing happens.

use std::{fs, path::Path, process::Stdio, thread, time::Duration};

use agent_wrap_testbed::{spawner, spawner::Process, wait};
use anyhow::{Context as _, Result};

use super::{
    probe::{BOUND, Probe, field, voluntary_switches},
    start::Controlled,
    variants,
};

/// How long the context switches are counted.
const SPAN: Duration = Duration::from_secs(10);

struct Row {
    name: &'static str,
    /// Its main process first.
    processes: Vec<u32>,
    before: u64,
}

pub(super) fn report(wrapper: &Path, stamp: &Path) -> Result<String> {
    let mut variants = variants::peers();
    variants.push(variants::standalone(wrapper)?);
    let mut probes = Vec::new();
    for variant in &variants {
        let mut probe = Probe::start(variant.command(stamp, &["wait"]))?;
        probe.stamp()?;
        probe.stamp()?;
        probe.settle()?;
        probes.push((variant.name, probe));
    }
    let controlled = Controlled::prepare(wrapper)?;
    let with_controller = start_with_controller(&controlled)?;

    let requests = controlled.controller.requests().len();
    let processes = probes.iter().map(|(name, probe)| (*name, probe.id()));
    let all = processes.chain([("agent-wrap, simulated controller", with_controller.id())]);
    let rows: Vec<_> = all
        .map(|(name, process)| {
            let processes = own_processes(process)?;
            let before = switches(&processes)?;
            Ok(Row { name, processes, before })
        })
        .collect::<Result<_>>()?;
    pause();
    let requests = controlled.controller.requests().len() - requests;

    let mut text = format!(
        "### Idle\n\nWith an idle agent; for the last row the agent is connected, the client has spoken to the \
         controller, and the node is looked at as often as by default. All processes of each count, the agent does not; what they share counts \
         in each one's RSS.\n\n| | processes | RSS (KiB) | PSS (KiB) | private dirty \
         (KiB) | threads | voluntary context switches in {} s |\n|---|---:|---:|---:|---:|---:|---:|\n",
        SPAN.as_secs()
    );
    for Row { name, processes, before } in rows {
        let switches = switches(&processes)?.saturating_sub(before);
        text.push_str(&format!("| {name} | {} | {} | {switches} |\n", processes.len(), memory(&processes)?));
    }
    text.push_str(&format!("\nHTTP requests in that time: {requests}.\n"));
    for (_, probe) in probes {
        probe.terminate()?;
        probe.end()?;
    }
    drop(with_controller);
    Ok(text)
}

/// A wrapper whose agent is connected and whose node has settled.
fn start_with_controller(controlled: &Controlled) -> Result<Process> {
    let log = controlled.directory().join("log");
    let mut command = controlled.command(&["--log-format", "json", "--log-level", "debug"]);
    command.args(controlled.agent()).stdin(Stdio::null()).stdout(Stdio::null());
    command.stderr(fs::File::create(&log).context("cannot write the log")?);
    let process = spawner::spawn(command)?;
    wait::until("the node to settle", BOUND, || {
        let text = fs::read_to_string(&log).context("cannot read the log")?;
        Ok(text.contains("\"event\":\"settled\"").then_some(()))
    })?;
    let mut before = None;
    wait::until("agent-wrap to be idle", BOUND, || {
        let now = Some(voluntary_switches(process.id())?);
        Ok((std::mem::replace(&mut before, now) == now).then_some(()))
    })?;
    Ok(process)
}

/// The process, and those of its children that run the same program: helpers of its own, not the agent.
fn own_processes(process: u32) -> Result<Vec<u32>> {
    let program = |process: u32| fs::read_link(format!("/proc/{process}/exe"));
    let ours = program(process).with_context(|| format!("cannot see what {process} runs: only root may"))?;
    let children = fs::read_to_string(format!("/proc/{process}/task/{process}/children"))
        .context("the kernel does not tell children (CONFIG_PROC_CHILDREN)")?;
    let children = children.split_whitespace().filter_map(|child| child.parse().ok());
    let same = children.filter(|child| program(*child).is_ok_and(|theirs| theirs == ours));
    Ok(std::iter::once(process).chain(same).collect())
}

fn switches(processes: &[u32]) -> Result<u64> {
    processes.iter().map(|process| voluntary_switches(*process)).sum()
}

/// RSS, PSS, private dirty and threads, as cells.
fn memory(processes: &[u32]) -> Result<String> {
    let mut sums = [0; 4];
    for process in processes {
        // The wrapper is not dumpable: only root reads this.
        let read = |file: &str| {
            let path = format!("/proc/{process}/{file}");
            fs::read_to_string(&path).with_context(|| format!("cannot read {path}: only root may"))
        };
        let (rollup, status) = (read("smaps_rollup")?, read("status")?);
        let figures = [(&rollup, "Rss"), (&rollup, "Pss"), (&rollup, "Private_Dirty"), (&status, "Threads")];
        for (sum, (text, name)) in sums.iter_mut().zip(figures) {
            *sum += field(text, name).with_context(|| format!("no {name} of {process}"))?;
        }
    }
    Ok(sums.map(|sum| sum.to_string()).join(" | "))
}

#[expect(clippy::disallowed_methods, reason = "the span itself is what is measured over")]
fn pause() {
    thread::sleep(SPAN);
}
