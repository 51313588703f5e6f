//! `agentctl config`.

use std::path::{Path, PathBuf};

use reverie_core::config::{Source, parse};

use crate::cli::Session;
use crate::configuration::{Files, exposed_tunnels, read_main, refused};
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
    /// Check a main file in TOML or JSON, and print it in the other: for programs that make configurations
    Convert {
        /// The file; JSON if its first character is {
        file: PathBuf,
    },
}

impl Verb {
    pub(crate) fn run(self, session: &Session) -> Outcome {
        match self {
            Self::Check { file } => check(session, file.as_deref().unwrap_or(&session.layout().config)),
            Self::Show { file } => show(session, file.as_deref().unwrap_or(&session.layout().config)),
            Self::Schema => session.screen.json(&reverie_core::config::schema()),
            Self::Convert { file } => convert(session, &file),
        }
    }
}

#[derive(serde::Serialize)]
struct Checked {
    files: Vec<String>,
    identities: usize,
    secrets: usize,
    tunnels: usize,
    /// Plain ends that are open to more than attested callers.
    exposed: Vec<String>,
}

fn check(session: &Session, file: &Path) -> Outcome {
    let files = Files::read(file)?;
    let config = files.parse()?;
    let names = files.paths().map(|path| path.display().to_string()).collect();
    let checked = Checked {
        files: names,
        identities: config.identities.len(),
        secrets: config.secrets.len(),
        tunnels: config.tunnels.len(),
        exposed: exposed_tunnels(&config),
    };
    session.screen.show(&checked, |checked| {
        let files: String = checked.files.iter().map(|file| format!("{}\n", plain(file))).collect();
        let identities = counted(checked.identities as u64, "identity", "identities");
        let exposed: String = checked.exposed.iter().map(|what| format!("note: {}\n", plain(what))).collect();
        let secrets = counted(checked.secrets as u64, "secret", "secrets");
        format!("{files}{exposed}good: {identities}, {secrets}, {}\n", counted(checked.tunnels as u64, "tunnel", "tunnels"))
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

fn convert(session: &Session, file: &Path) -> Outcome {
    let name = file.display().to_string();
    let text = read_main(file)?;
    if !text.trim_start().starts_with('{') {
        check_alone(&name, &text)?;
        let value: serde_json::Value = toml::from_str(&text).map_err(|why| Failure::new(Exit::Data, why))?;
        return session.screen.json(&value);
    }
    let value: serde_json::Value = serde_json::from_str(&text).map_err(|why| {
        Failure::new(Exit::Data, format_args!("{name} is not JSON: {why}")).advise("correct it at that line and column")
    })?;
    let text = toml::to_string_pretty(&value).map_err(|why| {
        Failure::new(Exit::Data, format_args!("{name} cannot be written as TOML: {why}")).advise("leave keys without a value out")
    })?;
    check_alone(&format!("{name}, as TOML"), &text)?;
    match session.screen.json {
        true => session.screen.json(&serde_json::json!({ "toml": text })),
        false => session.screen.bytes(text.as_bytes()),
    }
}

fn check_alone(name: &str, text: &str) -> Result<(), Failure> {
    parse(Source { file: name, text }, &[]).map(drop).map_err(refused)
}
