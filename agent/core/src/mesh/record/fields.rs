//! The bytes of a record: one deterministic form, read without copying.

use sha2::{Digest, Sha256};

use super::{Hash, MAX_KEY, MAX_RECORD, MAX_VALUE, Malformed, Stamp, Statement};
use crate::mesh::collection::{Collection, Floor};
use crate::mesh::crypto::Kid;
use crate::mesh::vector::{MAX_EPOCH, MAX_SEQ, Position};

/// A record's fields, borrowed from its bytes.
#[derive(Debug, Clone, Copy)]
pub struct Fields<'a> {
    /// What is hashed and signed.
    pub statement: &'a [u8],
    /// Kind.
    pub collection: Collection,
    /// Which one of the kind.
    pub key: &'a str,
    /// Who says so; a node id, which [`Fields::read`] does not check.
    pub author: &'a str,
    /// By which of its keys.
    pub kid: Kid,
    /// Where in the author's history.
    pub position: Position,
    /// Hash of the author's statement before.
    pub prev: &'a Hash,
    /// The last position of the author's earlier epochs that it knew of.
    pub before: Position,
    /// When.
    pub stamp: Stamp,
    /// The value; `None` is a tombstone.
    pub value: Option<&'a [u8]>,
    /// r ‖ s.
    pub signature: &'a [u8; 64],
}

impl<'a> Fields<'a> {
    /// Reads a record in its one form: shortest heads, definite lengths, nothing before, between or after.
    pub fn read(bytes: &'a [u8]) -> Result<Self, Malformed> {
        if bytes.len() > MAX_RECORD {
            return Err(Malformed::TooLong);
        }
        let mut rest = Reader(bytes);
        rest.exactly(ARRAY, 2)?;
        let begun = rest.0;
        let members = rest.head(ARRAY)?;
        let number = rest.head(UNSIGNED)?;
        let collection = Collection::from_number(number).ok_or(Malformed::UnknownCollection)?;
        let key = rest.text(MAX_KEY)?;
        let author = rest.text(253)?;
        let kid = Kid(*rest.fixed::<20>()?);
        rest.exactly(ARRAY, 2)?;
        let position = Position { epoch: rest.head(UNSIGNED)?, seq: rest.head(UNSIGNED)? };
        let prev = rest.fixed::<32>()?;
        rest.exactly(ARRAY, 2)?;
        let before = Position { epoch: rest.head(UNSIGNED)?, seq: rest.head(UNSIGNED)? };
        rest.exactly(ARRAY, 2)?;
        let wall = rest.head(UNSIGNED)?;
        let counter = u32::try_from(rest.head(UNSIGNED)?).map_err(|_| Malformed::NotDeterministic)?;
        // A tombstone ends before the value: trailing absences are not written.
        let value = match members {
            8 => None,
            9 => Some(rest.bytes(MAX_VALUE)?),
            _ => return Err(Malformed::NotDeterministic),
        };
        let statement = &begun[..begun.len() - rest.0.len()];
        let signature = rest.fixed::<64>()?;
        if !rest.0.is_empty() {
            return Err(Malformed::NotDeterministic);
        }
        let stamp = Stamp { wall, counter };
        Ok(Self { statement, collection, key, author, kid, position, prev, before, stamp, value, signature })
    }

    /// What was read before it was filed. Reads as the void record if it no longer does, which it always will.
    pub(in crate::mesh) fn read_filed(bytes: &'a [u8]) -> Self {
        Self::read(bytes).unwrap_or(Self {
            statement: &[],
            collection: Collection::Floors,
            key: "",
            author: "",
            kid: Kid([0; 20]),
            position: Position { epoch: 0, seq: 0 },
            prev: &[0; 32],
            before: Position::default(),
            stamp: Stamp { wall: 0, counter: 0 },
            value: None,
            signature: &[0; 64],
        })
    }

    /// Its name.
    pub fn hash(&self) -> Hash {
        Sha256::digest(self.statement).into()
    }

    /// With copies of its own.
    pub fn to_statement(&self) -> Result<Statement, Malformed> {
        Ok(Statement {
            collection: self.collection,
            key: self.key.to_owned(),
            author: self.author.parse().map_err(|_| Malformed::NotDeterministic)?,
            kid: self.kid,
            position: self.position,
            prev: *self.prev,
            before: self.before,
            stamp: self.stamp,
            value: self.value.map(<[u8]>::to_vec),
        })
    }

    /// What no set could ever take, by the bytes alone.
    pub(super) fn check(&self) -> Result<(), Malformed> {
        let is_one = (1..=MAX_EPOCH).contains(&self.position.epoch) && (1..=MAX_SEQ).contains(&self.position.seq);
        if !is_one || self.before.epoch >= self.position.epoch || self.before.seq > MAX_SEQ {
            return Err(Malformed::Position);
        }
        if self.key.is_empty() || !self.collection.fits_key(self.key, self.author) {
            return Err(Malformed::Key);
        }
        let Some(value) = self.value else {
            return if self.collection.is_lasting() { Err(Malformed::Tombstone) } else { Ok(()) };
        };
        if value.len() > self.collection.max_value() {
            return Err(Malformed::Value);
        }
        if self.collection == Collection::Upheld && self.key != data_encoding::HEXLOWER.encode(&Sha256::digest(value)) {
            return Err(Malformed::Key);
        }
        if self.collection == Collection::Floors {
            let floor: Floor = minicbor::decode(value).map_err(|_| Malformed::Floor)?;
            if floor.collected >= self.position {
                return Err(Malformed::Floor);
            }
        }
        Ok(())
    }
}

const UNSIGNED: u8 = 0;
const BYTES: u8 = 2;
const TEXT: u8 = 3;
const ARRAY: u8 = 4;

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(Malformed::NotDeterministic)?;
        self.0 = rest;
        Ok(taken)
    }

    /// RFC 8949 §3: a head in its shortest form.
    fn head(&mut self, major: u8) -> Result<u64, Malformed> {
        let initial = self.take(1)?[0];
        if initial >> 5 != major {
            return Err(Malformed::NotDeterministic);
        }
        let (length, least) = match initial & 0x1f {
            small @ 0..24 => return Ok(u64::from(small)),
            24 => (1, 24),
            25 => (2, 1 << 8),
            26 => (4, 1 << 16),
            27 => (8, 1 << 32),
            _ => return Err(Malformed::NotDeterministic),
        };
        let number = self.take(length)?.iter().fold(0, |number, &byte| number << 8 | u64::from(byte));
        if number < least { Err(Malformed::NotDeterministic) } else { Ok(number) }
    }

    fn exactly(&mut self, major: u8, number: u64) -> Result<(), Malformed> {
        if self.head(major)? == number { Ok(()) } else { Err(Malformed::NotDeterministic) }
    }

    fn sized(&mut self, major: u8, most: usize) -> Result<&'a [u8], Malformed> {
        match usize::try_from(self.head(major)?) {
            Ok(length) if length <= most => self.take(length),
            _ => Err(Malformed::TooLong),
        }
    }

    fn bytes(&mut self, most: usize) -> Result<&'a [u8], Malformed> {
        self.sized(BYTES, most)
    }

    fn text(&mut self, most: usize) -> Result<&'a str, Malformed> {
        std::str::from_utf8(self.sized(TEXT, most)?).map_err(|_| Malformed::NotDeterministic)
    }

    fn fixed<const N: usize>(&mut self) -> Result<&'a [u8; N], Malformed> {
        self.sized(BYTES, N)?.try_into().map_err(|_| Malformed::NotDeterministic)
    }
}

fn write_head(bytes: &mut Vec<u8>, major: u8, number: u64) {
    let big = number.to_be_bytes();
    let (info, length) = match number {
        0..24 => (number as u8, 0),
        24..=0xff => (24, 1),
        0x100..=0xffff => (25, 2),
        0x1_0000..=0xffff_ffff => (26, 4),
        _ => (27, 8),
    };
    bytes.push(major << 5 | info);
    bytes.extend_from_slice(&big[8 - length..]);
}

fn write_sized(bytes: &mut Vec<u8>, major: u8, content: &[u8]) {
    write_head(bytes, major, content.len() as u64);
    bytes.extend_from_slice(content);
}

pub(super) fn write_statement(bytes: &mut Vec<u8>, statement: &Statement) {
    write_head(bytes, ARRAY, 8 + u64::from(statement.value.is_some()));
    write_head(bytes, UNSIGNED, statement.collection.number());
    write_sized(bytes, TEXT, statement.key.as_bytes());
    write_sized(bytes, TEXT, statement.author.as_str().as_bytes());
    write_sized(bytes, BYTES, &statement.kid.0);
    write_head(bytes, ARRAY, 2);
    write_head(bytes, UNSIGNED, statement.position.epoch);
    write_head(bytes, UNSIGNED, statement.position.seq);
    write_sized(bytes, BYTES, &statement.prev);
    write_head(bytes, ARRAY, 2);
    write_head(bytes, UNSIGNED, statement.before.epoch);
    write_head(bytes, UNSIGNED, statement.before.seq);
    write_head(bytes, ARRAY, 2);
    write_head(bytes, UNSIGNED, statement.stamp.wall);
    write_head(bytes, UNSIGNED, u64::from(statement.stamp.counter));
    if let Some(value) = &statement.value {
        write_sized(bytes, BYTES, value);
    }
}
