//! Everything the checks look at, gathered beforehand, so that each check is a function of it.

use reverie_core::api::admin::{AllIdentities, AuditVerdict, Status, Tunnels};
use reverie_core::api::mesh::MeshStatus;
use reverie_core::moment::Moment;
use reverie_core::renewal::Validity;

use super::names::Names;
use super::view::View;
use crate::failure::Failure;
use crate::layout::Layout;

/// A host and its agent, as seen by the caller.
#[derive(Debug)]
pub(crate) struct Facts {
    pub(crate) now: Moment,
    pub(crate) version: &'static str,
    pub(crate) layout: Layout,
    /// The agent's answer to anyone.
    pub(crate) agent: Result<(), Failure>,
    /// Whether somebody listens on the socket of the Workload API.
    pub(crate) workload: Result<(), String>,
    /// The agent's answers to an administrator.
    pub(crate) status: Result<Status, Failure>,
    pub(crate) identities: Option<AllIdentities>,
    pub(crate) audit: Option<Result<AuditVerdict, Failure>>,
    pub(crate) mesh: Option<MeshStatus>,
    pub(crate) tunnels: Option<Tunnels>,
    /// What the node id means here, and whether the port of the mesh answers under it; only in a mesh.
    pub(crate) names: Option<Names>,
    pub(crate) own_port: Option<Result<(), String>>,
    /// Roots the agent hands out.
    pub(crate) roots: Vec<Validity>,
    /// Revocation lists: `thisUpdate` to `nextUpdate`.
    pub(crate) crls: Vec<Validity>,
    pub(crate) kernel: Option<(u32, u32)>,
    pub(crate) has_tpm: bool,
    pub(crate) run: Option<Directory>,
    pub(crate) config: Result<Declared, Failure>,
    /// The newest change of a configuration file.
    pub(crate) config_changed: Option<Moment>,
    /// Free and total bytes under the store's directory.
    pub(crate) disk: Option<(u64, u64)>,
    /// The audit log's directory and the admin group's id.
    pub(crate) audit_directory: Option<(Directory, Option<u32>)>,
    /// Generations under `certs/` that are neither current nor the one before.
    pub(crate) stale_generations: Vec<String>,
    pub(crate) view: View,
}

/// A directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Directory {
    pub(crate) path: String,
    /// On memory, so that keys never reach a disk.
    pub(crate) on_tmpfs: bool,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mode: u32,
}

/// What the configuration on disk names that this host lacks, each with where it is named.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Declared {
    pub(crate) files: Vec<String>,
    pub(crate) missing_callers: Vec<String>,
    pub(crate) missing_owners: Vec<String>,
    /// Credentials that the service manager cannot ask for.
    pub(crate) unaskable: Vec<String>,
    /// Plain ends of tunnels that are open to more than attested callers.
    pub(crate) exposed: Vec<String>,
    pub(crate) admin_group_exists: bool,
}
