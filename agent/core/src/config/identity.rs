//! Identities and secrets as the operator declares them.

use std::net::IpAddr;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use toml::Spanned;

use super::pkcs12::{Pkcs12, RawPkcs12};
use crate::id::{DnsName, IdentityName, SecretName, SpiffeId};
use crate::ipc::prober::Preamble;
use crate::moment::Span;
use crate::renewal::Renewal;

/// An `[[identity]]` as it is written.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawIdentity {
    /// Local name; the folder under `certs/`.
    #[schemars(with = "IdentityName")]
    pub(super) name: Spanned<IdentityName>,
    /// SPIFFE ID. Default: `spiffe://TRUST-DOMAIN/svc/NAME`.
    #[schemars(with = "Option<SpiffeId>")]
    pub(super) spiffe_id: Option<Spanned<SpiffeId>>,
    /// DNS names the certificate is for.
    #[serde(default)]
    pub(super) dns: Vec<DnsName>,
    /// IP addresses the certificate is for.
    #[serde(default)]
    pub(super) ip: Vec<IpAddr>,
    /// Life of a certificate: `5m` to `30d`. Default `7d`.
    #[schemars(with = "Option<Span>")]
    pub(super) ttl: Option<Spanned<Span>>,
    /// When its certificates are renewed. Default: at half of their life.
    #[schemars(with = "Option<Renewal>")]
    pub(super) renew: Option<Spanned<Renewal>>,
    /// Kind of key. Default `p256`.
    #[serde(default)]
    pub(super) key: KeyType,
    /// Helps a caller with several identities choose.
    pub(super) hint: Option<String>,
    /// Who may have it: all selectors must hold.
    #[serde(rename = "match")]
    #[schemars(with = "Match")]
    pub(super) matches: Spanned<Match>,
    /// Publish it as files, with this owner and mode.
    #[schemars(with = "Option<FileRule>")]
    pub(super) files: Option<FileRule>,
    /// How the service learns of new files.
    #[schemars(with = "Option<RawReload>")]
    pub(super) reload: Option<Spanned<Reload>>,
    /// Where to see the new certificate served: `host:port`, or `postgres://host:port`.
    #[schemars(with = "Option<String>")]
    pub(super) verify: Option<Spanned<Verify>>,
}

/// A `[[secret]]` as it is written.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawSecret {
    /// Name; the file under `secrets/`.
    #[schemars(with = "SecretName")]
    pub(super) name: Spanned<SecretName>,
    /// Identities whose holders may read it.
    #[schemars(with = "Vec<IdentityName>")]
    pub(super) allow: Spanned<Vec<IdentityName>>,
    /// Publish it as a file, with this owner and mode.
    pub(super) files: Option<FileRule>,
}

/// A declared identity.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Identity {
    /// Local name.
    pub name: IdentityName,
    /// SPIFFE ID.
    pub spiffe_id: SpiffeId,
    /// DNS names.
    pub dns: Vec<DnsName>,
    /// IP addresses.
    pub ip: Vec<IpAddr>,
    /// Life of a certificate.
    pub ttl: Span,
    /// When it is renewed.
    pub renew: Renewal,
    /// Kind of key.
    pub key: KeyType,
    /// For a caller with several.
    pub hint: Option<String>,
    /// Who may have it.
    #[serde(rename = "match")]
    pub matches: Match,
    /// Published as files.
    pub files: Option<FileRule>,
    /// How the service learns of new files.
    pub reload: Option<Reload>,
    /// Where to see it served.
    pub verify: Option<Verify>,
    /// `file:line:column` of its name, for messages.
    pub declared_at: String,
}

impl Identity {
    /// Shortest life of a certificate.
    pub const MIN_TTL: Duration = Duration::from_secs(5 * 60);
    /// Longest life of a certificate.
    pub const MAX_TTL: Duration = Duration::from_secs(30 * 86_400);
}

/// A declared secret. Its value is sealed by `agentctl secret seal`, never written in a configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Secret {
    /// Name.
    pub name: SecretName,
    /// Identities whose holders may read it.
    pub allow: Vec<IdentityName>,
    /// Published as a file.
    pub files: Option<FileRule>,
    /// `file:line:column` of its name, for messages.
    pub declared_at: String,
}

/// Kind of a leaf's key.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum KeyType {
    /// ECDSA on P-256: every consumer takes it.
    #[default]
    P256,
    /// Ed25519.
    Ed25519,
}

/// Who may have an identity: all given selectors must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Match {
    /// User id.
    pub uid: Option<u32>,
    /// User name, looked up when the configuration is loaded.
    pub user: Option<String>,
    /// Primary group id.
    pub gid: Option<u32>,
    /// Primary group name.
    pub group: Option<String>,
    /// Name of a supplementary group.
    pub supplementary_group: Option<String>,
    /// Absolute path of the executable. Only beside `unit`, `uid` or `user`: it narrows within one user.
    pub exe: Option<String>,
    /// SHA-256 of the executable, hex. Only beside `unit`, `uid` or `user` too.
    pub sha256: Option<String>,
    /// System unit, e.g. `nginx.service`.
    pub unit: Option<String>,
    /// cgroup path, from the root: in it or below.
    pub cgroup: Option<String>,
}

impl Match {
    /// Refuses what would match everyone, what is redundant, and what is no such thing.
    pub(super) fn check(&self) -> Result<(), String> {
        if *self == Self::default() {
            return Err("an empty `match` would give the identity to nobody: name at least one of uid, user, gid, group, \
                        supplementary_group, unit, cgroup"
                .to_owned());
        }
        // Whoever owns a user namespace may say which file it runs (prctl PR_SET_MM_MAP), whatever its groups and cgroup.
        let one_user = self.unit.is_some() || self.uid.is_some() || self.user.is_some();
        if !one_user && (self.exe.is_some() || self.sha256.is_some()) {
            return Err("`exe` and `sha256` need `unit`, `uid` or `user` beside them, since any local user can make a process \
                        that seems to run another program: add one of the three"
                .to_owned());
        }
        if self.uid.is_some() && self.user.is_some() {
            return Err("give `uid` or `user`, not both".to_owned());
        }
        if self.gid.is_some() && self.group.is_some() {
            return Err("give `gid` or `group`, not both".to_owned());
        }
        if self.uid == Some(crate::caller::UNMAPPED_ID) {
            return Err("uid 65534 is what the kernel shows for users it cannot map: it names nobody".to_owned());
        }
        for (key, path) in [("exe", &self.exe), ("cgroup", &self.cgroup)] {
            if path.as_ref().is_some_and(|path| !path.starts_with('/') || path.split('/').any(|part| part == "..")) {
                return Err(format!("`{key}` must be an absolute path without \"..\""));
            }
        }
        if self.sha256.as_ref().is_some_and(|digest| digest.len() != 64 || !digest.bytes().all(|b| b.is_ascii_hexdigit())) {
            return Err("`sha256` must be 64 hexadecimal digits: `sha256sum FILE` prints them".to_owned());
        }
        match &self.unit {
            Some(unit) => check_unit(unit),
            None => Ok(()),
        }
    }
}

fn check_unit(unit: &str) -> Result<(), String> {
    let suffixes = [".service", ".scope", ".socket", ".mount"];
    let plain = unit.bytes().all(|b| b.is_ascii_alphanumeric() || b":-_.\\@".contains(&b));
    if !plain || unit.len() > 255 || unit.starts_with('-') || !suffixes.iter().any(|suffix| unit.ends_with(suffix)) {
        return Err(format!("{unit:?} is not a unit name such as \"nginx.service\""));
    }
    Ok(())
}

/// Owner and mode of published files, and further formats of an identity's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FileRule {
    /// Owner, by name. Default: the warden's user.
    pub owner: Option<String>,
    /// Group, by name. Default: the warden's group.
    pub group: Option<String>,
    /// Mode of the files that hold a private key or a secret, octal; the others are 0444. Default `0400`.
    #[serde(default)]
    pub mode: FileMode,
    /// Publish certificates and key as DER too.
    #[serde(default)]
    pub der: bool,
    /// Publish them as a PKCS#12 file too, with the trusted roots.
    #[schemars(with = "Option<RawPkcs12>")]
    pub pkcs12: Option<Pkcs12>,
}

/// Permission bits, written as an octal string.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileMode(pub u32);

impl Default for FileMode {
    fn default() -> Self {
        Self(0o400)
    }
}

impl Serialize for FileMode {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{:04o}", self.0))
    }
}

impl<'de> Deserialize<'de> for FileMode {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let mode = u32::from_str_radix(&text, 8).ok().filter(|_| text.len() <= 4);
        let Some(mode) = mode.filter(|mode| mode & !0o660 == 0 && mode & 0o400 != 0) else {
            return Err(serde::de::Error::custom(format!(
                "{text:?} is not a mode for a private key: use \"0400\", \"0440\", \"0600\", \"0640\" or \"0660\""
            )));
        };
        Ok(Self(mode))
    }
}

impl schemars::JsonSchema for FileMode {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "FileMode".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "pattern": "^0?[0-7]{3}$" })
    }
}

/// How a service is told to read its files again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "RawReload", rename_all = "lowercase")]
pub enum Reload {
    /// `systemctl reload`.
    Unit(String),
    /// A signal, by pidfile.
    Signal {
        /// Number.
        signal: i32,
        /// Absolute path.
        pidfile: String,
    },
    /// Arguments; the first is an absolute path. No shell.
    Command(Vec<String>),
    /// redis's unix socket.
    Redis(String),
}

/// A `reload` as it is written.
#[derive(Debug, Default, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawReload {
    /// A systemd unit to reload.
    unit: Option<String>,
    /// A signal: `HUP`, `USR1`, `USR2` or `WINCH`; with `pidfile`.
    signal: Option<String>,
    /// Absolute path of a pidfile.
    pidfile: Option<String>,
    /// A program and its arguments.
    command: Option<Vec<String>>,
    /// Path of redis's unix socket.
    redis: Option<String>,
}

impl TryFrom<RawReload> for Reload {
    type Error = String;
    fn try_from(raw: RawReload) -> Result<Self, String> {
        let absolute = |key: &str, path: &str| match path.starts_with('/') && path.len() < 4096 {
            true => Ok(()),
            false => Err(format!("`{key}` must be an absolute path")),
        };
        match raw {
            RawReload { unit: Some(unit), signal: None, pidfile: None, command: None, redis: None } => {
                check_unit(&unit)?;
                Ok(Self::Unit(unit))
            }
            RawReload { unit: None, signal: Some(signal), pidfile: Some(pidfile), command: None, redis: None } => {
                absolute("pidfile", &pidfile)?;
                Ok(Self::Signal { signal: signal_number(&signal)?, pidfile })
            }
            RawReload { unit: None, signal: None, pidfile: None, command: Some(argv), redis: None } => {
                absolute("command", argv.first().map_or("", String::as_str))?;
                match argv.len() <= 64 && argv.iter().all(|arg| arg.len() <= 4096 && !arg.contains('\0')) {
                    true => Ok(Self::Command(argv)),
                    false => Err("`command` may have at most 64 arguments of 4096 bytes".to_owned()),
                }
            }
            RawReload { unit: None, signal: None, pidfile: None, command: None, redis: Some(socket) } => {
                absolute("redis", &socket)?;
                Ok(Self::Redis(socket))
            }
            _ => Err("`reload` takes one of: { unit = \"…\" }, { signal = \"HUP\", pidfile = \"/…\" }, \
                      { command = [\"/…\"] }, { redis = \"/path/of/its/socket\" }"
                .to_owned()),
        }
    }
}

/// The warden sends no other (`agent/src/warden/reload/signal.rs`): none of these forces a process to end.
fn signal_number(name: &str) -> Result<i32, String> {
    match name.strip_prefix("SIG").unwrap_or(name) {
        "HUP" => Ok(1),
        "USR1" => Ok(10),
        "USR2" => Ok(12),
        "WINCH" => Ok(28),
        _ => Err(format!("{name:?} is not a signal by which programs reload: HUP, USR1, USR2, WINCH")),
    }
}

/// Where to see a certificate served.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Verify {
    /// `host:port`.
    pub address: String,
    /// What the protocol says before TLS.
    pub preamble: Preamble,
}

impl FromStr for Verify {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let (preamble, address) = match text.strip_prefix("postgres://") {
            Some(address) => (Preamble::Postgres, address),
            None => (Preamble::None, text),
        };
        let (host, port) = address.rsplit_once(':').unwrap_or((address, ""));
        let good_host =
            !host.is_empty() && host.len() <= 255 && host.bytes().all(|b| b.is_ascii_alphanumeric() || b".-_[]:".contains(&b));
        if !good_host || port.parse::<u16>().is_ok_and(|port| port == 0) || port.parse::<u16>().is_err() {
            return Err(format!("{text:?} is not \"host:port\" or \"postgres://host:port\""));
        }
        Ok(Self { address: address.to_owned(), preamble })
    }
}

impl TryFrom<String> for Verify {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl std::fmt::Display for Verify {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.preamble {
            Preamble::None => f.write_str(&self.address),
            Preamble::Postgres => write!(f, "postgres://{}", self.address),
        }
    }
}

impl Serialize for Verify {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
