//! One signed statement of one author.

mod fields;

use minicbor::{Decode, Encode};
use sha2::{Digest, Sha256};

pub use fields::Fields;

use super::collection::{Collection, HostKey};
use super::crypto::{BadSignature, CryptoFailure, Kid, PublicOperations, Signer, SigningPublicKey};
use super::vector::Position;
use crate::id::NodeId;

/// What signatures are made over begins with this.
pub const CONTEXT: &[u8] = b"reverie-record-v1";
/// What the proof of a host's next key is made over begins with this.
pub const HOST_KEY_CONTEXT: &[u8] = b"reverie-host-key-v1";
/// Bytes of a key.
pub const MAX_KEY: usize = 512;
/// Bytes of a value.
pub const MAX_VALUE: usize = 640 << 10;
/// Bytes of a record: a key and a value of the largest size, and all else.
pub const MAX_RECORD: usize = MAX_VALUE + MAX_KEY + 512;

/// SHA-256 of a statement. It names the record: a signature can be made anew by anyone who has one, a statement cannot.
pub type Hash = [u8; 32];

/// A hybrid logical clock's reading: later statements of anyone who heard an earlier one are greater.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(array)]
pub struct Stamp {
    /// Wall clock, milliseconds since the Unix epoch.
    #[n(0)]
    pub wall: u64,
    /// Tells apart what happened within one millisecond.
    #[n(1)]
    pub counter: u32,
}

/// What a record says, without the signature.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct Statement {
    /// Kind.
    #[n(0)]
    pub collection: Collection,
    /// Which one of the kind; at most [`MAX_KEY`] bytes.
    #[n(1)]
    pub key: String,
    /// Who says so.
    #[n(2)]
    pub author: NodeId,
    /// By which of its keys.
    #[n(3)]
    pub kid: Kid,
    /// Where in the author's history.
    #[n(4)]
    pub position: Position,
    /// Hash of the author's statement before; zeros for its first.
    #[n(5)]
    #[cbor(with = "minicbor::bytes")]
    pub prev: Hash,
    /// The last position of the author's earlier epochs that it knew of when this one began; zeros if there was none. One
    /// beyond it, in an earlier epoch, was written by another copy of the author, or by itself before it was restored.
    #[n(6)]
    pub before: Position,
    /// When, by a hybrid logical clock.
    #[n(7)]
    pub stamp: Stamp,
    /// The value, CBOR as [`super::collection`] says, at most [`MAX_VALUE`] bytes; `None` is a tombstone.
    #[n(8)]
    #[cbor(with = "minicbor::bytes")]
    pub value: Option<Vec<u8>>,
}

/// A statement with its author's signature.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct Record {
    /// What it says.
    #[n(0)]
    pub statement: Statement,
    /// ECDSA P-256/SHA-256, r ‖ s, over [`CONTEXT`] and the statement.
    #[n(1)]
    #[cbor(with = "minicbor::bytes")]
    pub signature: [u8; 64],
}

/// Why bytes are no record that could ever be taken. It depends on nothing but the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Longer than [`MAX_RECORD`].
    #[error("the record is too long")]
    TooLong,
    /// Not the CBOR that a record is, or not in its one deterministic form (RFC 8949 §4.2).
    #[error("the record is not written in the deterministic form")]
    NotDeterministic,
    /// A collection this version does not know.
    #[error("the record is of a kind that this version does not know")]
    UnknownCollection,
    /// A key that is empty, too long, or not of the form its collection wants.
    #[error("the record's key is not one of its collection")]
    Key,
    /// A value larger than its collection allows.
    #[error("the record's value is larger than its collection allows")]
    Value,
    /// A tombstone where nothing is ever withdrawn.
    #[error("records of this collection are never withdrawn")]
    Tombstone,
    /// Epochs and sequence numbers begin at 1 and have an end; what was before lies in an earlier epoch.
    #[error("the record's position is not one")]
    Position,
    /// A floor at or above its own position.
    #[error("the floor does not lie below its own record")]
    Floor,
}

impl Statement {
    /// Deterministic CBOR; what is hashed.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(256);
        fields::write_statement(&mut bytes, self);
        bytes
    }

    /// Its name.
    pub fn hash(&self) -> Hash {
        Sha256::digest(self.to_bytes()).into()
    }

    /// Signs it; `signer` must hold the key that `kid` names.
    pub fn sign(self, signer: &dyn Signer) -> Result<Record, CryptoFailure> {
        if signer.public_key().kid() != self.kid {
            return Err(CryptoFailure);
        }
        let signature = signer.sign(&signed_bytes(&self.to_bytes()))?;
        Ok(Record { statement: self, signature })
    }
}

impl Record {
    /// As it travels and is stored.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(384);
        bytes.push(0x82);
        fields::write_statement(&mut bytes, &self.statement);
        bytes.extend_from_slice(&[0x58, 64]);
        bytes.extend_from_slice(&self.signature);
        bytes
    }

    /// Strictly: whatever [`Fields::read`] refuses is refused.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Malformed> {
        let fields = Fields::read(bytes)?;
        Ok(Self { statement: fields.to_statement()?, signature: *fields.signature })
    }
}

fn signed_bytes(statement: &[u8]) -> Vec<u8> {
    [CONTEXT, statement].concat()
}

/// What the proof in a [`HostKey`] is made over.
pub fn host_key_bytes(node: &NodeId, key: &HostKey) -> Vec<u8> {
    [HOST_KEY_CONTEXT, node.as_str().as_bytes(), &key.previous.0, &key.signing_key.0, &key.kem_key.0[..]].concat()
}

/// A record that was parsed, and not verified: the bytes, with what is needed to file them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parsed {
    pub(super) raw: Box<[u8]>,
    pub(super) author: NodeId,
    pub(super) kid: Kid,
    pub(super) position: Position,
    pub(super) hash: Hash,
}

impl Parsed {
    /// Reads a record strictly, and refuses what could never be taken whatever the set.
    pub fn new(bytes: &[u8]) -> Result<Self, Malformed> {
        let fields = Fields::read(bytes)?;
        fields.check()?;
        Ok(Self {
            author: fields.author.parse().map_err(|_| Malformed::NotDeterministic)?,
            kid: fields.kid,
            position: fields.position,
            hash: fields.hash(),
            raw: bytes.into(),
        })
    }

    /// Its bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.raw
    }

    /// Who says so.
    pub fn author(&self) -> &NodeId {
        &self.author
    }

    /// By which key.
    pub fn kid(&self) -> Kid {
        self.kid
    }

    /// Where in the author's history.
    pub fn position(&self) -> Position {
        self.position
    }

    /// Its name.
    pub fn hash(&self) -> Hash {
        self.hash
    }

    /// What it says. Cheap: nothing is copied.
    pub fn fields(&self) -> Result<Fields<'_>, Malformed> {
        Fields::read(&self.raw)
    }

    /// Verifies the signature, and for a host's next key the proof. `key` is the one that [`Self::kid`] names.
    pub fn verify(self, key: &SigningPublicKey, operations: &dyn PublicOperations) -> Result<Verified, BadSignature> {
        let fields = self.fields().map_err(|_| BadSignature)?;
        if key.kid() != self.kid {
            return Err(BadSignature);
        }
        operations.verify(key, &signed_bytes(fields.statement), fields.signature)?;
        if let (Collection::HostKeys, Some(value)) = (fields.collection, fields.value) {
            let next: HostKey = minicbor::decode(value).map_err(|_| BadSignature)?;
            operations.verify(&next.signing_key, &host_key_bytes(&self.author, &next), &next.proof)?;
        }
        Ok(Verified(self))
    }

    /// For records that this host verified before it wrote them to its own store, and for those it has just signed.
    pub fn trusted(self) -> Verified {
        Verified(self)
    }
}

/// A record whose signature holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified(pub(super) Parsed);

impl Verified {
    /// The record.
    pub fn parsed(&self) -> &Parsed {
        &self.0
    }
}
