//! The prober: connects to a service and tells which certificate it presents. It holds nothing, answers one
//! question and ends, so whatever a service does to it is done to nobody else.

mod address;
mod handshake;

#[cfg(test)]
mod tests;

use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use reverie_core::ipc::prober::{Reply, Request};
use reverie_sys::process;

use crate::ops::channel::{ChannelError, Server, stdin_channel};
use crate::ops::confinement;

/// How long the question may be in coming.
const QUESTION_DEADLINE: Duration = Duration::from_secs(30);

/// No probe takes longer, whatever was asked.
const MAX_TIMEOUT: Duration = Duration::from_secs(60);

/// Why the prober gave no answer at all.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The channel failed.
    #[error(transparent)]
    Channel(#[from] ChannelError),
    /// Standard input is not a channel from the keeper.
    #[error("standard input is not a socket from the keeper ({0}); the prober is started by the keeper or by its socket unit")]
    NoChannel(io::Error),
}

/// Answers one question from standard input.
pub fn run() -> Result<(), Error> {
    process::set_nondumpable().and_then(|()| process::set_no_new_privs()).map_err(ChannelError::from)?;
    // A kernel without seccomp or Landlock is no reason not to look.
    for confined in [confinement::give_up_system_calls(), confinement::keep_to_the_network()] {
        confined.unwrap_or_else(|error| tracing::warn!(%error, "the prober could not be confined"));
    }
    serve(stdin_channel().map_err(Error::NoChannel)?)
}

/// Answers one question from `channel`.
pub fn serve(channel: OwnedFd) -> Result<(), Error> {
    let mut server = Server::<Request, Reply>::accept(channel, "prober")?;
    server.set_receive_timeout(QUESTION_DEADLINE)?;
    let Some(incoming) = server.receive()? else { return Ok(()) };
    let reply = match incoming.body {
        Ok(request) => probe(&request),
        Err(error) => Reply::Failed { message: error.to_string() },
    };
    Ok(server.replies().send(incoming.id, &reply)?)
}

/// Tries every address of the service in turn until one presents a certificate.
fn probe(request: &Request) -> Reply {
    let until = Instant::now() + Duration::from_millis(request.timeout_ms).min(MAX_TIMEOUT);
    let shown: String = request.address.chars().take(300).collect();
    let addresses = match address::resolve(&request.address, until) {
        Ok(addresses) => addresses,
        Err(error) => return failed(&shown, &error),
    };
    let mut reasons = Vec::new();
    for (tried, address) in addresses.iter().enumerate() {
        // An address that swallows everything leaves the others their share of the time.
        let share = until.saturating_duration_since(Instant::now()) / (addresses.len() - tried) as u32;
        match handshake::leaf(*address, request.preamble, request.server_name.as_deref(), Instant::now() + share) {
            Ok(leaf) => return Reply::Served { leaf },
            Err(error) => reasons.push(format!("{address}: {error}")),
        }
    }
    failed(&shown, &io::Error::other(reasons.join("; ")))
}

fn failed(address: &str, error: &io::Error) -> Reply {
    Reply::Failed {
        message: format!("no certificate was seen at {address}: {error}; check that the service runs and speaks TLS there"),
    }
}
