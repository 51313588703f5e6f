//! `agentctl secret`.

use std::path::PathBuf;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reverie_core::api::Operation;
use reverie_core::api::admin::{SealRequest, SecretSummary, Secrets};
use reverie_core::api::local::{SecretNames, SecretValue};
use reverie_core::id::SecretName;
use zeroize::Zeroizing;

use super::cert::TokenFile;
use crate::cli::Session;
use crate::client::{Call, is_no_admin};
use crate::failure::{Exit, Failure, Outcome};
use crate::screen::{Table, date_or_dash, plain, plain_block};
use crate::secret_input;

/// Secrets, sealed by the agent
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Verb {
    /// Seal a value, or replace it: from standard input, a file, or a prompt
    Seal {
        /// Its name
        name: SecretName,
        /// Take the value from this file
        #[arg(long, value_name = "FILE")]
        file: Option<PathBuf>,
        /// Drop one newline at its end
        #[arg(long)]
        trim: bool,
    },
    /// List secrets, without values: all for an administrator, else those you may read
    List,
    /// Print a secret's value; this is recorded in the audit log
    Show {
        /// Its name
        name: SecretName,
        #[command(flatten)]
        token: TokenFile,
    },
    /// Remove a secret
    Rm {
        /// Its name
        name: SecretName,
    },
}

impl Verb {
    pub(crate) async fn run(self, session: &Session) -> Outcome {
        match self {
            Self::Seal { name, file, trim } => seal(session, &name, file, trim).await,
            Self::List => list(session).await,
            Self::Show { name, token } => show(session, &name, &token).await,
            Self::Rm { name } => {
                let call = Call::of(Operation::RemoveSecret).named(name.as_str());
                let removed: SecretSummary = session.client.call(call).await?;
                session.screen.show(&removed, |removed| format!("removed {}\n", plain(&removed.name)))
            }
        }
    }
}

async fn seal(session: &Session, name: &SecretName, file: Option<PathBuf>, trim: bool) -> Outcome {
    let value = secret_input::read(file.as_deref(), trim)?;
    if value.ends_with(b"\n") {
        session.screen.note("The value ends with a newline, which is kept; --trim drops it.");
    }
    let request = SealRequest { value: STANDARD.encode(&*value) };
    let sealed: SecretSummary = session.client.call(Call::of(Operation::SealSecret).named(name.as_str()).body(&request)?).await?;
    if !sealed.declared {
        session.screen.note("No [[secret]] in the configuration names it yet: nobody but an administrator can read it.");
    }
    session.screen.show(&sealed, |sealed| format!("sealed {}, version {}\n", plain(&sealed.name), sealed.version))
}

async fn list(session: &Session) -> Outcome {
    match session.client.call::<Secrets>(Call::of(Operation::ListAllSecrets)).await {
        Err(why) if is_no_admin(&why) => {
            let mine: SecretNames = session.client.call(Call::of(Operation::ListSecrets)).await?;
            session.screen.show(&mine, |mine| match mine.secrets.is_empty() {
                true => "You may read no secret here.\n".to_owned(),
                false => mine.secrets.iter().map(|name| format!("{}\n", plain(name))).collect(),
            })
        }
        all => session.screen.show(&all?, |all| {
            let mut table = Table::new(["NAME", "VERSION", "SEALED AT", "READ BY"], "No secret is declared or sealed.");
            for SecretSummary { name, version, sealed_at, allow, declared } in &all.secrets {
                let version = if *version == 0 { "no value yet".to_owned() } else { version.to_string() };
                let allow = if *declared { allow.join(", ") } else { "nobody: not declared".to_owned() };
                table.row([name.clone(), version, date_or_dash(*sealed_at), allow]);
            }
            table.render()
        }),
    }
}

async fn show(session: &Session, name: &SecretName, token: &TokenFile) -> Outcome {
    let token = token.find()?;
    let own = Call::of(Operation::ReadSecret).named(name.as_str()).token(token.as_ref());
    let secret: SecretValue = match &token {
        Some(_) => session.client.call(own).await?,
        None => session.client.call_or(Call::of(Operation::RevealSecret).named(name.as_str()), own).await?,
    };
    if session.screen.json {
        return session.screen.json(&secret);
    }
    let mut value = Zeroizing::new(vec![0; secret.value.len()]);
    let length = STANDARD.decode_slice(&secret.value, &mut value).map_err(|_| {
        Failure::new(Exit::Internal, "the agent's answer is not base64").advise("compare versions with `agentctl doctor`")
    })?;
    value.truncate(length);
    match std::str::from_utf8(&value) {
        // On a terminal: nothing that drives it, and the prompt on a line of its own.
        Ok(text) if session.screen.is_terminal() => session.screen.bytes(format!("{}\n", plain_block(text)).as_bytes()),
        Err(_) if session.screen.is_terminal() => {
            Err(Failure::new(Exit::Data, "the value is binary").advise("redirect standard output to a file or a program"))
        }
        _ => session.screen.bytes(&value),
    }
}
