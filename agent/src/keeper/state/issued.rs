//! The register of leaf certificates.
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

/// One certificate on record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssuedRecord {
    /// Serial.
    pub serial: Serial,
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
    identity: &'a str,
    spiffe_id: &'a str,
    issuer: &'a str,
    not_before: Moment,
    revoked_at: Option<Moment>,
}

/// The clear head of a row.
struct Head<'a> {
    issuer: &'a [u8; 16],
    identity: &'a [u8; 16],
    not_after: Moment,
    revoked: bool,
}

fn head(row: &[u8]) -> Result<Head<'_>, Fault> {
    let parse = || {
        let (issuer, rest) = row.split_first_chunk()?;
        let (identity, rest) = rest.split_first_chunk()?;
        let (end, rest) = rest.split_first_chunk()?;
        let not_after = Moment::from_millis(i64::from_be_bytes(*end));
        Some(Head { issuer, identity, not_after, revoked: *rest.first()? != 0 })
    };
    parse().ok_or_else(damaged)
}

fn damaged() -> Fault {
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

fn decode(cipher: &Cipher, serial: Serial, row: &[u8]) -> Result<IssuedRecord, Fault> {
    let (clear, sealed) = row.split_at_checked(HEAD).ok_or_else(damaged)?;
    let plain = cipher.open(&bound_place(&serial, clear), sealed).map_err(|_| damaged())?;
    let rest: Rest<'_> = postcard::from_bytes(&plain).map_err(|_| damaged())?;
    Ok(IssuedRecord {
        serial,
        identity: rest.identity.parse().map_err(|_| damaged())?,
        spiffe_id: rest.spiffe_id.parse().map_err(|_| damaged())?,
        issuer: rest.issuer.to_owned(),
        not_before: rest.not_before,
        not_after: head(row)?.not_after,
        revoked_at: rest.revoked_at,
    })
}

fn hide_issuer(cipher: &Cipher, issuer: &str) -> [u8; 16] {
    cipher.hide(ISSUER, issuer.as_bytes())
}

fn hide_identity(cipher: &Cipher, identity: &IdentityName) -> [u8; 16] {
    cipher.hide(IDENTITY, identity.as_str().as_bytes())
}

fn ending_key(not_after: Moment, serial: &Serial) -> [u8; 24] {
    let mut key = [0; 24];
    // Times before 1970 sort first.
    key[..8].copy_from_slice(&(not_after.as_millis().cast_unsigned() ^ (1 << 63)).to_be_bytes());
    key[8..].copy_from_slice(serial.as_bytes());
    key
}

fn revoked_key(issuer: &[u8; 16], serial: &Serial) -> [u8; 32] {
    let mut key = [0; 32];
    key[..16].copy_from_slice(issuer);
    key[16..].copy_from_slice(serial.as_bytes());
    key
}

type Rows<'t> = Table<'t, &'static [u8; 16], &'static [u8]>;

/// The register's tables within a write transaction.
pub(super) struct Register<'t> {
    pub(super) issued: Rows<'t>,
    pub(super) ending: Table<'t, &'static [u8; 24], ()>,
    pub(super) revoked: Table<'t, &'static [u8; 32], &'static [u8]>,
}

impl Register<'_> {
    pub(super) fn contains(&self, serial: &Serial) -> Result<bool, Fault> {
        Ok(self.issued.get(serial.as_bytes())?.is_some())
    }

    pub(super) fn insert(&mut self, serial: &Serial, not_after: Moment, row: &[u8]) -> Result<(), Fault> {
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
        let key = revoked_key(&hide_issuer(cipher, &record.issuer), &serial);
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
            let head = head(row.value())?;
            if head.revoked {
                self.revoked.remove(&revoked_key(head.issuer, &serial))?;
            }
        }
        Ok(ended.len())
    }
}

fn serial_of(bytes: &[u8]) -> Result<Serial, Fault> {
    // The two top bits of a serial are fixed, so this gives back what was stored.
    bytes.try_into().map(Serial::from_random).map_err(|_| damaged())
}

/// Which certificates a search wants.
pub(super) enum Wanted<'a> {
    /// Newest first.
    Newest,
    /// Those of one identity, newest first.
    Of(&'a IdentityName),
}

/// Certificates that have not ended at `now`; `true` if there are more than `limit`.
pub(super) fn search(
    rows: &impl ReadableTable<&'static [u8; 16], &'static [u8]>,
    cipher: &Cipher,
    wanted: &Wanted<'_>,
    now: Moment,
    limit: usize,
) -> Result<(Vec<IssuedRecord>, bool), Fault> {
    let identity = match wanted {
        Wanted::Newest => None,
        Wanted::Of(identity) => Some(hide_identity(cipher, identity)),
    };
    let mut found = vec![];
    for row in rows.iter()?.rev() {
        let (key, row) = row?;
        let clear = head(row.value())?;
        if clear.not_after <= now || identity.is_some_and(|identity| identity != *clear.identity) {
            continue;
        }
        if found.len() == limit {
            return Ok((found, true));
        }
        found.push(decode(cipher, serial_of(key.value())?, row.value())?);
    }
    Ok((found, false))
}

/// One certificate.
pub(super) fn find(
    rows: &impl ReadableTable<&'static [u8; 16], &'static [u8]>,
    cipher: &Cipher,
    serial: Serial,
) -> Result<Option<IssuedRecord>, Fault> {
    rows.get(serial.as_bytes())?.map(|row| decode(cipher, serial, row.value())).transpose()
}

/// What belongs into the revocation list of an issuer at `now`, by serial.
pub(super) fn list_revoked(
    rows: &impl ReadableTable<&'static [u8; 32], &'static [u8]>,
    cipher: &Cipher,
    issuer: &str,
    now: Moment,
) -> Result<Vec<RevokedRecord>, Fault> {
    let (mut first, mut last) = ([0; 32], [0xff; 32]);
    let hidden = hide_issuer(cipher, issuer);
    first[..16].copy_from_slice(&hidden);
    last[..16].copy_from_slice(&hidden);
    let mut found = vec![];
    for row in rows.range::<&[u8; 32]>(&first..=&last)? {
        let (key, sealed) = row?;
        let plain = cipher.open(&place::<32, 33>(b'r', key.value()), sealed.value()).map_err(|_| damaged())?;
        let (at, end) = plain.split_first_chunk::<8>().ok_or_else(damaged)?;
        let end = end.try_into().map_err(|_| damaged())?;
        let record = RevokedRecord {
            serial: serial_of(&key.value()[16..])?,
            revoked_at: Moment::from_millis(i64::from_be_bytes(*at)),
            not_after: Moment::from_millis(i64::from_be_bytes(end)),
        };
        if record.not_after > now {
            found.push(record);
        }
    }
    Ok(found)
}
