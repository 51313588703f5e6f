//! `agentctl openapi`.

use crate::cli::Session;
use crate::failure::Outcome;

/// Print the OpenAPI description of the agent's HTTP API; needs no agent
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

impl Args {
    pub(crate) fn run(self, session: &Session) -> Outcome {
        session.screen.json(&reverie_core::api::document(env!("CARGO_PKG_VERSION")))
    }
}
