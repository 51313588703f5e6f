//! `agentctl bench`.

use crate::cli::Session;
use crate::failure::Outcome;

/// Benchmarks
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Verb {}

impl Verb {
    pub(crate) async fn run(self, _: &Session) -> Outcome {
        match self {}
    }
}
