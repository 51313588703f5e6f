//! Everything but identities and secrets.

use serde::{Deserialize, Serialize};
use toml::Spanned;

use super::federation::{Federation, RawFederation};
use super::gossip::Gossip;
use super::identity::{Identity, RawIdentity, RawSecret, Secret};
use super::tunnel::{RawTunnel, Tunnel};
use crate::id::{NodeId, TrustDomain};
use crate::moment::Span;

/// The main file as it is written.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct MainFile {
    /// The SPIFFE trust domain all identities of this host belong to.
    pub(super) trust_domain: TrustDomain,
    /// The host's name in the mesh. Default: its fully qualified domain name.
    pub(super) node_id: Option<NodeId>,
    /// Folders and sockets.
    #[serde(default)]
    pub(super) paths: Paths,
    /// How the root secret is sealed.
    #[serde(default)]
    #[schemars(with = "Seal")]
    pub(super) seal: Option<Spanned<Seal>>,
    /// Lifetimes of roots, intermediates and revocation lists.
    #[serde(default)]
    #[schemars(with = "Ca")]
    pub(super) ca: Option<Spanned<Ca>>,
    /// Who may use the admin socket.
    #[serde(default)]
    pub(super) admin: Admin,
    /// Bounds on what callers can ask.
    #[serde(default)]
    pub(super) limits: Limits,
    /// The audit log's files.
    #[serde(default)]
    pub(super) audit: Audit,
    /// The file view.
    #[serde(default)]
    pub(super) view: View,
    /// The log (not the audit log).
    #[serde(default)]
    pub(super) log: Log,
    /// The mesh: its listener, who may take part, and the times of its rounds.
    #[serde(default)]
    #[schemars(with = "Gossip")]
    pub(super) gossip: Option<Spanned<Gossip>>,
    /// Other trust domains, whose members are believed by their own bundles.
    #[serde(default)]
    pub(super) federation: Vec<RawFederation>,
    /// Identities and who may have them.
    #[serde(default)]
    pub(super) identity: Vec<RawIdentity>,
    /// Secrets and who may read them.
    #[serde(default)]
    pub(super) secret: Vec<RawSecret>,
    /// Tunnels to services on other hosts, and from them.
    #[serde(default)]
    pub(super) tunnel: Vec<RawTunnel>,
}

/// A drop-in: a package brings its identities, secrets and tunnels, and no settings of the host.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DropIn {
    #[serde(default)]
    pub(super) identity: Vec<RawIdentity>,
    #[serde(default)]
    pub(super) secret: Vec<RawSecret>,
    #[serde(default)]
    pub(super) tunnel: Vec<RawTunnel>,
}

/// The whole configuration, checked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Config {
    /// The trust domain.
    pub trust_domain: TrustDomain,
    /// The host's name, where the file gives it.
    pub node_id: Option<NodeId>,
    /// Folders and sockets.
    pub paths: Paths,
    /// Sealing.
    pub seal: Seal,
    /// Lifetimes.
    pub ca: Ca,
    /// Administrators.
    pub admin: Admin,
    /// Bounds.
    pub limits: Limits,
    /// Audit files.
    pub audit: Audit,
    /// The file view.
    pub view: View,
    /// Log.
    pub log: Log,
    /// The mesh.
    pub gossip: Gossip,
    /// Other trust domains.
    pub federation: Vec<Federation>,
    /// Identities, in the order of the files.
    pub identities: Vec<Identity>,
    /// Secrets.
    pub secrets: Vec<Secret>,
    /// Tunnels.
    pub tunnels: Vec<Tunnel>,
}

impl Config {
    /// What `new` has otherwise and takes effect at a restart only, as it is written. Of what can be read again, that is:
    /// names and paths are refused.
    pub fn awaiting_restart(&self, new: &Self) -> Vec<&'static str> {
        let differs = [
            ("[seal]", self.seal != new.seal),
            ("admin.group (for the files of the audit log)", self.admin.group != new.admin.group),
            ("audit.rotate_bytes", self.audit.rotate_bytes != new.audit.rotate_bytes),
            ("audit.keep", self.audit.keep != new.audit.keep),
            ("view.enabled", self.view != new.view),
        ];
        differs.into_iter().filter(|(_, differs)| *differs).map(|(key, _)| key).collect()
    }
}

/// Folders and sockets. Unset ones follow from the mode: `/run/reverie` and `/var/lib/reverie` for the system,
/// `$XDG_RUNTIME_DIR/reverie` and `$XDG_STATE_HOME/reverie` for one person.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Paths {
    /// Where sockets and published files live; a tmpfs.
    pub run: Option<String>,
    /// Where the store and the audit log live.
    pub state: Option<String>,
    /// Where the sealed root secret lives. Default: `STATE/seal`.
    pub seal: Option<String>,
    /// The socket every local process may use. Default: `RUN/agent.sock`.
    pub agent_socket: Option<String>,
    /// The administrators' socket. Default: `RUN/admin.sock`.
    pub admin_socket: Option<String>,
    /// The warden's socket. Default: the packaged unit's if it is there, else the keeper starts a warden of its own.
    pub warden_socket: Option<String>,
    /// The prober's socket. Default: the packaged unit's if it is there, else the keeper starts one for each question.
    pub prober_socket: Option<String>,
    /// The socket of the role `net`. Default: the packaged unit's if it is there, else the keeper starts one of its own.
    pub net_socket: Option<String>,
}

/// How the root secret is sealed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Seal {
    /// `auto` takes the strongest there is the first time, and never a weaker one later.
    pub mode: SealMode,
    /// PCRs the TPM must have unchanged, each 0 to 23. Empty: systemd's own default.
    pub pcrs: Vec<u8>,
    /// TPM to use, as `systemd-creds --tpm2-device=` takes it. Default: the machine's.
    pub tpm2_device: Option<String>,
}

/// What the root secret is sealed with.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub enum SealMode {
    /// The strongest available at first, the same ever after.
    #[default]
    #[serde(rename = "auto")]
    Auto,
    /// The TPM.
    #[serde(rename = "tpm2")]
    Tpm2,
    /// The TPM and a key on the host's disk, both needed.
    #[serde(rename = "host+tpm2")]
    HostTpm2,
    /// A key on the host's disk that only root reads.
    #[serde(rename = "host")]
    Host,
    /// A key file with mode 0600: for development.
    #[serde(rename = "file")]
    File,
}

/// Lifetimes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Ca {
    /// Life of a root. 30 days to 10 years.
    pub root_ttl: Span,
    /// How long before it signs a new root is published, so that every verifier has it by then.
    pub root_overlap: Span,
    /// Life of the host's intermediate. 1 day to 1 year; renewed at half.
    pub intermediate_ttl: Span,
    /// Life of a revocation list: no shorter than the time a host must survive alone.
    pub crl_ttl: Span,
    /// Life of a JWT-SVID or WIT-SVID, and no longer than the identity's `ttl`. 1 minute to 1 hour.
    pub token_ttl: Span,
}

impl Ca {
    /// Why these lifetimes do not fit together, if so.
    pub(super) fn check(&self) -> Result<(), &'static str> {
        let Self { root_ttl, root_overlap, intermediate_ttl, crl_ttl, token_ttl } = self;
        if *root_ttl < Span::days(30) || *root_ttl > Span::days(3653) {
            return Err("`root_ttl` must be from 30d to 10 years (3653d)");
        }
        if *intermediate_ttl < Span::days(1) || *intermediate_ttl > Span::days(366) || intermediate_ttl >= root_ttl {
            return Err("`intermediate_ttl` must be from 1d to 366d, and shorter than `root_ttl`");
        }
        if root_overlap.0 * 2 > root_ttl.0 {
            return Err("`root_overlap` must be at most half of `root_ttl`");
        }
        if *crl_ttl < Span::days(1) || *crl_ttl > Span::days(366) {
            return Err("`crl_ttl` must be from 1d to 366d");
        }
        if *token_ttl < Span::minutes(1) || *token_ttl > Span::minutes(60) {
            return Err("`token_ttl` must be from 1m to 1h");
        }
        Ok(())
    }
}

impl Default for Ca {
    fn default() -> Self {
        Self {
            root_ttl: Span::days(365),
            root_overlap: Span::days(30),
            intermediate_ttl: Span::days(60),
            crl_ttl: Span::days(30),
            token_ttl: Span::minutes(5),
        }
    }
}

/// Who may use the admin socket. Root and the agent's own user always may.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Admin {
    /// Members of this group are administrators. Must exist only if the agent runs for the system.
    pub group: String,
}

impl Default for Admin {
    fn default() -> Self {
        Self { group: "reverie-admin".to_owned() }
    }
}

/// Bounds on what callers can ask, each with a default that suits one busy host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Connections at once, all callers together. The admin socket is counted apart.
    pub connections: u32,
    /// Connections at once for one uid.
    pub connections_per_uid: u32,
    /// Requests a second for one uid, on average. 0 lifts the limit.
    pub requests_per_second: u32,
    /// Requests for one uid in a burst.
    pub burst: u32,
    /// Largest request body with which an administrator seals a secret, in bytes. Others are at most 32 KiB.
    pub body_bytes: u32,
    /// How long an idle connection is kept.
    pub idle: Span,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 4096,
            connections_per_uid: 1024,
            requests_per_second: 1000,
            burst: 2000,
            body_bytes: 256 * 1024,
            idle: Span::minutes(5),
        }
    }
}

/// The audit log's files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Audit {
    /// A file is closed and the next begun at this size, in bytes.
    pub rotate_bytes: u64,
    /// How many closed files are kept. 0 keeps all.
    pub keep: u32,
    /// Also send each event to the journal.
    pub journald: bool,
}

impl Default for Audit {
    fn default() -> Self {
        Self { rotate_bytes: 64 * 1024 * 1024, keep: 0, journald: false }
    }
}

/// The file view: a file system in which each process sees its own identities and secrets, at `RUN/view`. For the system only.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct View {
    /// Mount it; takes effect at a restart. Published files (`files` under `[[identity]]` and `[[secret]]`) are there with it and without it.
    pub enabled: bool,
}

/// The log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// `error`, `warn`, `info`, `debug` or `trace`, or directives by module. `REVERIE_LOG` overrides it.
    pub level: String,
}

impl Default for Log {
    fn default() -> Self {
        Self { level: "info".to_owned() }
    }
}
