//! How a host is named in membership datagrams.

use foca::Identity;
use sha2::{Digest, Sha256};

use crate::id::NodeId;

/// The leftmost 128 bits of the SHA-256 of a node id: short, and cheap to compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct NodeTag(pub(super) [u8; 16]);

impl NodeTag {
    pub(super) fn of(node: &NodeId) -> Self {
        let mut tag = [0; 16];
        tag.copy_from_slice(&Sha256::digest(node.as_str().as_bytes())[..16]);
        Self(tag)
    }
}

/// A host since its start, or since it found that others took it for dead. Epoch 0 is a host that nobody heard yet: every
/// host has an epoch above it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Incarnate {
    pub(super) node: NodeTag,
    pub(super) epoch: u64,
}

impl Identity for Incarnate {
    type Addr = NodeTag;

    fn renew(&self) -> Option<Self> {
        Some(Self { node: self.node, epoch: self.epoch.checked_add(1)? })
    }

    fn addr(&self) -> NodeTag {
        self.node
    }

    fn win_addr_conflict(&self, adversary: &Self) -> bool {
        self.epoch > adversary.epoch
    }
}
