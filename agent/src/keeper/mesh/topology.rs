//! What the directory said of the topology. Its last good answer outlives a directory that fails, and a restart.

use std::collections::BTreeSet;
use std::sync::{MutexGuard, PoisonError};

use reverie_core::config::Gossip;
use reverie_core::id::NodeId;
use reverie_core::ipc::net::{Topology, TopologySettings};
use reverie_core::moment::Moment;
use serde::{Deserialize, Serialize};

use super::{Keeper, Mesh, MeshError};
use crate::keeper::row;
use crate::keeper::state::{Change, State, Table, Write};
use crate::ops::named_file;

/// Row of [`Kept`].
const ROW: &str = "topology";
/// Hosts a directory may name.
const MAX_NODES: usize = 4096;
/// Bytes of a file with certificates, or a password.
const MAX_FILE: u64 = 256 << 10;
/// Subject of the alarm.
const SUBJECT: &str = "mesh, directory";

#[derive(Clone, Default, Serialize, Deserialize)]
struct Kept {
    nodes: BTreeSet<NodeId>,
    at: Option<Moment>,
}

/// As it is known.
#[derive(Default)]
pub(super) struct Known {
    /// The last good answer; empty before the first.
    pub(super) nodes: BTreeSet<NodeId>,
    /// When it came.
    pub(super) at: Option<Moment>,
    /// Why there was none since.
    pub(super) error: Option<String>,
    /// Contents of `ipa_ca_file` and of `ipa_bind_password_file`.
    files: (Option<String>, Option<zeroize::Zeroizing<String>>),
}

impl Known {
    pub(super) fn load(state: &State) -> Result<Self, MeshError> {
        let kept: Option<Kept> = state.get(Table::Mesh, ROW)?.map(|row| row::decode(&row)).transpose()?;
        let Kept { nodes, at } = kept.unwrap_or_default();
        Ok(Self { nodes, at, ..Self::default() })
    }
}

impl Mesh {
    pub(super) fn topology(&self) -> MutexGuard<'_, Known> {
        self.topology.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn topology_settings(&self, gossip: &Gossip) -> Option<TopologySettings> {
        let suffix = gossip.ipa_suffix.clone().filter(|_| gossip.ipa_topology)?;
        let (ca_pem, password) = self.topology().files.clone();
        let password = password.map(|password| password.to_string());
        Some(TopologySettings {
            uris: gossip.ipa_ldap_uris.clone(),
            suffix,
            ca_pem,
            bind: gossip.ipa_bind_dn.clone().zip(password),
            interval_s: gossip.ipa_topology_interval_secs,
        })
    }
}

/// The directory's answer, or that it gave none: then the one before stands.
pub(super) async fn heard(keeper: &Keeper, answer: Topology) -> Result<(), MeshError> {
    let nodes = match answer.nodes {
        Err(why) => {
            let why: String = why.chars().take(500).collect();
            let since = keeper.mesh.topology().at.map_or_else(|| "never".to_owned(), |at| at.to_string());
            keeper.alarms.raise(SUBJECT, format!("the directory cannot be asked ({why}); its last answer, of {since}, stands"));
            keeper.mesh.topology().error = Some(why);
            return Ok(());
        }
        // What is no node id names none of our hosts.
        Ok(nodes) => nodes.into_iter().take(MAX_NODES).filter_map(|node| node.to_ascii_lowercase().parse().ok()).collect(),
    };
    keeper.alarms.clear(SUBJECT);
    let kept = Kept { nodes, at: Some(answer.at) };
    let changed = {
        let mut known = keeper.mesh.topology();
        known.error = None;
        known.at = kept.at;
        let changed = known.nodes != kept.nodes;
        known.nodes.clone_from(&kept.nodes);
        changed
    };
    let write = Write::Put { table: Table::Mesh, key: ROW.to_owned(), value: row::encode(&kept)? };
    keeper.commit(Change { writes: vec![write], events: vec![] }).await?;
    if changed {
        keeper.mesh.due.notify_one();
    }
    Ok(())
}

/// Reads the files that `[gossip]` names for the directory.
pub(super) async fn read_files(keeper: &Keeper) {
    let policy = keeper.policy();
    let gossip = &policy.config.gossip;
    let paths = (gossip.ipa_ca_file.clone(), gossip.ipa_bind_password_file.clone());
    let read = tokio::task::spawn_blocking(move || {
        let text = |path: Option<String>| path.map(|path| named_file::read(&path, MAX_FILE)).transpose();
        Ok::<_, String>((text(paths.0)?, text(paths.1)?))
    });
    match read.await {
        Ok(Ok((ca, password))) => {
            let password = password.map(|text| zeroize::Zeroizing::new(text.trim_end_matches(['\r', '\n']).to_owned()));
            keeper.mesh.topology().files = (ca, password);
            keeper.alarms.clear("mesh, files of the directory");
        }
        Ok(Err(why)) => keeper.alarms.raise("mesh, files of the directory", why),
        Err(_) => {}
    }
}
