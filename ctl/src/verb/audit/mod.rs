//! `agentctl audit`.

mod offline;
mod tail;

use std::path::PathBuf;

pub(crate) use tail::{newest, one_line};

use crate::cli::Session;
use crate::failure::Outcome;

/// The audit log
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Verb {
    /// Show the last events
    Tail {
        /// How many
        #[arg(short = 'n', long, default_value_t = 20, value_name = "N", value_parser = clap::value_parser!(u64).range(0..=100_000))]
        lines: u64,
        /// Go on as new ones happen
        #[arg(short, long)]
        follow: bool,
    },
    /// Find what was changed, removed or cut off; exit 65 if anything was. Without files the agent checks its own log
    Verify {
        /// Files of a log, oldest first
        files: Vec<PathBuf>,
        /// The key that signs heads (SPKI, PEM); keep it apart from the log
        #[arg(long, value_name = "FILE", requires = "files")]
        public_key: Option<PathBuf>,
        /// Signed heads, one JSON object a line
        #[arg(long, value_name = "FILE", requires = "public_key")]
        heads: Option<PathBuf>,
        /// The files do not begin with event 1: take the first event on trust
        #[arg(long, requires = "files")]
        partial: bool,
    },
    /// Write the log as JSON lines, verbatim
    Export {
        /// Only events after this number
        #[arg(long, value_name = "SEQ", default_value_t = 0)]
        after: u64,
        /// A new file instead of standard output
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
}

impl Verb {
    pub(crate) async fn run(self, session: &Session) -> Outcome {
        match self {
            Self::Tail { lines, follow } => tail::tail(session, lines, follow).await,
            Self::Export { after, output } => tail::export(session, after, output.as_deref()).await,
            Self::Verify { files, .. } if files.is_empty() => offline::ask(session).await,
            Self::Verify { files, public_key, heads, partial } => {
                offline::verify(session, &files, public_key.as_deref(), heads.as_deref(), partial)
            }
        }
    }
}
