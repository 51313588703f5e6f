//! Records of the mesh, as rows.

use redb::ReadableTable;

use super::cipher::{Cipher, CipherError};
use super::error::Fault;
use super::schema::place;

fn spot(number: u64) -> [u8; 9] {
    place::<8, 9>(b'm', &number.to_be_bytes())
}

/// The row of a record.
pub(super) fn seal(cipher: &Cipher, number: u64, record: &[u8]) -> Result<Vec<u8>, CipherError> {
    cipher.seal(&spot(number), record)
}

/// Records from that number on: at most about `bytes`, at least one if there is one.
pub(super) fn read(
    rows: &impl ReadableTable<u64, &'static [u8]>,
    cipher: &Cipher,
    from: u64,
    bytes: usize,
) -> Result<Vec<(u64, Vec<u8>)>, Fault> {
    let (mut found, mut size) = (vec![], 0);
    for row in rows.range(from..)? {
        let (number, sealed) = row?;
        let number = number.value();
        let record = cipher.open(&spot(number), sealed.value());
        let mut record = record.map_err(|CipherError| Fault::Content(format!("record {number} of the mesh does not decrypt")))?;
        size += record.len();
        // Nothing of it is secret: no need to wipe it.
        found.push((number, std::mem::take(&mut *record)));
        if size >= bytes {
            break;
        }
    }
    Ok(found)
}
