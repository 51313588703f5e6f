//! Requests and answers on `agent.sock`.

use serde::{Deserialize, Serialize};

use crate::caller::Caller;
use crate::config::KeyType;
use crate::moment::Moment;

/// `GET /v1/whoami`: who the kernel says you are, and what you may have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Whoami {
    /// The facts, as of the connection.
    pub caller: Caller,
    /// Your system unit.
    pub unit: Option<String>,
    /// Names of your identities, the default first.
    pub identities: Vec<String>,
}

/// `GET /v1/identities`: yours, the default first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Identities {
    /// The identities.
    pub identities: Vec<IdentitySummary>,
}

/// One identity, without keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct IdentitySummary {
    /// Local name.
    pub name: String,
    /// SPIFFE ID.
    pub spiffe_id: String,
    /// To choose among several.
    pub hint: Option<String>,
    /// DNS names.
    pub dns: Vec<String>,
    /// IP addresses.
    pub ip: Vec<String>,
    /// Kind of key.
    pub key: KeyType,
    /// Life of a certificate, e.g. `7d`.
    pub ttl: String,
    /// Where its files are, if it has files.
    pub files: Option<String>,
    /// The current certificate.
    pub certificate: Option<CertificateSummary>,
}

/// One certificate, without its key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct CertificateSummary {
    /// Lower-case hex.
    pub serial: String,
    /// First moment.
    pub not_before: Moment,
    /// Last moment.
    pub not_after: Moment,
    /// When it will be renewed, for one the agent keeps.
    pub renew_at: Option<Moment>,
    /// When it was revoked.
    pub revoked_at: Option<Moment>,
    /// Counts up with every publication.
    pub generation: Option<u64>,
}

/// `POST /v1/identities/{name}/certificates`: a certificate of your own. With an empty body the agent makes the key.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct IssueRequest {
    /// A certificate request (PKCS #10, PEM). Its key is certified; its names must be among the identity's.
    pub csr: Option<String>,
}

/// A certificate, its chain and, if the agent made it, its key.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Certificate {
    /// Identity name.
    pub identity: String,
    /// SPIFFE ID.
    pub spiffe_id: String,
    /// Lower-case hex.
    pub serial: String,
    /// First moment.
    pub not_before: Moment,
    /// Last moment.
    pub not_after: Moment,
    /// Leaf, then intermediate, PEM.
    pub certificate: String,
    /// PKCS #8, PEM; absent for a CSR.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub private_key: Option<String>,
    /// The trusted roots, PEM.
    pub bundle: String,
}

impl std::fmt::Debug for Certificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Certificate").field("identity", &self.identity).field("serial", &self.serial).finish_non_exhaustive()
    }
}

impl Drop for Certificate {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.private_key);
    }
}

/// `GET /v1/bundle`: the roots to trust. `?format=pem` gives PEM alone, `?format=spiffe` the bundle as other trust domains
/// fetch it; `?trust_domain=` asks for that of another trust domain that this host federates with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Bundle {
    /// Trust domain.
    pub trust_domain: String,
    /// Root certificates, PEM.
    pub roots: Vec<String>,
}

/// `GET /v1/crl`: revocation lists of every issuer of this host. `?format=pem` gives PEM alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Crls {
    /// PEM, one per issuer.
    pub crls: Vec<String>,
}

/// `GET /v1/secrets`: names you may read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct SecretNames {
    /// Names.
    pub secrets: Vec<String>,
}

/// `GET /v1/secrets/{name}`. `?format=raw` gives the bytes alone.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct SecretValue {
    /// Name.
    pub name: String,
    /// Counts up each time it is sealed anew.
    pub version: u64,
    /// Base64.
    pub value: String,
}

impl std::fmt::Debug for SecretValue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SecretValue").field("name", &self.name).field("version", &self.version).finish_non_exhaustive()
    }
}

impl Drop for SecretValue {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.value);
    }
}

/// One server-sent event of `GET /v1/watch`. The first ones describe the present.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum WatchEvent {
    /// An identity of yours has this certificate now.
    Rotation {
        /// Identity name.
        identity: String,
        /// Serial of its certificate.
        serial: String,
        /// Generation.
        generation: u64,
    },
    /// The trusted roots or the revocation lists changed.
    Trust {
        /// SHA-256 over both.
        digest: String,
    },
    /// You no longer have any identity; the stream ends.
    Refused,
}
