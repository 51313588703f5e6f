//! Searches in the register of certificates, through the index that fits: none passes over all of it.

use std::collections::BTreeSet;

use redb::ReadableTable;
use reverie_core::ca::Serial;
use reverie_core::id::IdentityName;
use reverie_core::moment::Moment;

use super::cipher::Cipher;
use super::error::Fault;
use super::issued::{
    CertificateKind, IssuedRecord, RevokedRecord, damaged, decode, ending_key, head, hide_identity, hide_issuer, serial_of,
};
use super::schema::place;

/// Rows passed over in search of new certificates that have not ended, before the index of ends is asked.
const PASSED_OVER: usize = 4096;

/// The newest certificates that have not ended at `now`; `true` if there are more than `limit`.
pub(super) fn newest(
    rows: &impl ReadableTable<&'static [u8; 16], &'static [u8]>,
    ending: &impl ReadableTable<&'static [u8; 24], ()>,
    cipher: &Cipher,
    now: Moment,
    limit: usize,
) -> Result<(Vec<IssuedRecord>, bool), Fault> {
    let mut found = vec![];
    for (passed, row) in rows.iter()?.rev().enumerate() {
        let (key, row) = row?;
        if passed >= limit.saturating_add(PASSED_OVER) {
            // Much that is new has ended already; of what has not, there is little.
            return newest_by_end(rows, ending, cipher, now, limit);
        }
        if head(row.value())?.not_after <= now {
            continue;
        }
        if found.len() == limit {
            return Ok((found, true));
        }
        found.push(decode(cipher, serial_of(key.value())?, row.value())?);
    }
    Ok((found, false))
}

/// The same, passing over what has not ended instead of over what has.
fn newest_by_end(
    rows: &impl ReadableTable<&'static [u8; 16], &'static [u8]>,
    ending: &impl ReadableTable<&'static [u8; 24], ()>,
    cipher: &Cipher,
    now: Moment,
    limit: usize,
) -> Result<(Vec<IssuedRecord>, bool), Fault> {
    let (mut newest, mut more) = (BTreeSet::new(), false);
    let from = ending_key(Moment::from_millis(now.as_millis().saturating_add(1)), &Serial::from_random([0; 16]));
    for row in ending.range::<&[u8; 24]>(&from..)? {
        newest.insert(serial_of(&row?.0.value()[8..])?);
        if newest.len() > limit {
            newest.pop_first();
            more = true;
        }
    }
    let mut found = Vec::with_capacity(newest.len());
    for serial in newest.into_iter().rev() {
        found.push(find(rows, cipher, serial)?.ok_or_else(damaged)?);
    }
    Ok((found, more))
}

/// The leaves of an identity that are neither ended at `now` nor revoked, newest first; `true` if there are more than
/// `limit`.
pub(super) fn in_force(
    rows: &impl ReadableTable<&'static [u8; 16], &'static [u8]>,
    holder: &impl ReadableTable<&'static [u8; 32], ()>,
    cipher: &Cipher,
    identity: &IdentityName,
    now: Moment,
    limit: usize,
) -> Result<(Vec<IssuedRecord>, bool), Fault> {
    let (first, last) = owned_by(&hide_identity(cipher, identity));
    let mut found = vec![];
    for entry in holder.range::<&[u8; 32]>(&first..=&last)?.rev() {
        let serial = serial_of(&entry?.0.value()[16..])?;
        let row = rows.get(serial.as_bytes())?.ok_or_else(damaged)?;
        let clear = head(row.value())?;
        if clear.not_after <= now || clear.revoked {
            continue;
        }
        let record = decode(cipher, serial, row.value())?;
        if record.kind != CertificateKind::Leaf {
            continue;
        }
        if found.len() == limit {
            return Ok((found, true));
        }
        found.push(record);
    }
    Ok((found, false))
}

/// The first and the last key that an owner can have.
fn owned_by(owner: &[u8; 16]) -> ([u8; 32], [u8; 32]) {
    let (mut first, mut last) = ([0; 32], [0xff; 32]);
    first[..16].copy_from_slice(owner);
    last[..16].copy_from_slice(owner);
    (first, last)
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
    let (first, last) = owned_by(&hide_issuer(cipher, issuer));
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
