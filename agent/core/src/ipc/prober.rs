//! Keeper ↔ prober: connect to a service and see which certificate it serves.
//!
//! The prober meets the network, so it holds nothing, lives for one question and is believed about nothing
//! but a serial number that the keeper compares with its own.

use serde::{Deserialize, Serialize};

/// One question.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// `host:port`.
    pub address: String,
    /// What to say before TLS begins.
    pub preamble: Preamble,
    /// The name sent as SNI; none for an address.
    pub server_name: Option<String>,
    /// Deadline for everything, in milliseconds.
    pub timeout_ms: u64,
}

/// Protocols that begin in the clear.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Preamble {
    /// TLS from the first byte.
    #[default]
    None,
    /// PostgreSQL `SSLRequest`.
    Postgres,
}

/// One answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// The leaf the service presented, DER.
    Served {
        /// The end-entity certificate.
        leaf: Vec<u8>,
    },
    /// No certificate was seen.
    Failed {
        /// What happened.
        message: String,
    },
}
