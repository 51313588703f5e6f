//! `agentctl config`.

use std::path::{Path, PathBuf};

use crate::cli::Session;
use crate::configuration::Files;
use crate::failure::{Exit, Failure, Outcome};
use crate::screen::{counted, plain, plain_block};

/// The configuration on disk
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Verb {
    /// Check a configuration and its drop-ins; names file, line and column of what is wrong
    Check {
        /// The main file [default: as --config]
        file: Option<PathBuf>,
    },
    /// Show the whole configuration with its defaults
    Show {
        /// The main file [default: as --config]
        file: Option<PathBuf>,
    },
    /// Print the JSON schema of the main file
    Schema,
}

impl Verb {
    pub(crate) fn run(self, session: &Session) -> Outcome {
        match self {
            Self::Check { file } => check(session, file.as_deref().unwrap_or(&session.layout().config)),
            Self::Show { file } => show(session, file.as_deref().unwrap_or(&session.layout().config)),
            Self::Schema => session.screen.json(&reverie_core::config::schema()),
        }
    }
}

#[derive(serde::Serialize)]
struct Checked {
    files: Vec<String>,
    identities: usize,
    secrets: usize,
}

fn check(session: &Session, file: &Path) -> Outcome {
    let files = Files::read(file)?;
    let config = files.parse()?;
    let names = files.paths().map(|path| path.display().to_string()).collect();
    let checked = Checked { files: names, identities: config.identities.len(), secrets: config.secrets.len() };
    session.screen.show(&checked, |checked| {
        let files: String = checked.files.iter().map(|file| format!("{}\n", plain(file))).collect();
        let identities = counted(checked.identities as u64, "identity", "identities");
        format!("{files}good: {identities}, {}\n", counted(checked.secrets as u64, "secret", "secrets"))
    })
}

fn show(session: &Session, file: &Path) -> Outcome {
    let files = Files::read(file)?;
    let config = files.parse()?;
    if session.screen.json {
        return session.screen.json(&config);
    }
    let text = toml::to_string_pretty(&config).map_err(|why| Failure::new(Exit::Internal, why))?;
    let names: String = files.paths().map(|path| format!("# {}\n", plain(&path.display().to_string()))).collect();
    session.screen.text(&format!("# What the agent makes of these files, with every default:\n{names}\n{}", plain_block(&text)))
}
