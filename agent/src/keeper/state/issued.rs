//! The register of leaf and intermediate certificates.
//!
//! A row is `issuer (16, hidden) | identity (16, hidden) | end (8) | revoked (1) | sealed rest`, bound to its serial.
//! The clear head lets a search pass over rows without decrypting them. Rows are kept in the order of their serials:
//! serials that begin with the time ([`Serial::at`]) are appended side by side, which is what makes 12,000 a second
//! cheap; random ones work too, only slower.

use redb::{ReadableTable, Table};
use reverie_core::ca::Serial;
use reverie_core::id::{IdentityName, SpiffeId};
use reverie_core::moment::Moment;

use super::cipher::{Cipher, CipherError};
use super::error::{Fault, StateError};
use super::schema::place;

const HEAD: usize = 16 + 16 + 8 + 1;
const ISSUER: u8 = 0xf0;
const IDENTITY: u8 = 0xf1;

/// What a certificate on record is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum CertificateKind {
    /// A service's.
    Leaf,
    /// It signs leaves.
    Intermediate,
}

/// One certificate on record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssuedRecord {
    /// Serial.
    pub serial: Serial,
    /// Leaf or intermediate.
    pub kind: CertificateKind,
    /// For which identity.
    pub identity: IdentityName,
    /// Its SPIFFE ID.
    pub spiffe_id: SpiffeId,
    /// SHA-256 of the certificate that signed it, lower-case hex.
    pub issuer: String,
    /// First moment.
    pub not_before: Moment,
    /// Last moment.
    pub not_after: Moment,
    /// Since when it is revoked.
    pub revoked_at: Option<Moment>,
}

/// An entry for a revocation list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RevokedRecord {
    /// Which.
    pub serial: Serial,
    /// Since when.
    pub revoked_at: Moment,
    /// When it would have ended.
    pub not_after: Moment,
}

#[derive(serde::Serialize, serde::Deserialize)]
struct Rest<'a> {
    kind: CertificateKind,
    identity: &'a str,
    spiffe_id: &'a str,
    issuer: &'a str,
    not_before: Moment,
    revoked_at: Option<Moment>,
}

/// The clear head of a row.
pub(super) struct Head<'a> {
    pub(super) identity: &'a [u8; 16],
    pub(super) not_after: Moment,
    pub(super) revoked: bool,
}

pub(super) fn head(row: &[u8]) -> Result<Head<'_>, Fault> {
    let parse = || {
        let (_issuer, rest) = row.split_first_chunk::<16>()?;
        let (identity, rest) = rest.split_first_chunk()?;
        let (end, rest) = rest.split_first_chunk()?;
        let not_after = Moment::from_millis(i64::from_be_bytes(*end));
        Some(Head { identity, not_after, revoked: *rest.first()? != 0 })
    };
    parse().ok_or_else(damaged)
}

pub(super) fn damaged() -> Fault {
    Fault::Content("a row of the certificate register does not decrypt".into())
}

fn bound_place(serial: &Serial, head: &[u8]) -> Vec<u8> {
    let mut bound = Vec::with_capacity(17 + HEAD);
    bound.extend_from_slice(&place::<16, 17>(b'i', serial.as_bytes()));
    bound.extend_from_slice(head);
    bound
}

/// A row.
pub(super) fn encode(cipher: &Cipher, record: &IssuedRecord) -> Result<Vec<u8>, CipherError> {
    let rest = Rest {
        kind: record.kind,
        identity: record.identity.as_str(),
        spiffe_id: record.spiffe_id.as_str(),
        issuer: &record.issuer,
        not_before: record.not_before,
        revoked_at: record.revoked_at,
    };
    let plain = postcard::to_stdvec(&rest).map_err(|_| CipherError)?;
    let mut row = Vec::with_capacity(HEAD + plain.len() + 40);
    row.extend_from_slice(&hide_issuer(cipher, &record.issuer));
    row.extend_from_slice(&hide_identity(cipher, &record.identity));
    row.extend_from_slice(&record.not_after.as_millis().to_be_bytes());
    row.push(u8::from(record.revoked_at.is_some()));
    let sealed = cipher.seal(&bound_place(&record.serial, &row), &plain)?;
    row.extend_from_slice(&sealed);
    Ok(row)
}

pub(super) fn decode(cipher: &Cipher, serial: Serial, row: &[u8]) -> Result<IssuedRecord, Fault> {
    let (clear, sealed) = row.split_at_checked(HEAD).ok_or_else(damaged)?;
    let plain = cipher.open(&bound_place(&serial, clear), sealed).map_err(|_| damaged())?;
    let rest: Rest<'_> = postcard::from_bytes(&plain).map_err(|_| damaged())?;
    Ok(IssuedRecord {
        serial,
        kind: rest.kind,
        identity: rest.identity.parse().map_err(|_| damaged())?,
        spiffe_id: rest.spiffe_id.parse().map_err(|_| damaged())?,
        issuer: rest.issuer.to_owned(),
        not_before: rest.not_before,
        not_after: head(row)?.not_after,
        revoked_at: rest.revoked_at,
    })
}

pub(super) fn hide_issuer(cipher: &Cipher, issuer: &str) -> [u8; 16] {
    cipher.hide(ISSUER, issuer.as_bytes())
}

pub(super) fn hide_identity(cipher: &Cipher, identity: &IdentityName) -> [u8; 16] {
    cipher.hide(IDENTITY, identity.as_str().as_bytes())
}

pub(super) fn ending_key(not_after: Moment, serial: &Serial) -> [u8; 24] {
    let mut key = [0; 24];
    // Times before 1970 sort first.
    key[..8].copy_from_slice(&(not_after.as_millis().cast_unsigned() ^ (1 << 63)).to_be_bytes());
    key[8..].copy_from_slice(serial.as_bytes());
    key
}

/// A serial below whom it belongs to: its issuer in `revoked`, its identity in `holder`.
fn owned_key(owner: &[u8; 16], serial: &Serial) -> [u8; 32] {
    let mut key = [0; 32];
    key[..16].copy_from_slice(owner);
    key[16..].copy_from_slice(serial.as_bytes());
    key
}

type Rows<'t> = Table<'t, &'static [u8; 16], &'static [u8]>;

/// The register's tables within a write transaction.
pub(super) struct Register<'t> {
    pub(super) issued: Rows<'t>,
    pub(super) ending: Table<'t, &'static [u8; 24], ()>,
    pub(super) holder: Table<'t, &'static [u8; 32], ()>,
    pub(super) revoked: Table<'t, &'static [u8; 32], &'static [u8]>,
}

impl Register<'_> {
    pub(super) fn contains(&self, serial: &Serial) -> Result<bool, Fault> {
        Ok(self.issued.get(serial.as_bytes())?.is_some())
    }

    pub(super) fn insert(&mut self, serial: &Serial, not_after: Moment, row: &[u8]) -> Result<(), Fault> {
        self.holder.insert(&owned_key(head(row)?.identity, serial), ())?;
        self.issued.insert(serial.as_bytes(), row)?;
        self.ending.insert(&ending_key(not_after, serial), ())?;
        Ok(())
    }

    /// The first date stays.
    pub(super) fn revoke(&mut self, cipher: &Cipher, serial: Serial, at: Moment) -> Result<(), Fault> {
        let Some(mut record) = self.issued.get(serial.as_bytes())?.map(|row| decode(cipher, serial, row.value())).transpose()?
        else {
            return Err(Fault::Refused(StateError::UnknownSerial(serial)));
        };
        if record.revoked_at.is_some() {
            return Ok(());
        }
        record.revoked_at = Some(at);
        let refused = |_| Fault::Content("the cipher refused".into());
        self.issued.insert(serial.as_bytes(), &*encode(cipher, &record).map_err(refused)?)?;
        let key = owned_key(&hide_issuer(cipher, &record.issuer), &serial);
        let mut plain = at.as_millis().to_be_bytes().to_vec();
        plain.extend_from_slice(&record.not_after.as_millis().to_be_bytes());
        let sealed = cipher.seal(&place::<32, 33>(b'r', &key), &plain).map_err(refused)?;
        self.revoked.insert(&key, &*sealed)?;
        Ok(())
    }

    /// Takes out certificates that ended before `before`, at most `limit`; says how many.
    pub(super) fn prune(&mut self, before: Moment, limit: usize) -> Result<usize, Fault> {
        let ended: Vec<[u8; 24]> = {
            let bound = ending_key(before, &Serial::from_random([0; 16]));
            let rows = self.ending.range::<&[u8; 24]>(..&bound)?;
            rows.take(limit).map(|row| row.map(|(key, _)| *key.value())).collect::<Result<_, _>>()?
        };
        for key in &ended {
            self.ending.remove(key)?;
            let serial = serial_of(&key[8..])?;
            let Some(row) = self.issued.remove(serial.as_bytes())? else { continue };
            self.holder.remove(&owned_key(head(row.value())?.identity, &serial))?;
            // Its entry in `revoked` stays: should it turn out that the clock ran ahead, it is still in the lists.
        }
        Ok(ended.len())
    }
}

pub(super) fn serial_of(bytes: &[u8]) -> Result<Serial, Fault> {
    // The two top bits of a serial are fixed, so this gives back what was stored.
    bytes.try_into().map(Serial::from_random).map_err(|_| damaged())
}
