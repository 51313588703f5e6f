//! Requests and answers on `admin.sock`.

use serde::{Deserialize, Serialize};

use super::local::{CertificateSummary, IdentitySummary};
use crate::moment::Moment;

/// `GET /api/admin/status`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Status {
    /// Version of the agent.
    pub version: String,
    /// Trust domain.
    pub trust_domain: String,
    /// This host.
    pub node_id: String,
    /// When the agent started.
    pub started_at: Moment,
    /// Process id of the keeper.
    pub pid: u32,
    /// True if it can issue.
    pub ready: bool,
    /// What is wrong, each with what to try; empty if nothing is.
    pub alarms: Vec<Alarm>,
    /// Sealing.
    pub seal: SealStatus,
    /// True if the kernel pins callers by pidfd (Linux 6.5).
    pub pidfd_attestation: bool,
    /// True if the keeper's memory is locked.
    pub memory_locked: bool,
    /// Roots, in the order they were made.
    pub roots: Vec<IssuerStatus>,
    /// Intermediates, in the order they were made.
    pub intermediates: Vec<IssuerStatus>,
    /// Declared identities.
    pub identities: usize,
    /// Secrets with a value; absent while the store cannot be read.
    pub secrets: Option<usize>,
    /// Where the files are published.
    pub run: String,
    /// Number of the last audit event.
    pub audit_seq: u64,
    /// Configuration files, and when they were read.
    pub config: ConfigStatus,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Alarm {
    /// What it concerns, e.g. an identity's name.
    pub subject: String,
    /// What happened, then what to try.
    pub message: String,
    /// Since when.
    pub since: Moment,
}

/// How the root secret is sealed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct SealStatus {
    /// `tpm2`, `host+tpm2`, `host`, `file`, or `systemd` when systemd unsealed it for us and did not say how.
    pub mode: String,
    /// PCRs bound.
    pub pcrs: Vec<u8>,
    /// A remark, e.g. that a key file protects against nobody with this uid.
    pub remark: Option<String>,
}

/// A root or an intermediate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct IssuerStatus {
    /// SHA-256 of the certificate.
    pub fingerprint: String,
    /// `published`, `signing`, `trusted` or `revoked`.
    pub state: String,
    /// First moment.
    pub not_before: Moment,
    /// Last moment.
    pub not_after: Moment,
    /// Fingerprint of the root that signed it; absent for a root.
    pub root: Option<String>,
}

/// The configuration in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct ConfigStatus {
    /// Files, in the order they were read.
    pub files: Vec<String>,
    /// When.
    pub loaded_at: Moment,
    /// Why the last re-read was refused, if it was; the configuration before it is in force.
    pub refused: Option<String>,
}

/// `GET /api/admin/identities`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct AllIdentities {
    /// In the order of the configuration.
    pub identities: Vec<AdminIdentity>,
}

/// One declared identity with its rule and state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct AdminIdentity {
    /// What its holder sees.
    #[serde(flatten)]
    pub summary: IdentitySummary,
    /// Its selectors, as text.
    pub selectors: Vec<String>,
    /// Where it is declared.
    pub declared_at: String,
    /// Outcome of the last verification: the serial seen served, or the alarm.
    pub verified: Option<String>,
}

/// `POST /api/admin/explain`: exactly one of `pid` and `uid`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ExplainRequest {
    /// A running process.
    pub pid: Option<i32>,
    /// A made-up process of this user, in no unit.
    pub uid: Option<u32>,
    /// Its primary group; default: equal to `uid`.
    pub gid: Option<u32>,
}

/// `GET /api/admin/certificates`: issued and not yet ended, newest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Certificates {
    /// At most 1000.
    pub certificates: Vec<IssuedCertificate>,
    /// True if there are more.
    pub more: bool,
}

/// One issued certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct IssuedCertificate {
    /// Identity name.
    pub identity: String,
    /// SPIFFE ID.
    pub spiffe_id: String,
    /// Serial, dates, revocation.
    #[serde(flatten)]
    pub summary: CertificateSummary,
    /// Fingerprint of the intermediate that signed it.
    pub issuer: String,
}

/// `POST /api/admin/rotate`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RotateRequest {
    /// Identity name.
    pub identity: String,
}

/// What a rotation did. Each step that applies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Rotated {
    /// Identity name.
    pub identity: String,
    /// The new certificate.
    pub certificate: CertificateSummary,
    /// True if files were published.
    pub published: bool,
    /// How the service was told.
    pub reloaded: Option<String>,
    /// Where the new serial was seen.
    pub verified: Option<String>,
    /// The step that failed, and why; it is tried again, and is an alarm until then.
    pub fault: Option<String>,
}

/// `POST /api/admin/revoke`: exactly one of the first three.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RevokeRequest {
    /// One certificate; an intermediate of this host is treated as under `intermediate`.
    pub serial: Option<String>,
    /// Every certificate of an identity; one that the agent keeps is replaced at once.
    pub identity: Option<String>,
    /// An intermediate of this host, by fingerprint; every leaf the agent keeps is replaced at once. On an authority also one
    /// that it signed for another.
    pub intermediate: Option<String>,
    /// With `serial`, on an authority: the certificate is another host's, signed by that intermediate.
    pub issuer: Option<String>,
}

/// What was revoked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Revoked {
    /// Serials.
    pub serials: Vec<String>,
}

/// `POST /api/admin/ca/rotate`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RotateIssuerRequest {
    /// Which.
    pub issuer: IssuerKind,
    /// For a root: seconds from publication to first signature. Default: `ca.root_overlap`.
    #[serde(default)]
    pub overlap_seconds: Option<u64>,
}

/// Root or intermediate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum IssuerKind {
    /// A root.
    Root,
    /// The host's intermediate.
    Intermediate,
}

/// `PUT /api/admin/secrets/{name}`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SealRequest {
    /// Base64, at most 64 KiB decoded.
    pub value: String,
}

impl std::fmt::Debug for SealRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SealRequest")
    }
}

impl Drop for SealRequest {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.value);
    }
}

/// `GET /api/admin/secrets`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Secrets {
    /// Declared or sealed.
    pub secrets: Vec<SecretSummary>,
}

/// One secret, without its value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct SecretSummary {
    /// Name.
    pub name: String,
    /// 0 if it has no value yet.
    pub version: u64,
    /// When it was sealed.
    pub sealed_at: Option<Moment>,
    /// Identities whose holders may read it.
    pub allow: Vec<String>,
    /// False if it has a value but no file declares it: nobody can read it.
    pub declared: bool,
}

/// `POST /api/admin/tokens`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MintRequest {
    /// Operations, e.g. `cert rotate web`. At least one, at most 64.
    pub allow: Vec<String>,
    /// Life in seconds, at most 30 days.
    pub ttl_seconds: u64,
    /// Only for callers of this uid.
    #[serde(default)]
    pub uid: Option<u32>,
}

/// A new token.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Minted {
    /// The token. Whoever has it may use it.
    pub token: String,
    /// To revoke it.
    pub revocation_id: String,
    /// When it ends.
    pub expires_at: Moment,
}

impl std::fmt::Debug for Minted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Minted").field("revocation_id", &self.revocation_id).finish_non_exhaustive()
    }
}

/// `POST /api/admin/tokens/revoke`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RevokeTokenRequest {
    /// As [`Minted`] gave it, or of any attenuated block, hex.
    pub revocation_id: String,
}

/// `GET /api/admin/tokens/key`: for other programs that verify tokens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct TokenKey {
    /// `ed25519/…` hex.
    pub public_key: String,
}

/// `GET /api/admin/audit?after=SEQ&limit=N`: lines of the log, oldest first.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct AuditLines {
    /// Lines, verbatim.
    pub lines: Vec<String>,
    /// The chain's head now.
    pub head: crate::audit::ChainHead,
}

/// `GET /api/admin/audit/verify`: the files, the store and the signed heads against each other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct AuditVerdict {
    /// What was found in the files.
    pub report: crate::audit::Report,
    /// The last head the host signed.
    pub signed: Option<crate::audit::SignedHead>,
    /// The public key that signs heads, SPKI PEM: keep a copy elsewhere to verify an exported log.
    pub public_key: String,
}

/// `GET /api/admin/tunnels`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Tunnels {
    /// In the order of the configuration.
    pub tunnels: Vec<TunnelStatus>,
}

/// One declared tunnel, and what it counts. Counters begin anew with the process that carries the bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct TunnelStatus {
    /// Name.
    pub name: String,
    /// The identity that it shows.
    pub identity: String,
    /// Where connections come from: `unix`, `tcp:…` or `tls:…`.
    pub accept: String,
    /// Where they go: `tls:…`, `tcp:…` or `unix:…`.
    pub connect: String,
    /// Who may be at the other end of the TLS.
    pub peers: Vec<String>,
    /// Serial of the certificate that it shows; absent while there is none, and then no handshake succeeds.
    pub certificate: Option<String>,
    /// Why it does not listen, then what to try; absent if it does.
    pub trouble: Option<String>,
    /// Connections that are open.
    pub open: u32,
    /// Connections that were established.
    pub established: u64,
    /// Connections that were not, by reason: `limit`, `peer`, `handshake`, `unreachable`.
    pub refused: std::collections::BTreeMap<String, u64>,
    /// Connections that were closed since their peer is not trusted or permitted any more.
    pub withdrawn: u64,
    /// Bytes of the service's protocol, from this host to the other.
    pub sent: u64,
    /// The other way.
    pub received: u64,
}

/// `GET /health` and `GET /ready`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Health {
    /// True if so.
    pub ok: bool,
    /// Why not.
    pub why: Option<String>,
}
