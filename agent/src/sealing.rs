//! `reverie-agent seal`: the root secret, by hand or by the oneshot unit before the first start.

use std::path::PathBuf;
use std::time::SystemTime;

use clap::{Args, Subcommand};
use reverie_core::config::SealMode;
use reverie_tpm::root::{self, Backends, Opened, Renewal, RootError};
use reverie_tpm::{Choice, Mode, Policy};

use crate::ops::configuration::{self, LoadError};

/// The root secret that wraps everything the agent keeps.
#[derive(Debug, Args)]
pub struct Seal {
    #[command(subcommand)]
    verb: Verb,
    /// Where it is.
    #[arg(long, global = true, value_name = "DIR", default_value = "/etc/credstore.encrypted/reverie")]
    dir: PathBuf,
    /// TPM to use, as systemd-creds takes it, e.g. /dev/tpmrm0 [default: as configured, else the machine's].
    #[arg(long, global = true, value_name = "DEVICE")]
    tpm2_device: Option<String>,
    /// Configuration whose [seal] says what the flags do not.
    #[arg(long, global = true, value_name = "FILE", default_value = "/etc/reverie/agent.toml")]
    config: PathBuf,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Make one, if there is none yet.
    Init(Terms),
    /// Seal it anew: with another mode, to other PCRs, or after a firmware update.
    Renew {
        #[command(flatten)]
        terms: Terms,
        /// Also if the new seal is weaker than the old.
        #[arg(long)]
        allow_weaker: bool,
    },
    /// Write down anew how it is sealed, after that record (root.cred.json) was lost.
    Adopt {
        /// How it was sealed: tpm2, host+tpm2, host or file. Never guessed: that would open whatever others put there.
        #[arg(long)]
        mode: Mode,
    },
    /// Say how it is sealed. Opens nothing.
    Show,
}

#[derive(Debug, Args)]
struct Terms {
    /// auto, tpm2, host+tpm2, host or file [default: as configured, else auto].
    #[arg(long)]
    mode: Option<Choice>,
    /// PCRs the TPM must have unchanged, joined by +, e.g. 7+14 [default: as configured, else systemd's own].
    #[arg(long, value_parser = parse_pcrs)]
    pcrs: Option<Policy>,
}

/// A configured mode in the terms of the crate that seals.
pub fn choice(mode: SealMode) -> Choice {
    match mode {
        SealMode::Auto => Choice::Auto,
        SealMode::Tpm2 => Choice::Fixed(Mode::Tpm2),
        SealMode::HostTpm2 => Choice::Fixed(Mode::HostTpm2),
        SealMode::Host => Choice::Fixed(Mode::Host),
        SealMode::File => Choice::Fixed(Mode::File),
    }
}

fn parse_pcrs(text: &str) -> Result<Policy, String> {
    let numbers = text.split('+').filter(|part| !part.is_empty()).map(str::parse::<u8>);
    let numbers =
        numbers.collect::<Result<Vec<_>, _>>().map_err(|_| "write PCRs as numbers joined by +, e.g. 7+14".to_owned())?;
    Policy::new(numbers).map_err(|error| error.to_string())
}

/// Why sealing failed.
#[derive(Debug, thiserror::Error)]
pub enum SealingError {
    /// The seal itself.
    #[error(transparent)]
    Root(#[from] RootError),
    /// The configuration.
    #[error(transparent)]
    Config(#[from] LoadError),
    /// The directory.
    #[error("cannot make the directory {}: {error}", dir.display())]
    Directory {
        /// Which.
        dir: PathBuf,
        /// Why.
        error: std::io::Error,
    },
}

impl SealingError {
    /// The exit code (sysexits.h).
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Config(_) => 78,
            Self::Root(_) => 77,
            Self::Directory { .. } => 73,
        }
    }
}

/// Runs one verb; prints one line a fact.
pub fn run(seal: &Seal) -> Result<(), SealingError> {
    let configured = match seal.config.exists() {
        true => configuration::load(&seal.config)?.config.seal,
        false => reverie_core::config::Seal::default(),
    };
    let mut backends = Backends::new(&seal.dir);
    backends.tpm2_device = seal.tpm2_device.clone().or_else(|| configured.tpm2_device.clone());
    let settle = |terms: &Terms| {
        let choice = terms.mode.unwrap_or_else(|| choice(configured.mode));
        // The configuration has checked the numbers.
        let policy = terms.pcrs.clone().or_else(|| Policy::new(configured.pcrs.iter().copied()).ok()).unwrap_or_default();
        (choice, policy)
    };
    let now = SystemTime::now();
    match &seal.verb {
        Verb::Init(terms) => {
            make_directory(seal)?;
            let (choice, policy) = settle(terms);
            match root::create(&seal.dir, &backends, choice, &policy, now) {
                Ok(opened) => print(&opened),
                // Run before every start: one that is there is not an error.
                Err(RootError::AlreadyThere { .. }) => println!("a root secret is there already: nothing was done"),
                Err(error) => return Err(error.into()),
            }
        }
        Verb::Renew { terms, allow_weaker } => {
            let (choice, policy) = settle(terms);
            let renewal = Renewal { choice, policy: &policy, allow_weaker: *allow_weaker, now };
            print(&root::renew(&seal.dir, &backends, &renewal)?);
        }
        Verb::Adopt { mode } => print(&root::adopt(&seal.dir, &backends, *mode, now)?),
        Verb::Show => match seal.dir.exists().then(|| root::describe(&seal.dir)).transpose()?.flatten() {
            Some(record) => println!("sealed by {}, PCRs {:?}, made {}", record.mode, record.bound_pcrs, record.created),
            None => println!("there is no root secret in {}: `reverie-agent seal init` makes one", seal.dir.display()),
        },
    }
    Ok(())
}

fn make_directory(seal: &Seal) -> Result<(), SealingError> {
    use std::os::unix::fs::DirBuilderExt;
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&seal.dir);
    made.map_err(|error| SealingError::Directory { dir: seal.dir.clone(), error })
}

fn print(opened: &Opened) {
    println!("sealed by {}, PCRs {:?}", opened.record.mode, opened.record.bound_pcrs);
    for warning in &opened.warnings {
        eprintln!("warning: {warning}");
    }
}
