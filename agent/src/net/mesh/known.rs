//! The situation as the keeper last told it, with its keys looked up fast.

use std::collections::HashMap;
use std::ops::Deref;
use std::sync::Arc;

use reverie_core::id::NodeId;
use reverie_core::ipc::net::{MeshIdentity, Peer, Situation};
use reverie_core::mesh::crypto::{Kid, SigningPublicKey};

use crate::net::http::Refusal;

/// One situation.
#[derive(Debug)]
pub struct Known {
    situation: Box<Situation>,
    keys: HashMap<Kid, usize>,
    nodes: HashMap<NodeId, usize>,
    refused: HashMap<Kid, usize>,
}

/// A peer in a situation.
#[derive(Debug, Clone)]
pub struct KnownPeer {
    known: Arc<Known>,
    index: usize,
}

impl Deref for Known {
    type Target = Situation;
    fn deref(&self) -> &Situation {
        &self.situation
    }
}

impl Deref for KnownPeer {
    type Target = Peer;
    fn deref(&self) -> &Peer {
        &self.known.situation.peers[self.index]
    }
}

/// Whose key it is.
#[derive(Debug)]
pub enum Who {
    /// A peer's whom we may speak with.
    Peer(KnownPeer),
    /// Somebody's who is refused, and why.
    Refused(String),
    /// Nobody's that we know of.
    Stranger,
}

impl From<Box<Situation>> for Known {
    fn from(situation: Box<Situation>) -> Self {
        let peers = situation.peers.iter().enumerate();
        let keys = peers.clone().flat_map(|(at, peer)| peer.signing_keys.iter().map(move |key| (key.kid(), at))).collect();
        let nodes = peers.map(|(at, peer)| (peer.node.clone(), at)).collect();
        let refused =
            situation.refused.iter().enumerate().flat_map(|(at, host)| host.kids.iter().map(move |kid| (*kid, at))).collect();
        Self { keys, nodes, refused, situation }
    }
}

impl Known {
    /// The owner of a key by its name. A peer's own list is looked at last, so its key is the very one it is pinned to.
    pub fn who(self: &Arc<Self>, kid: &Kid) -> Who {
        if let Some(index) = self.keys.get(kid) {
            return Who::Peer(KnownPeer { known: Arc::clone(self), index: *index });
        }
        match self.refused.get(kid) {
            Some(index) => Who::Refused(self.situation.refused[*index].why.clone()),
            None => Who::Stranger,
        }
    }

    /// A peer by its name.
    pub fn peer(self: &Arc<Self>, node: &NodeId) -> Option<KnownPeer> {
        self.nodes.get(node).map(|index| KnownPeer { known: Arc::clone(self), index: *index })
    }

    /// True for this host and its peers.
    pub fn is_member(&self, node: &NodeId) -> bool {
        self.nodes.contains_key(node) || self.mesh.as_ref().is_some_and(|identity| identity.node == *node)
    }

    /// True if a connection made with that key may stay.
    pub fn is_welcome(&self, key: &SigningPublicKey) -> bool {
        self.keys.contains_key(&key.kid())
    }

    /// True if it is known, and its owner refused.
    pub fn is_refused(&self, key: &SigningPublicKey) -> bool {
        self.refused.contains_key(&key.kid())
    }

    /// Who we are in the mesh.
    pub fn identity(&self) -> Result<&MeshIdentity, Refusal> {
        self.mesh.as_ref().ok_or_else(|| Refusal::new(503, "no_mesh", "this host is in no mesh; join it first, or ask another"))
    }
}

impl KnownPeer {
    /// Its key of that name.
    pub fn key(&self, kid: &Kid) -> Option<&SigningPublicKey> {
        self.signing_keys.iter().find(|key| key.kid() == *kid)
    }

    /// The situation it is of.
    pub fn known(&self) -> &Arc<Known> {
        &self.known
    }
}

#[cfg(test)]
pub(super) mod tests {
    use reverie_core::ipc::net::{NetSettings, Waiters};
    use reverie_core::mesh::crypto::KemPublicKey;
    use reverie_core::mesh::round::RoundSettings;

    use super::*;

    /// What a host knows that is in a mesh with these.
    pub fn situation(peers: impl Iterator<Item = NodeId>, us: NodeId) -> Situation {
        let signing_key = SigningPublicKey([4; 65]);
        let kem_key = KemPublicKey(Box::new([6; 1184]));
        let peer = |node| Peer { node, addresses: vec![], signing_keys: vec![], kem_key: None, wire: 1 };
        Situation {
            mesh: Some(MeshIdentity {
                mesh: [1; 16],
                node: us,
                signing_key,
                kem_key,
                certificate_chain: vec![],
                registered: true,
                epoch: 1,
            }),
            number: 1,
            settings: NetSettings {
                listen: vec![],
                max_message: 4 << 20,
                newest_wire: 2,
                public_stats: true,
                max_connections: 512,
                max_waiters: Waiters { total: 4, per_address: 2 },
                max_wait_ms: 1000,
                rate_per_second: 20,
                allowed: None,
                topology: None,
                log_level: "info".to_owned(),
                round: RoundSettings {
                    slide_ms: 20,
                    slide_max_ms: 150,
                    anti_entropy_ms: 1000,
                    fan_out_all: 16,
                    back_off_max_ms: 60_000,
                    exchange_ms: 10_000,
                },
            },
            peers: peers.map(peer).collect(),
            refused: vec![],
            digest: [0; 32],
            vector: Default::default(),
            own: Default::default(),
            tasks: vec![],
        }
    }
}
