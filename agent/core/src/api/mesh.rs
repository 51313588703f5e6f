//! Requests and answers about the mesh, on `admin.sock`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::id::NodeId;
use crate::mesh::collection::{IssuingLimits, Standing};
use crate::moment::Moment;

/// `POST /api/admin/mesh/init`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct InitRequest {
    /// Checked against the configuration, where given.
    #[serde(default)]
    pub trust_domain: Option<String>,
}

/// `POST /api/admin/mesh/invites`, and `POST /api/admin/mesh/readmit`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct InviteRequest {
    /// Who may redeem it.
    pub node_id: NodeId,
    /// How long it can be redeemed, in seconds: 1 to 604,800.
    pub ttl_seconds: u64,
    /// What the host may issue. Default: its own name and what lies below it, no addresses, every SPIFFE path.
    #[serde(default)]
    pub limits: Option<IssuingLimits>,
}

/// Answer to both.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Invited {
    /// One line for the new host: `agentctl mesh join ADDRESS`, which reads it from standard input.
    pub token: String,
    /// When it ends.
    pub expires_at: Moment,
    /// Where to join: this host's addresses.
    pub addresses: Vec<String>,
}

impl std::fmt::Debug for Invited {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Invited").field("expires_at", &self.expires_at).finish_non_exhaustive()
    }
}

/// `POST /api/admin/mesh/join`. Answers with [`MeshStatus`] once the host is a member, or with what went wrong.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct JoinRequest {
    /// `host:port` of a member; with a token, of the one that made it.
    pub address: String,
    /// The line that `mesh invite` printed; without one, by Kerberos.
    #[serde(default)]
    pub token: Option<String>,
}

impl std::fmt::Debug for JoinRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JoinRequest").field("address", &self.address).finish_non_exhaustive()
    }
}

/// `POST /api/admin/mesh/evict`, `…/promote` (without a reason).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NodeRequest {
    /// Whom.
    pub node_id: NodeId,
    /// Why, for people; at most 200 bytes.
    #[serde(default)]
    pub reason: Option<String>,
}

/// `POST /api/admin/mesh/rotate`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case", tag = "what", deny_unknown_fields)]
pub enum RotateRequest {
    /// The cluster wrapping key; on an authority.
    WrappingKey,
    /// This host's signing and KEM keys.
    HostKeys,
}

/// `GET /api/admin/mesh`, and the answer to whatever changes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct MeshStatus {
    /// Trust domain.
    pub trust_domain: String,
    /// This host.
    pub node_id: NodeId,
    /// `none` (no mesh yet), `joining`, `member`, `authority`, `evicted`, `left`, `cloned` (stopped writing) or `refused` (others
    /// let it take no part): see `advice`.
    pub state: String,
    /// What to do about a state that is not well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub advice: Option<String>,
    /// Names the mesh, hex; absent before there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mesh: Option<String>,
    /// Digest of the records here, hex: equal on hosts that agree.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// Records here, and bytes of them.
    pub records: u64,
    /// Bytes of all records.
    pub record_bytes: u64,
    /// Live entries for each collection.
    pub counts: BTreeMap<String, u64>,
    /// Records held back from the view since their stamp lies too far ahead, by author.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub held_back: BTreeMap<String, u64>,
    /// Version of the cluster wrapping key here, and the newest there is.
    pub wrapping_key: Option<u64>,
    /// The newest there is.
    pub newest_wrapping_key: Option<u64>,
    /// When this host's intermediate ends; absent on one that has none.
    pub intermediate_ends: Option<Moment>,
    /// Where we listen.
    pub listen: Vec<String>,
    /// `static`, `topology`, both, or `admissions` (no list is configured).
    pub admission: String,
    /// When the directory was last asked with success, and why not since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topology_at: Option<Moment>,
    /// Why the directory could not be asked last time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topology_error: Option<String>,
    /// Everyone in the mesh, this host included.
    pub hosts: Vec<HostStatus>,
}

/// One host of the mesh, as this one sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct HostStatus {
    /// Who.
    pub node_id: NodeId,
    /// What it may do; absent once evicted.
    pub standing: Option<Standing>,
    /// `self`, `alive`, `suspect`, `down`, `unknown`, `evicted`, `left`, `not-allowed` (not on the allowlist) or `no-key`.
    pub state: String,
    /// Where it is reached.
    pub addresses: Vec<String>,
    /// Its agent's version.
    pub agent_version: Option<String>,
    /// The newest version of the mesh's protocol that it speaks.
    #[serde(default)]
    pub wire: Option<u16>,
    /// Name of its signing key, hex.
    pub signing_kid: Option<String>,
    /// Last exchange with it, either way.
    pub last_sync: Option<Moment>,
    /// True if it has, by its word, all that we have.
    pub in_sync: Option<bool>,
    /// Its clock minus ours, in milliseconds.
    pub clock_offset_ms: Option<i64>,
    /// Round trip, in milliseconds.
    pub round_trip_ms: Option<u32>,
    /// Attempts that failed since the last that did not.
    pub failures: u32,
    /// Why the last one failed.
    pub last_error: Option<String>,
    /// When its intermediate ends.
    pub intermediate_ends: Option<Moment>,
    /// Version of the cluster wrapping key that it has.
    pub wrapping_key: Option<u64>,
    /// Evidence against it: histories that differ, records refused.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub evidence: Vec<String>,
}

/// `PUT /api/admin/clients/{id}`: an OAuth client that every host knows. What it may do comes with the token endpoints.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClientRequest {
    /// For people; at most 200 bytes.
    #[serde(default)]
    pub display_name: Option<String>,
}
