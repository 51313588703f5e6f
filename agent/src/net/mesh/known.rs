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
        let refused = situation.refused.iter().enumerate().map(|(at, (kid, _))| (*kid, at)).collect();
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
            Some(index) => Who::Refused(self.situation.refused[*index].1.clone()),
            None => Who::Stranger,
        }
    }

    /// A peer by its name.
    pub fn peer(self: &Arc<Self>, node: &NodeId) -> Option<KnownPeer> {
        self.nodes.get(node).map(|index| KnownPeer { known: Arc::clone(self), index: *index })
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
