//! `agentctl identity`.

mod declaration;
mod drop_in;
mod listing;

use reverie_core::id::IdentityName;

use crate::cli::Session;
use crate::failure::Outcome;

/// Identities: which there are, and their declaration in drop-in files
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Verb {
    /// List identities: all for an administrator, else yours
    List,
    /// Show one identity
    Show {
        /// Its name
        name: IdentityName,
    },
    /// Declare an identity in a drop-in file of its own, agent.d/NAME.toml
    Add(Box<declaration::Declaration>),
    /// Remove the drop-in file that `add` wrote
    Rm {
        /// Its name
        name: IdentityName,
    },
}

impl Verb {
    pub(crate) async fn run(self, session: &Session) -> Outcome {
        match self {
            Self::List => listing::list(session).await,
            Self::Show { name } => listing::show(session, &name).await,
            Self::Add(declaration) => drop_in::add(session, &declaration),
            Self::Rm { name } => drop_in::remove(session, &name),
        }
    }
}
