//! `agentctl doctor`.

use crate::cli::Session;
use crate::doctor;
use crate::failure::Outcome;

/// Look for what is commonly wrong, and say what to try; exit 1 if anything is broken
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

impl Args {
    pub(crate) async fn run(self, session: &Session) -> Outcome {
        let facts = doctor::gather(session).await;
        let findings = doctor::examine(&facts);
        session.screen.show(&findings, |findings| doctor::render(findings))?;
        Ok(doctor::exit_code(&findings))
    }
}
