//! A reload by a command of the operator's: argv, no shell.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::super::failure::Failure;
use super::program;

/// Arguments, and bytes in all of them.
const MAX_ARGUMENTS: usize = 64;
const MAX_BYTES: usize = 64 * 1024;

pub(super) fn run(argv: &[String], deadline: Duration) -> Result<(), Failure> {
    let Some((program, arguments)) = argv.split_first() else {
        return Err("a reload command has no words; write a program with its absolute path".into());
    };
    if !Path::new(program).is_absolute() {
        return Err(format!("the reload command {program:?} must begin with an absolute path").into());
    }
    if argv.len() > MAX_ARGUMENTS || argv.iter().map(String::len).sum::<usize>() > MAX_BYTES {
        return Err(format!("the reload command {program:?} has too many or too long arguments; put them into a script").into());
    }
    let mut command = Command::new(program);
    command.args(arguments);
    program::run(command, &[], deadline)
}
