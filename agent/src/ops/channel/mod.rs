//! The channel between two roles: one request, one reply, matched by number, over `SOCK_SEQPACKET`.
//!
//! With the warden and the prober, the keeper holds the asking end ([`Channel`], async, many calls at once), and they the
//! answering end ([`Server`], blocking). The net role asks, and the keeper answers ([`Answering`], async). Every role has
//! its end on its standard input: [`spawn_role`] puts it there in user mode,
//! systemd does with `StandardInput=socket`, and [`connect_role`] is the keeper's side of that.
//! The messages are `reverie_core::ipc`; a further role brings its own pair of types.

mod answering;
mod attached;
mod client;
mod server;
mod spawn;
mod wire;

use std::io;
use std::time::Duration;

use reverie_core::ipc::ProtocolError;

pub use answering::{Answer, Answering};
pub use attached::{attach, detach};
pub use client::Channel;
pub use server::{Incoming, Replies, Server};
pub use spawn::{connect_role, spawn_role, stdin_channel};

/// How long the other process may take to greet. It may have to be started by systemd first.
const HELLO_DEADLINE: Duration = Duration::from_secs(10);

/// Why a call between roles got no answer.
#[derive(Debug, thiserror::Error)]
pub enum ChannelError {
    /// The other process is not there any more; the reason is what was last seen of it.
    #[error("the {role} process is gone ({reason}); it is started again on the next request, and its log says why it ended")]
    Closed {
        /// Whose process.
        role: String,
        /// What was last seen.
        reason: String,
    },
    /// No answer in time. The work may still be done.
    #[error("the {role} process did not answer within {} s; it may be overloaded or stopped", deadline.as_secs_f32())]
    Deadline {
        /// Whose process.
        role: String,
        /// What it was given.
        deadline: Duration,
    },
    /// The other process speaks another version, is another role, or talks nonsense.
    #[error(transparent)]
    Protocol(#[from] ProtocolError),
    /// A message longer than `ipc::MAX_MESSAGE`.
    #[error(
        "a message of {bytes} bytes is longer than the {limit} that may pass between two roles; publish fewer or smaller files"
    )]
    TooLong {
        /// Its length.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// The socket failed.
    #[error("the socket between two roles failed: {0}")]
    Socket(#[from] io::Error),
}

#[cfg(test)]
mod tests;
