//! An identity rule as it may travel.

use minicbor::{Decode, Encode};

/// `identities/<name>`: who may have a certificate of that name, on every host. What a host does with files, services and
/// commands is said in its own configuration alone: a record that could say so would be remote root.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct SharedIdentity {
    /// The path of its SPIFFE ID, e.g. `/svc/web`.
    #[n(0)]
    pub spiffe_path: String,
    /// DNS names.
    #[n(1)]
    pub dns: Vec<String>,
    /// Who may have it: users by name, any of them.
    #[n(2)]
    pub users: Vec<String>,
    /// Groups by name, any of them.
    #[n(3)]
    pub groups: Vec<String>,
    /// systemd units, any of them.
    #[n(4)]
    pub units: Vec<String>,
    /// Life of a certificate, seconds.
    #[n(5)]
    pub ttl_seconds: Option<u64>,
    /// Helps a caller with several identities choose.
    #[n(6)]
    pub hint: Option<String>,
}

impl SharedIdentity {
    /// Reads one that says nothing else: what is written back must be the same bytes.
    pub fn read(value: &[u8]) -> Option<Self> {
        let identity: Self = minicbor::decode(value).ok()?;
        (minicbor::to_vec(&identity).ok()? == value).then_some(identity)
    }
}
