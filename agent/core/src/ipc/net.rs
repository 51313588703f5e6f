//! Net ↔ keeper. Here **net asks and the keeper answers**, on the channel that the keeper opens; what the keeper wants done
//! it puts into the [`Situation`], which net waits for.
//!
//! Net holds no key. Every signature it can have is over a statement of a fixed shape, which the keeper writes itself.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::id::{NodeId, TrustDomain};
use crate::mesh::collection::Standing;
use crate::mesh::crypto::{KemPublicKey, Kid, SigningPublicKey};
use crate::mesh::vector::{Position, VersionVector};
use crate::moment::Moment;

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
        /// More pages of the same answer follow.
        more: bool,
    },
    /// The records that a host with that vector lacks, admissions and keys first, then by author and position.
    Records {
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
    /// Peers as net sees them, for `mesh peers` and metrics. Sent when they change, at most once a second.
    Peers(Vec<PeerState>),
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

/// Redeems a token. The secret itself is never sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinRequest {
    /// Who wants to join.
    pub node: NodeId,
    /// Which token; random, not secret.
    pub token_id: [u8; 16],
    /// Its signing key.
    pub signing_key: SigningPublicKey,
    /// Its KEM key.
    pub kem_key: KemPublicKey,
    /// Where it can be reached.
    pub addresses: Vec<String>,
    /// The intermediate it would like signed: a certificate request, DER.
    pub csr: Vec<u8>,
    /// HMAC-SHA-256 by the token's secret over exporter and all of the above: [`crate::mesh::join::request::authenticate`].
    pub mac: [u8; 32],
    /// TLS exporter of the connection it came over (RFC 8446 §7.5), label `EXPORTER-reverie-join`, as net saw it.
    pub exporter: [u8; 32],
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

/// What the directory says of the topology.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Topology {
    /// When it was asked.
    pub at: Moment,
    /// Host names, or why there are none.
    pub nodes: Result<Vec<String>, String>,
}

/// A peer as net sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerState {
    /// Who.
    pub node: NodeId,
    /// `alive`, `suspect` or `down` by the membership protocol; `unknown` before anything was heard.
    pub state: String,
    /// The address in use.
    pub address: Option<String>,
    /// Last exchange with it, either way.
    pub last_sync: Option<Moment>,
    /// Last inbound one.
    pub last_inbound: Option<Moment>,
    /// Its clock minus ours, by the last envelope.
    pub offset_ms: Option<i64>,
    /// Round trip of the last exchange.
    pub round_trip_ms: Option<u32>,
    /// Attempts that failed since the last that did not, and the last one's reason.
    pub failures: u32,
    /// Why the last one failed.
    pub last_error: Option<String>,
    /// What it has, by its word.
    pub vector: Option<VersionVector>,
    /// Our epoch in which its digest was found equal to ours last.
    pub agreed_in: Option<u64>,
}

impl PeerState {
    /// Nothing is known of it yet.
    pub fn new(node: NodeId) -> Self {
        Self {
            node,
            state: "unknown".to_owned(),
            address: None,
            last_sync: None,
            last_inbound: None,
            offset_ms: None,
            round_trip_ms: None,
            failures: 0,
            last_error: None,
            vector: None,
            agreed_in: None,
        }
    }
}

/// What net counts since its start; and how many there are of something now.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metrics {
    /// Requests answered.
    pub requests: Vec<RequestCount>,
    /// Open connections from others, now.
    pub connections: u32,
    /// Kept connections to peers, now.
    pub peer_connections: u32,
    /// Callers that wait for a client, now.
    pub waiters: u32,
    /// Connections closed at once, since there were too many.
    pub shed: u64,
    /// Handshakes that failed or took too long.
    pub handshakes_failed: u64,
    /// Exchanges of records that we began and that went well.
    pub exchanges: u64,
    /// Those that did not.
    pub exchanges_failed: u64,
    /// Comparisons of digests that we began and that went well.
    pub probes: u64,
    /// Datagrams of the membership protocol, sent.
    pub datagrams: u64,
    /// Records sent, in requests and answers.
    pub records_sent: u64,
    /// Records taken that were new.
    pub records_taken: u64,
    /// Bytes of envelopes sent.
    pub bytes_sent: u64,
    /// Bytes of envelopes received.
    pub bytes_received: u64,
}

/// How often an endpoint answered with a status.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestCount {
    /// The endpoint, as in the last part of its path.
    pub endpoint: String,
    /// HTTP status.
    pub status: u16,
    /// How often.
    pub count: u64,
}

/// Everything net works from. Numbered; a new number for every change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Situation {
    /// Its number.
    pub number: u64,
    /// The trust domain.
    pub trust_domain: TrustDomain,
    /// The mesh, once there is one.
    pub mesh: Option<MeshIdentity>,
    /// The configuration of `[gossip]` that net needs.
    pub settings: NetSettings,
    /// Those whom we may speak with: in the view, not evicted, and on the allowlist.
    pub peers: Vec<Peer>,
    /// Known keys that are refused, with why, so that a refusal can say so.
    pub refused: Vec<(Kid, String)>,
    /// Digest of our set.
    pub digest: Digest,
    /// What we have.
    pub vector: VersionVector,
    /// Our own newest position: a local change raises it.
    pub own: Position,
    /// Things to do, each once; reported by number.
    pub tasks: Vec<Task>,
}

/// Who we are in the mesh.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MeshIdentity {
    /// Names the mesh: inside every envelope.
    pub mesh: [u8; 16],
    /// This host.
    pub node: NodeId,
    /// Its signing key: in TLS, CMS and records.
    pub signing_key: SigningPublicKey,
    /// Its KEM key.
    pub kem_key: KemPublicKey,
    /// The certificate over the signing key, then its issuers, DER; for those who know a root and not the key.
    pub certificate_chain: Vec<Vec<u8>>,
    /// Whether our own `nodes` record exists.
    pub registered: bool,
    /// Our epoch.
    pub epoch: u64,
}

/// A peer we may speak with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peer {
    /// Who.
    pub node: NodeId,
    /// `host:port`s.
    pub addresses: Vec<String>,
    /// The keys it may sign with: the current one first.
    pub signing_keys: Vec<SigningPublicKey>,
    /// The key to encrypt to; none before it has registered one.
    pub kem_key: Option<KemPublicKey>,
    /// What it may do.
    pub standing: Standing,
    /// The wire version to use with it.
    pub wire: u16,
}

/// What net needs of the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetSettings {
    /// Where to listen; none: only outgoing.
    pub listen: Vec<SocketAddr>,
    /// Largest body of `sync`, bytes.
    pub max_message: u32,
    /// `stats` for everyone.
    pub public_stats: bool,
    /// Connections kept to peers.
    pub max_connections: u32,
    /// Waiters of `await-client`: in all, and for an address.
    pub max_waiters: (u32, u32),
    /// Longest `timeout_ms`.
    pub max_wait_ms: u32,
    /// Unauthenticated requests a second for one address.
    pub rate_per_second: u32,
    /// The static list, `None` if none is configured, for `stats`.
    pub allowed: Option<Vec<NodeId>>,
    /// Where the directory is, if the topology is to be asked for.
    pub topology: Option<TopologySettings>,
    /// Times of the round.
    pub round: RoundSettings,
}

/// Where the topology comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopologySettings {
    /// `ldap://` (then StartTLS), `ldaps://` or `ldapi://`.
    pub uris: Vec<String>,
    /// The suffix, e.g. `dc=example,dc=org`.
    pub suffix: String,
    /// Certificates that the server's must chain to, PEM; none: the system's.
    pub ca_pem: Option<String>,
    /// Bind name and password; none: anonymous.
    pub bind: Option<(String, String)>,
    /// Seconds between two looks.
    pub interval_s: u32,
}

/// Times of the gossip round, milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoundSettings {
    /// After the first change is pushed, further ones slide so long.
    pub slide_ms: u32,
    /// And no longer than this in all.
    pub slide_max_ms: u32,
    /// Between two looks at a random peer.
    pub anti_entropy_ms: u32,
    /// Everyone is told up to so many hosts; beyond, `⌈2 ln n⌉`.
    pub fan_out_all: u32,
    /// Longest pause after failures.
    pub back_off_max_ms: u32,
    /// Deadline for one exchange.
    pub exchange_ms: u32,
}

/// A thing to do on the network, once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    /// Reported with it.
    pub number: u64,
    /// What.
    pub what: TaskKind,
}

/// Kinds of tasks.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum TaskKind {
    /// Join by token at that address, whose server must present this key: connect, [`Request::PrepareJoin`], post, open the
    /// answer's envelope, report its plaintext.
    Join {
        /// `host:port`.
        address: String,
        /// The issuing host's key, pinned by the token.
        server_key: SigningPublicKey,
    },
    /// Join by Kerberos at that address: connect, [`Request::PrepareKerberos`], `register-kem`,
    /// [`Request::FinishKerberos`], then `POST /api/mesh/join` with the body that this returns, and report as above.
    JoinByKerberos {
        /// `host:port`.
        address: String,
    },
    /// Ask that authority for an intermediate; the body is a signed and sealed renewal request's plaintext.
    Renew {
        /// Whom.
        authority: NodeId,
        /// CBOR of `mesh::renewal::RenewalRequest`.
        payload: Vec<u8>,
    },
    /// Pull the wrapping key from a peer; the report is the opened plaintext.
    PullWrappingKey {
        /// From whom.
        from: NodeId,
        /// To be found again inside.
        nonce: [u8; 16],
    },
    /// Drop every connection to whoever uses these keys.
    Disconnect {
        /// Keys.
        kids: Vec<Kid>,
    },
    /// Try the peers that are backed off at once.
    RetryNow,
}

impl std::fmt::Debug for TaskKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Join { address, .. } => write!(f, "Join({address})"),
            Self::JoinByKerberos { address } => write!(f, "JoinByKerberos({address})"),
            Self::Renew { authority, .. } => write!(f, "Renew({authority})"),
            Self::PullWrappingKey { from, .. } => write!(f, "PullWrappingKey({from})"),
            Self::Disconnect { kids } => write!(f, "Disconnect({kids:?})"),
            Self::RetryNow => write!(f, "RetryNow"),
        }
    }
}

/// For `stats`, as the seed names the fields.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stats {
    /// Changes merged by this host.
    pub crdt_generation: u64,
    /// Live entries for each collection.
    pub counts: BTreeMap<String, u64>,
    /// This host's token-signing key.
    pub active_signing_kid: Option<String>,
    /// This host has a KEM key in the view.
    pub kem_enrolled: bool,
    /// This host has a signing key in the view.
    pub gossip_signing_enrolled: bool,
    /// Failures to make a merge durable.
    pub persist_errors: u64,
    /// Failures to pull the wrapping key.
    pub wrapping_key_pull_errors: u64,
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
    Body(Vec<u8>),
    /// To [`Request::PrepareKerberos`].
    Kerberos {
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
    /// Known already, or superseded.
    pub known: u32,
    /// Refused, with why; the first few.
    pub refused: Vec<String>,
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
