//! The one enumeration of audit events. Every variant is documented in `docs/reference/audit.md`.

use serde::{Deserialize, Serialize};

use crate::caller::{Caller, Executable, Pinning};
use crate::moment::Moment;

/// One thing that happened. Numbered and chained when it is recorded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// When.
    pub time: Moment,
    /// What.
    pub kind: Kind,
    /// Whether it was done.
    pub outcome: Outcome,
    /// On whose behalf.
    pub actor: Actor,
    /// What it concerns.
    #[serde(default, skip_serializing_if = "Subject::is_empty")]
    pub subject: Subject,
    /// Why it was refused or failed, or a remark.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// The agent started; the first event of each run.
    AgentStarted,
    /// The agent stopped in good order.
    AgentStopped,
    /// The configuration was read, at start or by SIGHUP.
    ConfigLoaded,
    /// A root, intermediate or leaf key and certificate were made.
    CertificateIssued,
    /// A stored certificate with its private key was handed to a caller.
    CertificateRead,
    /// Files were published in the run directory.
    FilesPublished,
    /// A service was told to reload.
    ServiceReloaded,
    /// A service was connected to, and the serial it serves compared.
    ServiceVerified,
    /// A certificate was revoked.
    CertificateRevoked,
    /// A revocation list was signed.
    CrlSigned,
    /// A root was published, began to sign, or was retired.
    RootChanged,
    /// An intermediate was made or retired.
    IntermediateChanged,
    /// An identity that is no longer declared was forgotten, with its key and its files.
    IdentityWithdrawn,
    /// A secret was sealed or replaced.
    SecretSealed,
    /// A secret was read.
    SecretRead,
    /// A secret was removed.
    SecretRemoved,
    /// A capability token was minted.
    TokenMinted,
    /// A capability token was revoked.
    TokenRevoked,
    /// A JWT-SVID or WIT-SVID was signed for a caller.
    SvidTokenIssued,
    /// The bundle of another trust domain changed.
    FederationChanged,
    /// A token-signing key of this host was made or forgotten.
    TokenKeyChanged,
    /// A request was refused for another reason than the above.
    RequestDenied,
    /// This host founded a mesh.
    MeshFounded,
    /// This host joined a mesh, or could not.
    MeshJoined,
    /// This host left its mesh.
    MeshLeft,
    /// This host was put out of its mesh by others.
    MeshEvicted,
    /// A one-time token for a host to join was made.
    InvitationMade,
    /// A host was admitted, by token, by Kerberos or again.
    HostAdmitted,
    /// A host was refused when it wanted to join, register, renew or pull a key.
    HostRefused,
    /// A host was put out.
    HostEvicted,
    /// A member became an authority.
    HostPromoted,
    /// What a host may issue was changed.
    IssuingLimitsChanged,
    /// An intermediate was signed for a host, or obtained by this one.
    IntermediateRenewed,
    /// This host's signing and KEM keys were rotated.
    KeysRotated,
    /// A version of the cluster wrapping key was made.
    WrappingKeyRotated,
    /// A version of the cluster wrapping key was obtained from a peer, or could not be.
    WrappingKeyPulled,
    /// The cluster wrapping key was handed to a host, sealed to it.
    WrappingKeyServed,
    /// A record of the mesh was refused: a wrong signature, a broken rule, a limit.
    RecordRefused,
    /// Two histories of one host were found.
    ForkFound,
    /// Others know more of this host's records than it does: it was copied or restored.
    CloneFound,
    /// An administrator let a copied or restored host write again.
    MeshResumed,
    /// A host's audit log lies below the head that it had shown.
    AuditRewritten,
    /// A peer was refused by the network role.
    PeerRefused,
    /// A client was made known to the mesh.
    ClientChanged,
    /// A client was removed from the mesh.
    ClientRemoved,
}

/// Whether it was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// Done.
    Done,
    /// Not permitted.
    Denied,
    /// Permitted, but it failed.
    Failed,
}

/// On whose behalf something happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum Actor {
    /// The agent by itself: rotation, start, stop.
    Agent,
    /// A local process, as it was attested.
    Process {
        /// Process id at the time.
        pid: i32,
        /// User id.
        uid: u32,
        /// Group id.
        gid: u32,
        /// Running file, as shown; marked when it was not verified.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        exe: Option<String>,
        /// System unit.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        unit: Option<String>,
        /// How firmly these facts are tied to the process.
        pinning: Pinning,
        /// The revocation id of the capability token it used, if that decided.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        token: Option<String>,
    },
}

impl From<&Caller> for Actor {
    fn from(caller: &Caller) -> Self {
        let shown = |exe: &Executable| match exe.is_that_file {
            true => exe.shown_path.clone(),
            false => format!("{} (another file)", exe.shown_path),
        };
        Self::Process {
            pid: caller.pid,
            uid: caller.uid,
            gid: caller.gid,
            exe: caller.exe.as_ref().map(shown),
            unit: caller.unit().map(str::to_owned),
            pinning: caller.pinning,
            token: None,
        }
    }
}

/// What an event concerns. Names and numbers only, never a key or a secret.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Subject {
    /// Identity name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<String>,
    /// SPIFFE ID.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spiffe_id: Option<String>,
    /// Certificate serial, lower-case hex.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial: Option<String>,
    /// Secret name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
    /// Capability token, by revocation id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// Anything else worth a name: a file, an address, a request path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object: Option<String>,
}

impl Subject {
    /// True if nothing is named.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}
