//! What is fixed for every collection, whoever writes: the form of its keys, the size of its values, whether it only grows.

use super::Collection;
use crate::id::NodeId;
use crate::mesh::crypto::Kid;

impl Collection {
    /// As on the wire.
    pub const fn number(self) -> u64 {
        self as u64
    }

    /// From the wire.
    pub fn from_number(number: u64) -> Option<Self> {
        Self::ALL.iter().copied().find(|collection| collection.number() == number)
    }

    /// Every record is an element of its own: none replaces another, none is withdrawn, none is held back.
    pub const fn only_grows(self) -> bool {
        matches!(
            self,
            Self::Admissions | Self::HostKeys | Self::Evictions | Self::Revocations | Self::Upheld | Self::Confirmations
        )
    }

    /// No tombstones, and not held back from the view.
    pub const fn is_lasting(self) -> bool {
        self.only_grows() || matches!(self, Self::AuditHeads | Self::Floors)
    }

    /// Entries belong to whoever wrote them: those of two authors under one key stand side by side.
    pub const fn is_per_author(self) -> bool {
        matches!(self, Self::Bundles | Self::SigningKeys | Self::RefreshFamilies | Self::Floors)
    }

    /// Bytes of a value.
    pub const fn max_value(self) -> usize {
        match self {
            Self::Crls => 520 << 10,
            Self::Upheld => 32 << 10,
            Self::IssuingLimits => 16 << 10,
            Self::Nodes | Self::Evictions | Self::AuditHeads | Self::Bundles | Self::Intermediates => 8 << 10,
            Self::Identities | Self::Hbac | Self::Roles => 4 << 10,
            Self::Admissions | Self::HostKeys | Self::Clients | Self::Scopes | Self::Users => 2 << 10,
            Self::SigningKeys => 1 << 10,
            Self::RefreshFamilies => 512,
            Self::WrappingKeys | Self::Floors | Self::Invalidations | Self::Lockouts | Self::Confirmations => 256,
            Self::Revocations => 64,
        }
    }

    /// What has a share of its own: the collection, or what a host says there of itself.
    pub fn drawer(self, key: &str, author: &str) -> Drawer {
        let own = self == Self::Evictions && split(key).is_some_and(|(node, _)| node == author);
        Drawer { collection: self, own }
    }

    /// Whether only a key that has, or ever had, the standing of an authority writes there. What any other key says there is
    /// not even taken: it could never count, and would only take up room.
    pub fn is_for_authorities(self, key: &str, author: &str) -> bool {
        match self {
            Self::Nodes => key != author,
            Self::Evictions => !self.drawer(key, author).own,
            Self::HostKeys
            | Self::Revocations
            | Self::AuditHeads
            | Self::Crls
            | Self::Floors
            | Self::SigningKeys
            | Self::Lockouts
            | Self::RefreshFamilies
            | Self::Upheld => false,
            Self::Admissions
            | Self::Confirmations
            | Self::Bundles
            | Self::Intermediates
            | Self::WrappingKeys
            | Self::IssuingLimits
            | Self::Clients
            | Self::Scopes
            | Self::Hbac
            | Self::Identities
            | Self::Roles
            | Self::Users
            | Self::Invalidations => true,
        }
    }

    /// Whether a key has the form of this collection's keys, as far as the author alone decides.
    pub fn fits_key(self, key: &str, author: &str) -> bool {
        match self {
            Self::Floors | Self::AuditHeads => key == author,
            Self::Evictions => split(key).is_some_and(|(_, by)| by == author),
            Self::Lockouts => split(key).is_some_and(|(subject, node)| !subject.is_empty() && node == author),
            Self::Admissions | Self::HostKeys | Self::Confirmations => split(key).is_some_and(|(_, kid)| is_hex(kid, 40)),
            Self::Revocations => split(key).is_some_and(|(issuer, serial)| is_hex(issuer, 64) && is_serial(serial)),
            Self::Bundles | Self::Intermediates | Self::Crls | Self::Upheld => is_hex(key, 64),
            _ => true,
        }
    }
}

/// Part of what one author says that has a share of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Drawer {
    /// Kind.
    pub collection: Collection,
    /// A host's evictions of itself are counted apart: they are the only ones that a member can write.
    pub own: bool,
}

impl Drawer {
    /// So many entries an author may have there, tombstones included. Sized to need; `docs/protocol/mesh.md` says to which.
    pub const fn share(self) -> u64 {
        match self.collection {
            Collection::AuditHeads | Collection::Floors => 1,
            Collection::Evictions if self.own => 8,
            Collection::Crls => 32,
            Collection::Bundles => 64,
            Collection::Upheld => 128,
            Collection::HostKeys | Collection::SigningKeys => 256,
            Collection::WrappingKeys
            | Collection::Evictions
            | Collection::IssuingLimits
            | Collection::Scopes
            | Collection::Hbac
            | Collection::Identities
            | Collection::Roles => 4096,
            Collection::Lockouts | Collection::RefreshFamilies => 8192,
            Collection::Nodes
            | Collection::Admissions
            | Collection::Confirmations
            | Collection::Revocations
            | Collection::Intermediates
            | Collection::Clients
            | Collection::Users
            | Collection::Invalidations => 16_384,
        }
    }
}

/// At the last slash.
pub(crate) fn split(key: &str) -> Option<(&str, &str)> {
    key.rsplit_once('/')
}

fn is_hex(text: &str, length: usize) -> bool {
    text.len() == length && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// RFC 5280 §4.1.2.2: positive, at most 20 octets, as in the certificate: a spelling that no list could have would name what
/// its issuer cannot list.
fn is_serial(text: &str) -> bool {
    let sized = (2..=40).contains(&text.len()) && text.len().is_multiple_of(2) && is_hex(text, text.len());
    let byte = |at: usize| text.get(at..at + 2).and_then(|byte| u8::from_str_radix(byte, 16).ok());
    sized
        && match (byte(0), byte(2)) {
            (Some(0), second) => second.is_some_and(|second| second > 0x7f),
            (first, _) => first.is_some_and(|first| first <= 0x7f),
        }
}

/// How keys are put together.
pub mod key {
    use super::{Kid, NodeId};

    /// `admissions/…`; a promotion or readmission with the same keys is a further record under the same key.
    pub fn admission(node: &NodeId, kid: &Kid) -> String {
        format!("{node}/{kid}")
    }

    /// `host_keys/…`; `kid` names the next signing key.
    pub fn host_key(node: &NodeId, kid: &Kid) -> String {
        format!("{node}/{kid}")
    }

    /// `evictions/…`; a further eviction is a further record under the same key.
    pub fn eviction(node: &NodeId, author: &NodeId) -> String {
        format!("{node}/{author}")
    }

    /// `confirmations/…`; `previous` names the signing key before.
    pub fn confirmation(node: &NodeId, previous: &Kid) -> String {
        format!("{node}/{previous}")
    }

    /// `revocations/…`; `issuer` is the SHA-256 of the issuing certificate, `serial` its octets as in the certificate, both in
    /// lower-case hex.
    pub fn revocation(issuer: &str, serial: &str) -> String {
        format!("{issuer}/{serial}")
    }

    /// `lockouts/…`.
    pub fn lockout(subject: &str, author: &NodeId) -> String {
        format!("{subject}/{author}")
    }
}
