//! The file view: a file system in which each process sees its own identities and secrets. It holds no key: what a file says, the
//! keeper says when it is opened, to that reader.
//!
//! Mounting wants privileges, serving none. The packaged unit mounts in a step of its own and hands the device over
//! (`LISTEN_FDNAMES=view`); without it a process that the keeper started first of all, `view-mount`, mounts, starts this role with
//! the device as its standard output, and detaches the mount when it has ended.

mod attributes;
mod dispatch;
mod files;
mod glances;
mod handles;
pub mod mount;
mod reader;
mod shared;

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use fuser::{Config, Session, SessionACL};
use reverie_sys::process;
use sd_notify::NotifyState;

use crate::ops::channel::{Channel, ChannelError, stdin_channel};
use crate::ops::confinement;
use dispatch::Watchdog;
use files::Files;

/// Where it is mounted, in the run directory; and what systemd calls the device.
pub const FOLDER: &str = "view";
/// Questions to the keeper at once: as many as it answers at once.
const AT_ONCE: usize = 256;
/// Between looks whether the keeper is still there.
const LOOK: Duration = Duration::from_millis(200);

/// Why the view ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The channel failed.
    #[error(transparent)]
    Channel(#[from] ChannelError),
    /// There is no channel to the keeper.
    #[error("there is no socket to the keeper ({0}); the role view is started by the keeper or by its socket unit")]
    NoChannel(io::Error),
    /// There is no mounted device.
    #[error("no mounted /dev/fuse was handed over ({0}); the role view is started by view-mount or by its unit")]
    NoDevice(io::Error),
    /// The kernel and we do not agree on FUSE.
    #[error("the kernel does not speak FUSE with this program: {0}")]
    Handshake(io::Error),
    /// The kernel gave no thread or no memory.
    #[error("the view could not start ({0}); check the limits of its unit")]
    Start(#[from] io::Error),
}

/// Serves the mounted device until the keeper closes the channel, or somebody unmounts it.
pub fn run() -> Result<(), Error> {
    process::set_nondumpable().and_then(|()| process::set_no_new_privs()).map_err(ChannelError::from)?;
    let device = device().map_err(Error::NoDevice)?;
    // systemd hands no device over to who has the connection on its standard input.
    let channel = process::handed_over("connection").transpose().unwrap_or_else(stdin_channel).map_err(Error::NoChannel)?;
    let watchdog = Watchdog::connect().unwrap_or_else(|error| {
        tracing::warn!(%error, "systemd's watchdog is not there");
        None
    });
    for confined in [confinement::give_up_system_calls(), confinement::keep_to_proc()] {
        confined.unwrap_or_else(|error| tracing::warn!(%error, "the view could not be confined"));
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).thread_name("view").enable_all().build()?;
    let result = runtime.block_on(serve(channel, device, watchdog));
    runtime.shutdown_timeout(Duration::from_secs(1));
    result
}

/// The device that somebody mounted: of the unit, or our standard output.
fn device() -> io::Result<OwnedFd> {
    if let Some(device) = process::handed_over(FOLDER)? {
        // Ours alone: with another holder, readers would wait for a view that has died.
        let forgotten = sd_notify::notify(&[NotifyState::FdStoreRemove, NotifyState::FdName(FOLDER)]);
        forgotten.unwrap_or_else(|error| tracing::warn!(%error, "systemd keeps the device, too"));
        return Ok(device);
    }
    let device = io::stdout().as_fd().try_clone_to_owned()?;
    let null = std::fs::OpenOptions::new().write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdout(null)?;
    Ok(device)
}

async fn serve(channel: OwnedFd, device: OwnedFd, watchdog: Option<Watchdog>) -> Result<(), Error> {
    let keeper = Arc::new(Channel::connect_as(channel, "view", "keeper", AT_ONCE).await?);
    let files = Files::new(Arc::clone(&keeper), tokio::runtime::Handle::current());
    let state = files.state();
    let begun = tokio::task::spawn_blocking(move || Session::from_fd(files, device, SessionACL::All, Config::default())).await;
    let session = begun.map_err(io::Error::other)?.map_err(Error::Handshake)?;
    tokio::spawn(shared::follow(Arc::clone(&keeper), Arc::clone(&state)));
    if let Some(watchdog) = watchdog {
        tokio::spawn(watchdog.feed(state));
    }
    // It blocks for as long as it is mounted; the process ends before it if the keeper does.
    let mut serving = tokio::task::spawn_blocking(move || session.run());
    loop {
        tokio::select! {
            ended = &mut serving => return ended.map_err(io::Error::other)?.map_err(Error::Start),
            () = tokio::time::sleep(LOOK) => {
                if keeper.is_closed() {
                    return Ok(());
                }
            }
        }
    }
}
