//! `agentctl completions`.

use clap::CommandFactory;

use crate::cli::{Cli, Session};
use crate::failure::Outcome;

/// Print the completion script of a shell
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The shell
    #[arg(value_enum)]
    shell: clap_complete::Shell,
}

impl Args {
    pub(crate) fn run(self, session: &Session) -> Outcome {
        let mut script = vec![];
        clap_complete::generate(self.shell, &mut Cli::command(), "agentctl", &mut script);
        match session.screen.json {
            true => session.screen.json(&serde_json::json!({ "script": String::from_utf8_lossy(&script) })),
            false => session.screen.bytes(&script),
        }
    }
}
