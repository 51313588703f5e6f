//! `agentctl`: talks to the Reverie agent on this host.

#![forbid(unsafe_code)]

mod bench;
mod cli;
mod client;
mod configuration;
mod doctor;
mod failure;
#[cfg(test)]
#[path = "../tests/golden.rs"]
mod golden;
mod issue_output;
mod layout;
mod mesh_client;
mod mesh_health;
mod own_agent;
mod presented;
mod screen;
mod secret_input;
mod verb;

use std::process::ExitCode;

use clap::Parser;

use crate::cli::Cli;
use crate::failure::{Exit, Failure};

fn main() -> ExitCode {
    let json = std::env::args_os().any(|argument| argument == "--json");
    let outcome = match Cli::try_parse() {
        Ok(cli) => run(cli),
        Err(error) if !error.use_stderr() => {
            // --help and --version.
            let _ = error.print();
            return ExitCode::SUCCESS;
        }
        Err(error) => Err(cli::usage(&error)),
    };
    match outcome {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            screen::show_failure(&failure, json);
            ExitCode::from(failure.exit as u8)
        }
    }
}

fn run(cli: Cli) -> failure::Outcome {
    let threads = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = threads.map_err(|error| Failure::new(Exit::Internal, format_args!("cannot start: {error}")))?;
    runtime.block_on(cli.run())
}
