//! The net role: meets the network, and holds no key. It asks the keeper for every signature and every decryption, and is
//! trusted with none of what it carries: each record is signed by its author, and the keeper verifies that.

mod clock;
mod counters;
pub mod directory;
mod federation;
mod http;
mod keeper;
mod listener;
mod mesh;
mod tls;

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use reverie_sys::process;

use crate::ops::channel::{ChannelError, stdin_channel};
use crate::ops::confinement;
use keeper::Keeper;

/// Why the net role ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The channel failed.
    #[error(transparent)]
    Channel(#[from] ChannelError),
    /// Standard input is not a channel to the keeper.
    #[error("standard input is not a socket to the keeper ({0}); the net role is started by the keeper or by its socket unit")]
    NoChannel(io::Error),
    /// The kernel gave no thread or no memory.
    #[error("the net role could not start ({0}); check the limits of its unit")]
    Start(#[from] io::Error),
}

/// Serves on the network what the keeper says, until the keeper closes the channel on standard input.
pub fn run() -> Result<(), Error> {
    process::set_nondumpable().and_then(|()| process::set_no_new_privs()).map_err(ChannelError::from)?;
    let threads = std::thread::available_parallelism().map_or(2, |cores| cores.get().clamp(2, 8));
    // Before there are threads: they inherit it. A kernel without seccomp or Landlock is no reason to be without a mesh.
    for confined in [confinement::give_up_system_calls(), confinement::keep_to_the_network()] {
        confined.unwrap_or_else(|error| tracing::warn!(%error, "the net role could not be confined"));
    }
    // More than one worker: a handshake waits for the keeper's signature in place.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(threads).thread_name("net").enable_all().build()?;
    let result = runtime.block_on(serve(stdin_channel().map_err(Error::NoChannel)?));
    runtime.shutdown_timeout(std::time::Duration::from_secs(2));
    result
}

/// The same on `channel`.
pub async fn serve(channel: OwnedFd) -> Result<(), Error> {
    let keeper = Arc::new(Keeper::connect(channel).await?);
    mesh::run(keeper).await
}
