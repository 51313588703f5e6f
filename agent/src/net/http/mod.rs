//! What every endpoint needs of HTTP: answers, refusals, bodies with a bound.

mod answer;
mod body;

use std::net::SocketAddr;

use crate::net::tls::Secured;

pub use answer::{Answer, Refusal, message_of, not_admitted};
pub use body::{content_type, read, read_response};

/// The largest request head, in bytes.
pub const MAX_HEAD: u32 = 16 * 1024;

/// Who asks: what its connection proves.
#[derive(Debug, Clone)]
pub struct Caller {
    /// From where.
    pub address: SocketAddr,
    /// By which handshake.
    pub secured: Secured,
}
