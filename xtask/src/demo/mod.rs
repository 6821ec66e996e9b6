//! `cargo xtask demo`: one life of the wrapper, told and drawn, and each of its promises checked.

mod life;
mod observer;
mod picture;
mod promises;
mod style;
mod terminal;
mod voice;

use std::{
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use agent_wrap_testbed::{
    hudson::{Hudson, HudsonOptions},
    simulated::{Options as Controller, Simulated},
    skip,
};
use anyhow::{Context, Result};
use clap::Args;
use signal_hook::consts::{SIGINT, SIGTERM};

use self::{life::Scene, style::Style, voice::Voice};
use crate::{install, run};

/// The version that the recordings are of, which the simulation is held against.
const JENKINS: &str = "2.578";

#[derive(Args)]
pub(crate) struct Options {
    /// On a real controller (Hudson 3.0.0) with its own java agent; installs and fetches what that needs
    #[arg(long)]
    real: bool,
    /// Install nothing and fetch nothing
    #[arg(long, requires = "real")]
    no_install: bool,
    /// Build nothing and make no pauses for reading: for a test, which has built everything and reads fast
    #[arg(long, hide = true)]
    rehearse: bool,
}

/// Plays one life. It is a success when every promise was kept.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    if options.real && !options.no_install {
        install::packages(install::User::Demo);
        install::hudson();
    }
    if !options.rehearse {
        run::check(run::cargo().args(["build", "--workspace", "--bins"]).args(run::locked()))?;
    }
    let interrupted = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&interrupted)).context("cannot take signals")?;
    }
    let outcome =
        if options.real { on_hudson(options, &interrupted) } else { on_the_simulation(options, &interrupted) };
    if interrupted.load(Ordering::Relaxed) {
        eprintln!("interrupted; nothing is left behind");
        return Ok(ExitCode::from(130));
    }
    Ok(if outcome? { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn on_the_simulation(options: &Options, interrupted: &AtomicBool) -> Result<bool> {
    let voice = Voice::new(Style::of_stdout());
    let controller = Simulated::start(Controller::jenkins(JENKINS))?;
    voice.narrate(&format!("a simulated Jenkins {JENKINS}; `java` is a stand-in for the agent (misbehave)"))?;
    let scene = Scene::with_stand_in(&controller)?;
    life::play(&controller, scene, &voice, !options.rehearse, interrupted)
}

fn on_hudson(options: &Options, interrupted: &AtomicBool) -> Result<bool> {
    skip::need_hudson().map_err(anyhow::Error::msg)?;
    let voice = Voice::new(Style::of_stdout());
    voice.narrate("starting a real controller, Hudson 3.0.0; that takes some ten seconds")?;
    let controller = Hudson::start(HudsonOptions { security: true, ..HudsonOptions::default() })?;
    let scene = Scene::with_real_agent(&controller)?;
    life::play(&controller, scene, &voice, !options.rehearse, interrupted)
}
