//! The tables of the store, and how a named row is written.
//!
//! Beside the named rows there are the register of certificates (`issued`, with `ending`, `holder` and `revoked` as its indexes),
//! the newest events (`trail`), signed heads (`heads`) and the records of the mesh (`records`). `plain` holds what must be readable before the data key is
//! known.

use redb::TableDefinition;
use zeroize::Zeroizing;

use super::cipher::{Cipher, CipherError};
use super::error::Fault;

/// The format written here. Format 1 had no `records`; see [`super::migration`].
pub(super) const FORMAT: u32 = 2;

/// Row of `plain`: the format, big-endian.
pub(super) const FORMAT_ROW: &str = "format";
/// Row of `plain`: 16 random bytes.
pub(super) const ID_ROW: &str = "id";
/// Row of `plain`: the wrapped data key, after the SHA-256 of it.
pub(super) const KEY_ROW: &str = "key";
/// Row of `plain`: the number of the last transaction, big-endian.
pub(super) const TRANSACTION_ROW: &str = "transaction";

pub(super) type NamedKey = [u8; 17];

pub(super) const PLAIN: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("plain");
/// Table id and hidden name to sealed name and value.
pub(super) const NAMED: TableDefinition<'_, &NamedKey, &[u8]> = TableDefinition::new("named");
/// Serial to certificate.
pub(super) const ISSUED: TableDefinition<'_, &[u8; 16], &[u8]> = TableDefinition::new("issued");
/// End (milliseconds, big-endian) and serial.
pub(super) const ENDING: TableDefinition<'_, &[u8; 24], ()> = TableDefinition::new("ending");
/// Hidden identity and serial.
pub(super) const HOLDER: TableDefinition<'_, &[u8; 32], ()> = TableDefinition::new("holder");
/// Hidden issuer and serial of what is revoked.
pub(super) const REVOKED: TableDefinition<'_, &[u8; 32], &[u8]> = TableDefinition::new("revoked");
/// Event number to sealed line.
pub(super) const TRAIL: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("trail");
/// Event number to sealed signed head.
pub(super) const HEADS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("heads");

/// Number, in the order they came, to sealed record of the mesh.
pub(super) const RECORDS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("records");

/// Rows the store itself needs.
pub(super) const INTERNAL: u8 = 0;
/// Internal row: the key that signs heads, PKCS #8.
pub(super) const AUDIT_KEY: &str = "audit-key";
/// Internal row: [`super::trail::Extent`].
pub(super) const EXTENT: &str = "extent";

/// What the encryption of a row is bound to: its table and its key.
pub(super) fn place<const N: usize, const M: usize>(table: u8, key: &[u8; N]) -> [u8; M] {
    let mut place = [0; M];
    place[0] = table;
    place[1..=N].copy_from_slice(key);
    place
}

/// Where a named row lies.
pub(super) fn named_key(cipher: &Cipher, table: u8, name: &str) -> NamedKey {
    place(table, &cipher.hide(table, name.as_bytes()))
}

/// A named row: key and sealed content. The name lies inside.
pub(super) fn seal_named(cipher: &Cipher, table: u8, name: &str, value: &[u8]) -> Result<(NamedKey, Vec<u8>), CipherError> {
    let key = named_key(cipher, table, name);
    let length = u16::try_from(name.len()).map_err(|_| CipherError)?;
    let mut plain = Zeroizing::new(Vec::with_capacity(2 + name.len() + value.len()));
    plain.extend_from_slice(&length.to_be_bytes());
    plain.extend_from_slice(name.as_bytes());
    plain.extend_from_slice(value);
    let sealed = cipher.seal(&place::<17, 18>(b'n', &key), &plain)?;
    Ok((key, sealed))
}

/// Name and value of a named row.
pub(super) fn open_named(cipher: &Cipher, key: &NamedKey, sealed: &[u8]) -> Result<(String, Zeroizing<Vec<u8>>), CipherError> {
    let mut plain = cipher.open(&place::<17, 18>(b'n', key), sealed)?;
    let length = plain.first_chunk::<2>().map(|length| usize::from(u16::from_be_bytes(*length))).ok_or(CipherError)?;
    let name = plain.get(2..2 + length).and_then(|name| std::str::from_utf8(name).ok()).ok_or(CipherError)?.to_owned();
    let value = Zeroizing::new(plain.split_off(2 + length));
    Ok((name, value))
}

/// The same; what does not decrypt is damage.
pub(super) fn open_row(cipher: &Cipher, key: &NamedKey, sealed: &[u8]) -> Result<(String, Zeroizing<Vec<u8>>), Fault> {
    open_named(cipher, key, sealed).map_err(|CipherError| Fault::Content("a row does not decrypt".into()))
}
