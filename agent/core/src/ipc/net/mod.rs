//! Net ↔ keeper. Here **net asks and the keeper answers**, on the channel that the keeper opens; what the keeper wants done
//! it puts into the [`Situation`], which net waits for.
//!
//! Net holds no key. Every signature it can have is over a statement of a fixed shape, which the keeper writes itself.

mod federation;
mod report;
mod situation;
mod task;

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::id::{NodeId, TrustDomain};
use crate::mesh::crypto::{KemPublicKey, Kid};
use crate::mesh::join::request::JoinRequest;
use crate::mesh::vector::{Position, VersionVector};

pub use federation::{BundleEndpoint, FederationEndpoints, Verification};
pub use report::{Metrics, PeerState, RequestCount, Stats, Topology};
pub use situation::{MeshIdentity, NetSettings, Peer, RefusedHost, Situation, TopologySettings, Waiters};
pub use task::{Task, TaskKind};

/// A digest of records.
pub type Digest = [u8; 32];

/// What net asks of the keeper.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// Answers with [`Reply::Situation`] as soon as its number differs from `seen`, or after 25 s.
    Watch {
        /// The number of the situation net has; 0 for none.
        seen: u64,
    },
    /// Signs a TLS 1.3 CertificateVerify (RFC 8446 §4.4.3): the keeper writes the 64 spaces and the context string itself.
    SignHandshake {
        /// Who we are in it.
        side: Side,
        /// Hash of the transcript: 32 or 48 bytes.
        transcript: Vec<u8>,
    },
    /// Signs CMS signed attributes (RFC 5652 §5.4) for an EnvelopedData of that SHA-256: the keeper writes them itself.
    SignEnvelope {
        /// Message digest.
        digest: Digest,
    },
    /// Opens a KEMRecipientInfo (RFC 9629): decapsulates, derives, unwraps. Every failure is the same.
    OpenEnvelope {
        /// Which of our KEM keys.
        kem_kid: Kid,
        /// 1088 bytes.
        ciphertext: Vec<u8>,
        /// 40 bytes.
        wrapped_key: Vec<u8>,
    },
    /// Takes records into the set; each signature is verified by the keeper. In the order of positions for each author.
    Merge {
        /// Whose envelope they came in.
        from: NodeId,
        /// CBOR, one each.
        records: Vec<Vec<u8>>,
        /// What the peer has, by its word, after this.
        vector: VersionVector,
        /// They answer what we asked for by our vector, and there are more; `None`: they came unasked.
        more: Option<bool>,
    },
    /// The records that a host with that vector lacks, admissions and keys first, then by author and position.
    Records {
        /// To whom they go: of two histories of its own it hears first.
        to: NodeId,
        /// `None`: everything.
        since: Option<VersionVector>,
        /// At most so many bytes.
        limit: u32,
    },
    /// Digest and position for each author, to find where two sets with equal vectors differ.
    Summary,
    /// A host wants to join by a one-time token.
    Join(JoinRequest),
    /// A host registers its keys by Kerberos; the keeper has the role `gss` check the token.
    RegisterKem(RegisterKem),
    /// A host wants the cluster wrapping key.
    WrappingKey {
        /// Who, by its word.
        node: NodeId,
        /// Whose pinned key the connection was made with.
        caller: Option<NodeId>,
        /// The asker's, repeated inside the envelope.
        nonce: Option<[u8; 16]>,
    },
    /// A member asks for its intermediate, or a host that registered by Kerberos for what a joiner gets. `payload` was in an
    /// envelope whose outer signature net verified against the pinned key of `node`; the keeper verifies `proof` again.
    Renew {
        /// Who.
        node: NodeId,
        /// With which of its keys it signed.
        kid: Kid,
        /// CBOR of `mesh::renewal::RenewalRequest`, signed by the member's own key inside.
        payload: Vec<u8>,
    },
    /// Waits until a client is there.
    AwaitClient {
        /// Which.
        client_id: String,
        /// At most so long, in milliseconds.
        timeout_ms: u32,
    },
    /// For `stats`.
    Stats,
    /// For [`TaskKind::Join`]: the body to post over the connection with that exporter, as
    /// [`crate::mesh::join::request::to_body`] writes it; the other net reads it with `from_body`.
    PrepareJoin {
        /// The task.
        task: u64,
        /// TLS exporter, label `EXPORTER-reverie-join`, no context, 32 bytes.
        exporter: [u8; 32],
    },
    /// For [`TaskKind::JoinByKerberos`]: an AP-REQ bound to the channel, and the body.
    PrepareKerberos {
        /// The task.
        task: u64,
        /// Of the server's certificate.
        channel_binding: Digest,
    },
    /// The server's AP-REP and its answer to `register-kem`; gives what to seal (as a renewal) for `POST /api/mesh/join`.
    FinishKerberos {
        /// The task.
        task: u64,
        /// From `WWW-Authenticate: Negotiate`.
        token: Vec<u8>,
        /// The JSON answer.
        answer: Vec<u8>,
    },
    /// How a task of the situation went.
    Report {
        /// Its number.
        task: u64,
        /// CBOR or JSON, as the task says; or what went wrong.
        outcome: Result<Vec<u8>, String>,
    },
    /// Who may speak to us according to the directory, or that it cannot be asked.
    Topology(Topology),
    /// Something that belongs into the audit log: a peer was refused.
    Refused {
        /// Who, by its word or its key.
        peer: String,
        /// From where.
        address: Option<SocketAddr>,
        /// Why.
        reason: String,
    },
    /// Peers as net sees them, those that changed since they were told last; at most once a second.
    Peers(Vec<PeerState>),
    /// Answers with [`Reply::Federation`] as soon as its number differs from `seen`, or after 25 s.
    WatchFederation {
        /// The number of the endpoints net has; 0 for none.
        seen: u64,
    },
    /// A bundle was fetched, or could not be; answered with [`Reply::FetchAgain`].
    Fetched {
        /// For which trust domain.
        trust_domain: TrustDomain,
        /// The document as it came, at most 1 MiB, or why there is none.
        outcome: Result<Vec<u8>, String>,
    },
    /// The bundle of our own trust domain, for everyone; answered with [`Reply::Bundle`].
    Bundle,
    /// What net counts, for `/metrics`. Sent every few seconds.
    Metrics(Metrics),
}

/// Which side of a TLS handshake we are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Side {
    /// Client.
    Client,
    /// Server.
    Server,
}

/// `POST /api/gossip/register-kem`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegisterKem {
    /// The AP-REQ, from `Authorization: Negotiate`.
    pub token: Vec<u8>,
    /// Who, by its word.
    pub node: NodeId,
    /// ML-KEM-768, SPKI DER.
    pub kem_public_key_der: Vec<u8>,
    /// P-256, SPKI DER.
    pub gossip_signing_pub_key_der: Vec<u8>,
    /// `tls-server-end-point` channel binding (RFC 5929 §4): SHA-256 of our certificate.
    pub channel_binding: Digest,
}

impl std::fmt::Debug for RegisterKem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RegisterKem").field("node", &self.node).finish_non_exhaustive()
    }
}

/// What the keeper answers.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// To [`Request::Watch`]; `None` if nothing changed in time.
    Situation(Option<Box<Situation>>),
    /// To [`Request::SignHandshake`] and [`Request::SignEnvelope`]: DER.
    Signature(Vec<u8>),
    /// To [`Request::OpenEnvelope`]: the content encryption key.
    ContentKey([u8; 32]),
    /// To [`Request::Merge`].
    Merged(Merged),
    /// To [`Request::Records`].
    Page(Page),
    /// To [`Request::Summary`].
    Summary(BTreeMap<NodeId, (Position, Digest)>),
    /// To [`Request::Join`], [`Request::WrappingKey`], [`Request::Renew`] and [`Request::FinishKerberos`]: what to seal to
    /// whom.
    Sealable {
        /// The KEM key to seal to.
        recipient: KemPublicKey,
        /// The plaintext.
        payload: Vec<u8>,
    },
    /// To [`Request::PrepareJoin`].
    Body {
        /// Who we are in it.
        node: NodeId,
        /// JSON.
        body: Vec<u8>,
    },
    /// To [`Request::PrepareKerberos`].
    Kerberos {
        /// Who we are in it.
        node: NodeId,
        /// Our key in it.
        kid: Kid,
        /// AP-REQ.
        token: Vec<u8>,
        /// JSON body.
        body: Vec<u8>,
    },
    /// To [`Request::RegisterKem`].
    Registered {
        /// AP-REP.
        token: Option<Vec<u8>>,
        /// The JSON answer.
        body: Vec<u8>,
    },
    /// To [`Request::AwaitClient`].
    Client {
        /// It is there.
        found: bool,
    },
    /// To [`Request::WatchFederation`]; `None` if nothing changed in time.
    Federation(Option<FederationEndpoints>),
    /// To [`Request::Fetched`]: seconds until the next time.
    FetchAgain(u32),
    /// To [`Request::Bundle`]: JSON.
    Bundle(Vec<u8>),
    /// To [`Request::Stats`].
    Stats(Stats),
    /// To everything that has no answer of its own.
    Done,
    /// It is refused: the status for the peer, and what to tell it.
    Refused {
        /// HTTP status.
        status: u16,
        /// What happened, then what to try; tells nothing that the peer may not know.
        message: String,
    },
    /// The keeper could not do it: 503 for the peer.
    Failed {
        /// Why, for the log.
        message: String,
    },
}

impl std::fmt::Debug for Reply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Refused { status, message } => write!(f, "Refused({status}, {message:?})"),
            Self::Failed { message } => write!(f, "Failed({message:?})"),
            Self::Merged(merged) => merged.fmt(f),
            Self::Situation(_) => f.write_str("Situation"),
            Self::Client { found } => write!(f, "Client({found})"),
            // The others carry keys or what is made with them.
            _ => f.write_str("Reply"),
        }
    }
}

/// What became of records.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Merged {
    /// New to the set.
    pub taken: u32,
    /// Refused, with why; the first few.
    pub refused: Vec<String>,
    /// A signature among them does not hold. No healthy host passes on such a record: it verifies what it takes.
    pub forged: bool,
    /// Authors whose full history is wanted anew: theirs has a floor above what we had, or histories differ.
    pub wanted_anew: Vec<NodeId>,
    /// Digest and vector afterwards.
    pub digest: Digest,
    /// What we have now.
    pub vector: VersionVector,
}

/// Some records.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page {
    /// CBOR, one each.
    pub records: Vec<Vec<u8>>,
    /// Ask again, with a vector advanced by these, for the rest.
    pub more: bool,
}
