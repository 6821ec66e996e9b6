//! Tests made from tables: each row is a test with a name of its own. They mostly wait for a program that mostly waits,
//! so more of them run at a time than the machine has processors.

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

/// How many of those run at a time that wait for nothing but each other's programs.
pub const MANY: usize = 96;

/// A test of this name.
pub fn trial(name: impl Into<String>, test: impl FnOnce() + Send + 'static) -> Trial {
    Trial::test(name.into(), move || {
        test();
        Ok(())
    })
}

/// Runs those tests that the command line asks for, so many at a time unless it says otherwise.
pub fn run(trials: Vec<Trial>, at_a_time: usize) -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(at_a_time);
    libtest_mimic::run(&arguments, trials).exit_code()
}
