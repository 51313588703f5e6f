//! Tunnel ↔ keeper. The role asks and the keeper answers, as with [`super::net`]: what it is to do is in the [`Situation`].
//!
//! The role holds no key and reaches no local socket. The keeper signs its handshakes, accepts and attests local callers, and
//! opens services' sockets; such a connection travels beside the reply.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::net::Side;
use crate::config::Tunnel as Declared;
use crate::id::{IdentityName, NodeId, TunnelName};
use crate::moment::Moment;

/// The longest [`Trust`], in bytes: some four million revoked serials. In the role's memory it takes several times that, and twice
/// when another one comes.
pub const MAX_TRUST: usize = 64 << 20;

/// SHA-256 of a certificate.
pub type Fingerprint = [u8; 32];

/// What the role asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// Answers with [`Reply::Situation`] as soon as its number differs from `seen`, or after 25 s.
    Watch {
        /// The number of the situation it has; 0 for none.
        seen: u64,
    },
    /// The trust of that number.
    Trust {
        /// From [`Situation::trust`].
        number: u64,
    },
    /// The next local connection to a tunnel's socket, attested and permitted; the wait is 25 s at most.
    Accept {
        /// Which tunnel.
        tunnel: TunnelName,
        /// What the role shows for its callers: they have it, and the tunnel is still declared with it.
        identity: IdentityName,
    },
    /// A connection to the unix socket that the tunnel leads to.
    Connect(TunnelName),
    /// Signs a TLS 1.3 CertificateVerify (RFC 8446 §4.4.3): the keeper writes the 64 spaces and the context string itself.
    SignHandshake {
        /// Which tunnel.
        tunnel: TunnelName,
        /// Of the certificate that it shows.
        serial: String,
        /// Who we are in it.
        side: Side,
        /// Hash of the transcript: 32 or 48 bytes.
        transcript: Vec<u8>,
    },
    /// Somebody at the other end was refused; for the audit log.
    Refused {
        /// Which tunnel.
        tunnel: TunnelName,
        /// SPIFFE ID, if its certificate has one that holds.
        peer: Option<String>,
        /// From where, or to where.
        address: Option<SocketAddr>,
        /// Why.
        reason: String,
    },
    /// What it counts. Sent every few seconds, and when a listener changes.
    Report(BTreeMap<TunnelName, TunnelState>),
}

/// What the keeper answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// To [`Request::Watch`]; `None` if nothing changed in time.
    Situation(Option<Box<Situation>>),
    /// To [`Request::Trust`]; the [`Trust`] is beside this, since it may be long.
    Trust,
    /// A connection, beside this; `uid` is whose it is where it was accepted.
    Connection {
        /// The caller's.
        uid: u32,
    },
    /// Nothing came in time.
    Nothing,
    /// DER, or the 64 bytes of Ed25519.
    Signature(Vec<u8>),
    /// Taken.
    Done,
    /// It could not be done.
    Failed(String),
}

/// What the role works from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Situation {
    /// Counts up.
    pub number: u64,
    /// Level of its log.
    pub log_level: String,
    /// Number of the trust to be asked for; it is large and changes seldom.
    pub trust: u64,
    /// Tunnels, by name.
    pub tunnels: Vec<Tunnel>,
}

/// One tunnel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tunnel {
    /// As it is declared.
    pub declared: Declared,
    /// What it shows; none while there is no certificate.
    pub shown: Option<Shown>,
}

/// A certificate to show, whose key the keeper has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shown {
    /// Serial of the leaf, for [`Request::SignHandshake`].
    pub serial: String,
    /// Leaf, then intermediate, DER.
    pub chain: Vec<Vec<u8>>,
    /// Ed25519, or else P-256.
    pub is_ed25519: bool,
}

/// Whom to believe. Lists of revocation were verified by the keeper when they came: here is what they say.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trust {
    /// Trusted roots, DER.
    pub roots: Vec<Vec<u8>>,
    /// Roots and intermediates that may be in a chain, by fingerprint; another one may not.
    pub issuers: BTreeMap<Fingerprint, Issuer>,
}

/// A root or intermediate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Issuer {
    /// Who holds it.
    pub host: NodeId,
    /// Paths of the SPIFFE IDs that the host may issue; none: whatever a root signs by itself.
    pub spiffe: Option<Vec<String>>,
    /// Serials that it has revoked, or that the mesh has, raw.
    pub revoked: std::collections::BTreeSet<Vec<u8>>,
    /// Until when that is known: end of its list.
    pub list_ends: Option<Moment>,
}

/// One tunnel, as the role sees it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TunnelState {
    /// Why it does not listen; none: it does, or the keeper does for it.
    pub trouble: Option<String>,
    /// Connections that are open.
    pub open: u32,
    /// Connections that were established.
    pub accepted: u64,
    /// Connections that were not, by reason.
    pub refused: BTreeMap<Refusal, u64>,
    /// Connections that were closed since their peer is not trusted or permitted any more.
    pub withdrawn: u64,
    /// Connections that were closed for their age.
    pub outlived: u64,
    /// Bytes of the service's protocol, from here to the other host.
    pub sent: u64,
    /// The other way.
    pub received: u64,
}

/// Why a connection was not established.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Refusal {
    /// Too many.
    Limit,
    /// The other side's certificate does not hold, or is not permitted.
    Peer,
    /// The handshake failed otherwise, or took too long.
    Handshake,
    /// What it leads to could not be reached.
    Unreachable,
}

impl Refusal {
    /// As in the metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Limit => "limit",
            Self::Peer => "peer",
            Self::Handshake => "handshake",
            Self::Unreachable => "unreachable",
        }
    }
}
