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
        matches!(self, Self::Admissions | Self::HostKeys | Self::Evictions | Self::Revocations)
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
            Self::IssuingLimits => 16 << 10,
            Self::Nodes | Self::Evictions | Self::AuditHeads | Self::Bundles | Self::Intermediates => 8 << 10,
            Self::Identities | Self::Hbac | Self::Roles => 4 << 10,
            Self::Admissions | Self::HostKeys | Self::Clients | Self::Scopes | Self::Users => 2 << 10,
            Self::SigningKeys | Self::RefreshFamilies => 1 << 10,
            Self::Revocations | Self::WrappingKeys | Self::Floors | Self::Invalidations | Self::Lockouts => 256,
        }
    }

    /// Whether a key has the form of this collection's keys, as far as the author alone decides.
    pub fn fits_key(self, key: &str, author: &str) -> bool {
        match self {
            Self::Floors | Self::AuditHeads => key == author,
            Self::Evictions => split(key).is_some_and(|(_, by)| by == author),
            Self::Lockouts => split(key).is_some_and(|(subject, node)| !subject.is_empty() && node == author),
            Self::Admissions | Self::HostKeys => split(key).is_some_and(|(_, kid)| is_hex(kid, 40)),
            Self::Revocations => split(key).is_some_and(|(issuer, serial)| is_hex(issuer, 64) && is_serial(serial)),
            Self::Bundles | Self::Intermediates | Self::Crls => is_hex(key, 64),
            _ => true,
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

/// RFC 5280 §4.1.2.2: at most 20 octets.
fn is_serial(text: &str) -> bool {
    (2..=40).contains(&text.len()) && text.len().is_multiple_of(2) && is_hex(text, text.len())
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

    /// `revocations/…`; `issuer` is the SHA-256 of the issuing certificate, `serial` its octets, both in lower-case hex.
    pub fn revocation(issuer: &str, serial: &str) -> String {
        format!("{issuer}/{serial}")
    }

    /// `lockouts/…`.
    pub fn lockout(subject: &str, author: &NodeId) -> String {
        format!("{subject}/{author}")
    }
}
