//! The warden: what needs a privilege, and nothing else. It holds no key and meets no network.
//!
//! It tells the keeper facts about callers, puts files where services read them, and tells services to read them
//! again. One loop on the main thread; what may take long runs on a thread of its own, a bounded number of them.
//! A bad request is answered, never fatal; the warden ends when the keeper closes the channel.

mod attest;
mod cgroup;
mod credentials;
mod digest;
mod facts;
mod failure;
mod jobs;
mod path;
mod publish;
mod reload;

#[cfg(test)]
mod attack_tests;
#[cfg(test)]
mod fixture;
#[cfg(test)]
mod tests;

use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use reverie_core::ipc::warden::{Reply, Request};
use reverie_sys::{peer, process};

use crate::ops::channel::{ChannelError, Incoming, Replies, Server, stdin_channel};
use crate::ops::confinement;
use failure::Failure;
use jobs::Slots;

/// Reloads at once; and, counted apart so that neither can starve the other, slow looks at callers.
const MAX_JOBS: usize = 8;
/// Looks and digests at once for one uid, so that others find a place.
const MAX_LOOKS_PER_UID: usize = 2;

/// On whose behalf services are reloaded: nobody's who could ask for too many.
const KEEPER: u32 = 0;

/// How the warden is to behave.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where `certs/`, `secrets/` and `stamps/` are.
    pub run_dir: PathBuf,
    /// The only uid, besides root and our own, whose requests are obeyed; `None` where the channel is a socketpair.
    pub keeper_uid: Option<u32>,
    /// The program that reloads units; a bare name is searched in the usual directories.
    pub systemctl: PathBuf,
    /// How long a reload may take before it is ended.
    pub reload_deadline: Duration,
}

impl Options {
    /// Options with the defaults: `systemctl`, 30 s, any keeper.
    pub fn new(run_dir: PathBuf) -> Self {
        Self { run_dir, keeper_uid: None, systemctl: "systemctl".into(), reload_deadline: Duration::from_secs(30) }
    }
}

/// Why the warden did not start, or ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The channel failed.
    #[error(transparent)]
    Channel(#[from] ChannelError),
    /// Standard input is not a channel from the keeper.
    #[error("standard input is not a socket from the keeper ({0}); the warden is started by the keeper or by its socket unit")]
    NoChannel(io::Error),
    /// Somebody else connected.
    #[error(
        "uid {uid} connected to the warden, but the keeper is uid {keeper}; check the socket unit's SocketUser= and SocketMode="
    )]
    WrongKeeper {
        /// Who connected.
        uid: u32,
        /// Who should have.
        keeper: u32,
    },
    /// A privilege could not be given up.
    #[error("could not give up what the warden must not pass on ({0})")]
    Harden(String),
}

/// Runs the warden on standard input until the keeper closes it.
pub fn run(options: Options) -> Result<(), Error> {
    harden()?;
    serve(stdin_channel().map_err(Error::NoChannel)?, options)
}

/// So that a reload command gets no capability of ours: a program that is not root's inherits only what is ambient
/// or inheritable, and what is in its file counts no more. (A warden that runs as root, as in tests, runs its
/// commands as root.)
fn harden() -> Result<(), Error> {
    let harden = |error: &dyn std::fmt::Display| Error::Harden(error.to_string());
    process::set_nondumpable().map_err(|error| harden(&error))?;
    process::set_no_new_privs().map_err(|error| harden(&error))?;
    confinement::give_up_system_calls().unwrap_or_else(|error| tracing::warn!(%error, "the warden could not be confined"));
    caps::clear(None, caps::CapSet::Ambient).map_err(|error| harden(&error))?;
    caps::clear(None, caps::CapSet::Inheritable).map_err(|error| harden(&error))
}

/// Runs the warden on `channel` until the keeper closes it.
pub fn serve(channel: OwnedFd, options: Options) -> Result<(), Error> {
    check_keeper(&channel, options.keeper_uid)?;
    let mut server = Server::accept(channel, "warden")?;
    publish::sweep(&options.run_dir);
    let warden = Warden {
        replies: server.replies(),
        digests: digest::Digests::new(Slots::new(MAX_JOBS, MAX_LOOKS_PER_UID)),
        slow_looks: Slots::new(MAX_JOBS, MAX_LOOKS_PER_UID),
        reloads: Slots::new(MAX_JOBS, MAX_JOBS),
        options: Arc::new(options),
    };
    while let Some(incoming) = server.receive()? {
        warden.handle(incoming)?;
    }
    // A reload that was begun is finished; each ends by its own deadline.
    warden.reloads.wait_idle(warden.options.reload_deadline + Duration::from_secs(5));
    Ok(())
}

fn check_keeper(channel: &OwnedFd, keeper: Option<u32>) -> Result<(), Error> {
    let credentials = peer::peer_credentials(channel).map_err(Error::NoChannel)?;
    check_uid(credentials.uid, keeper, nix::unistd::geteuid().as_raw())
}

fn check_uid(uid: u32, keeper: Option<u32>, own: u32) -> Result<(), Error> {
    match keeper {
        Some(keeper) if ![keeper, own, 0].contains(&uid) => Err(Error::WrongKeeper { uid, keeper }),
        _ => Ok(()),
    }
}

struct Warden {
    options: Arc<Options>,
    replies: Replies<Reply>,
    digests: digest::Digests,
    slow_looks: Slots,
    reloads: Slots,
}

impl Warden {
    /// Answers now, or hands the request to a thread that will. Only a broken channel is an error.
    fn handle(&self, incoming: Incoming<Request>) -> Result<(), ChannelError> {
        let Incoming { id, body, descriptors } = incoming;
        let run_dir = &self.options.run_dir;
        let reply = match body {
            Err(error) => Failure::from(error.to_string()).into(),
            Ok(Request::Facts { digest_exe }) => return self.attest(id, descriptors, digest_exe),
            Ok(Request::StillRuns { device, inode }) => {
                facts::still_runs(descriptors, device, inode).map_or_else(Reply::from, Reply::StillRuns)
            }
            Ok(Request::Publish(publication)) => {
                publish::publish(run_dir, &publication).map_or_else(Reply::from, |changed| Reply::Published { changed })
            }
            Ok(Request::Withdraw(target)) => publish::withdraw(run_dir, &target).map_or_else(Reply::from, |()| Reply::Withdrawn),
            Ok(Request::List(kind)) => publish::list(run_dir, kind).map_or_else(Reply::from, Reply::Names),
            Ok(Request::Reload(reload)) => return self.reload(id, reload),
        };
        self.replies.send(id, &reply)
    }

    fn reload(&self, id: u64, reload: reverie_core::ipc::warden::Reload) -> Result<(), ChannelError> {
        let (replies, options) = (self.replies.clone(), Arc::clone(&self.options));
        let started = self.reloads.start("reload", KEEPER, move || {
            let reply = match reload::reload(&reload, &options) {
                Ok(reload::Told::Reloaded) => Reply::Reloaded,
                Ok(reload::Told::NotRunning) => Reply::NotRunning,
                Err(failure) => failure.into(),
            };
            jobs::answer(&replies, id, &reply);
        });
        match started {
            Ok(()) => Ok(()),
            Err(failure) => self.replies.send(id, &failure.into()),
        }
    }
}
