//! What a caller asks to be recorded, and what is queued for the writer.

use reverie_core::audit::{ChainHead, Event};
use reverie_core::ca::Serial;
use reverie_core::moment::Moment;
use zeroize::Zeroizing;

use super::cipher::Cipher;
use super::error::StateError;
use super::issued::{self, IssuedRecord};
use super::{records, schema};

/// Bytes of a key.
pub const MAX_KEY: usize = 1024;
/// Bytes of a value.
pub const MAX_VALUE: usize = 1 << 20;
/// Bytes of a revocation list.
pub const MAX_CRL: usize = 6 << 20;
/// Bytes of mesh records in one change.
pub const MAX_RECORDS: usize = 32 << 20;
/// Writes and events in one change.
pub const MAX_PARTS: usize = 1024;
/// Bytes of one event as JSON.
pub const MAX_EVENT: usize = 64 << 10;

/// A table of named rows. Keys and values are encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Table {
    /// Roots and intermediates with their keys.
    Authority,
    /// The current certificate, key and generation of each identity.
    Identities,
    /// Sealed secrets.
    Secrets,
    /// Revoked capability tokens, and the key that signs tokens.
    Tokens,
    /// What each service was last told of.
    Told,
    /// Anything else the keeper has to remember.
    Meta,
    /// The current revocation list of each root and intermediate, by fingerprint.
    Crls,
    /// Who this host is in the mesh, its keys there, and what else of the mesh is not a record.
    Mesh,
    /// Keys that sign tokens of workloads.
    TokenKeys,
    /// Bundles of other trust domains, by their name.
    Federation,
}

impl Table {
    pub(super) const fn id(self) -> u8 {
        match self {
            Self::Authority => 1,
            Self::Identities => 2,
            Self::Secrets => 3,
            Self::Tokens => 4,
            Self::Meta => 5,
            Self::Told => 6,
            Self::Crls => 7,
            Self::Mesh => 8,
            Self::TokenKeys => 9,
            Self::Federation => 10,
        }
    }

    const fn max_value(self) -> usize {
        match self {
            Self::Crls => MAX_CRL,
            // A document, and when it came.
            Self::Federation => MAX_VALUE + 1024,
            _ => MAX_VALUE,
        }
    }
}

/// What becomes durable together, or not at all.
#[derive(Debug, Default)]
pub struct Change {
    /// Done in this order.
    pub writes: Vec<Write>,
    /// Appended to the audit chain in this order.
    pub events: Vec<Event>,
}

/// One write.
#[derive(Clone)]
pub enum Write {
    /// Sets a value.
    Put {
        /// Where.
        table: Table,
        /// Under which name; at most [`MAX_KEY`] bytes.
        key: String,
        /// At most [`MAX_VALUE`] bytes; in [`Table::Crls`], [`MAX_CRL`]; in [`Table::Federation`], a little more.
        value: Zeroizing<Vec<u8>>,
    },
    /// Removes a value; nothing happens if there is none.
    Delete {
        /// Where.
        table: Table,
        /// Under which name.
        key: String,
    },
    /// Enters a certificate in the register. A serial that is already there is refused.
    Issued(IssuedRecord),
    /// Marks a certificate revoked. One that is revoked already stays so from its first date; an unknown one is refused.
    Revoked {
        /// Which.
        serial: Serial,
        /// Since when.
        at: Moment,
    },
    /// Files and drops records of the mesh, each under a number that its caller keeps.
    Records {
        /// Number and bytes.
        file: Vec<(u64, Vec<u8>)>,
        /// Numbers that need not be there.
        drop: Vec<u64>,
    },
}

impl std::fmt::Debug for Write {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Put { table, key, .. } => write!(f, "Put {table:?} {key:?}"),
            Self::Delete { table, key } => write!(f, "Delete {table:?} {key:?}"),
            Self::Issued(record) => write!(f, "Issued {}", record.serial),
            Self::Revoked { serial, .. } => write!(f, "Revoked {serial}"),
            Self::Records { file, drop } => write!(f, "Records +{} -{}", file.len(), drop.len()),
        }
    }
}

/// A change that is durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Committed {
    /// The audit chain's head with this change's events, and no later ones.
    pub head: ChainHead,
    /// Certificates taken out of the register; only after pruning.
    pub(super) pruned: usize,
}

/// One step of the writer; values are encrypted already.
#[derive(Debug)]
pub(super) enum Step {
    Put {
        key: schema::NamedKey,
        sealed: Vec<u8>,
    },
    Delete {
        key: schema::NamedKey,
    },
    Issue {
        serial: Serial,
        not_after: Moment,
        row: Vec<u8>,
    },
    Revoke {
        serial: Serial,
        at: Moment,
    },
    Records {
        file: Vec<(u64, Vec<u8>)>,
        drop: Vec<u64>,
    },
    /// Takes out certificates that ended before, at most so many.
    Prune {
        before: Moment,
        limit: usize,
    },
    /// Replaces a row of the plain table.
    Plain {
        key: &'static str,
        value: Vec<u8>,
    },
}

/// A change, checked and encrypted by its caller, so that the one writer has little to do.
#[derive(Debug, Default)]
pub(super) struct Prepared {
    pub(super) steps: Vec<Step>,
    pub(super) events: Vec<Event>,
    /// Bytes it holds, roughly.
    pub(super) weight: usize,
}

impl Prepared {
    /// Checks the bounds and encrypts.
    pub(super) fn new(change: Change, cipher: &Cipher) -> Result<Self, StateError> {
        if change.writes.len() + change.events.len() > MAX_PARTS {
            return Err(StateError::TooLarge { what: "a change", limit: MAX_PARTS });
        }
        let steps = change.writes.into_iter().map(|write| prepare(write, cipher)).collect::<Result<Vec<_>, _>>()?;
        let bytes: usize = steps
            .iter()
            .map(|step| match step {
                Step::Put { sealed: bytes, .. } | Step::Issue { row: bytes, .. } => bytes.len(),
                Step::Records { file, drop } => file.iter().map(|(_, sealed)| sealed.len()).sum::<usize>() + 8 * drop.len(),
                _ => 64,
            })
            .sum();
        let events: usize = change.events.iter().map(event_weight).sum();
        Ok(Self { steps, weight: bytes + events, events: change.events })
    }
}

fn prepare(write: Write, cipher: &Cipher) -> Result<Step, StateError> {
    let refused = |_| StateError::Unavailable { why: "the cipher refused".into() };
    match write {
        Write::Put { table, key, value } => {
            check_length("the value", value.len(), table.max_value())?;
            let (key, sealed) = schema::seal_named(cipher, table.id(), checked(&key)?, &value).map_err(refused)?;
            Ok(Step::Put { key, sealed })
        }
        Write::Delete { table, key } => Ok(Step::Delete { key: schema::named_key(cipher, table.id(), checked(&key)?) }),
        Write::Issued(record) => Ok(Step::Issue {
            serial: record.serial,
            not_after: record.not_after,
            row: issued::encode(cipher, &record).map_err(refused)?,
        }),
        Write::Revoked { serial, at } => Ok(Step::Revoke { serial, at }),
        Write::Records { file, drop } => {
            check_length("a page of records", file.iter().map(|(_, record)| record.len()).sum(), MAX_RECORDS)?;
            let sealed =
                |(number, record): (u64, Vec<u8>)| Ok((number, records::seal(cipher, number, &record).map_err(refused)?));
            Ok(Step::Records { file: file.into_iter().map(sealed).collect::<Result<_, StateError>>()?, drop })
        }
    }
}

fn checked(key: &str) -> Result<&str, StateError> {
    check_length("the key", key.len(), MAX_KEY).map(|()| key)
}

fn check_length(what: &'static str, length: usize, limit: usize) -> Result<(), StateError> {
    if length > limit { Err(StateError::TooLarge { what, limit }) } else { Ok(()) }
}

fn event_weight(event: &Event) -> usize {
    512 + event.reason.as_ref().map_or(0, String::len)
}
