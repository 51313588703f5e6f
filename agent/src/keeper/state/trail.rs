//! The newest events, kept in the store until the files have them for certain.

use redb::{ReadableTable, Table};
use reverie_core::audit::{ChainHead, Event, Line};

use super::change::MAX_EVENT;
use super::cipher::Cipher;
use super::error::{Fault, StateError};
use super::schema::place;

/// Events that stay in the store even when the files have them.
pub(super) const KEPT: u64 = 10_000;
/// Events are taken out in batches of this size.
pub(super) const PRUNED_AT_ONCE: u64 = 512;

/// How far the log reaches in the store and in the files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub(super) struct Extent {
    /// The head before the first event in the store.
    pub(super) store_start: ChainHead,
    /// The head before the first event that the files must have.
    pub(super) files_start: ChainHead,
    /// The files are known to have all events up to this one on disk.
    pub(super) synced: u64,
}

type Rows<'t> = Table<'t, u64, &'static [u8]>;

/// Appends to the chain; gives the lines to store. Nothing is written yet.
pub(super) fn chain(mut head: ChainHead, events: &[Event]) -> Result<(ChainHead, Vec<(u64, String)>), Fault> {
    let mut lines = Vec::with_capacity(events.len());
    for event in events {
        let refused = |_| Fault::Content("an event cannot be written as JSON".into());
        let (next, line) = head.append(event).map_err(refused)?;
        let text = line.to_text();
        if text.len() > MAX_EVENT {
            return Err(Fault::Refused(StateError::TooLarge { what: "an audit event", limit: MAX_EVENT }));
        }
        lines.push((next.seq, text));
        head = next;
    }
    Ok((head, lines))
}

/// Stores a line.
pub(super) fn insert(rows: &mut Rows<'_>, cipher: &Cipher, seq: u64, line: &str) -> Result<(), Fault> {
    let sealed = cipher.seal(&place::<8, 9>(b'a', &seq.to_be_bytes()), line.as_bytes());
    rows.insert(seq, &*sealed.map_err(|_| damaged(seq))?)?;
    Ok(())
}

/// Lines after `after`, oldest first, at most `limit` and about `bytes`.
pub(super) fn read(
    rows: &impl ReadableTable<u64, &'static [u8]>,
    cipher: &Cipher,
    after: u64,
    limit: usize,
    bytes: usize,
) -> Result<Vec<(u64, String)>, Fault> {
    let (mut lines, mut total) = (vec![], 0);
    for row in rows.range(after.saturating_add(1)..)?.take(limit) {
        let (seq, sealed) = row?;
        let line = open(cipher, seq.value(), sealed.value())?;
        total += line.len();
        lines.push((seq.value(), line));
        if total >= bytes {
            break;
        }
    }
    Ok(lines)
}

/// The chain's head at one event; `None` if the store does not have it.
pub(super) fn head_at(
    rows: &impl ReadableTable<u64, &'static [u8]>,
    cipher: &Cipher,
    extent: &Extent,
    seq: u64,
) -> Result<Option<ChainHead>, Fault> {
    if seq == extent.store_start.seq {
        return Ok(Some(extent.store_start));
    }
    let Some(row) = rows.get(seq)? else { return Ok(None) };
    let line = open(cipher, seq, row.value())?;
    let hash = Line::parse(&line).map_err(|_| damaged(seq))?.hash;
    Ok(Some(ChainHead { seq, hash }))
}

/// True if that is the very line of the event. Of the last one that the store no longer has, only the hash is compared.
pub(super) fn is_line(
    rows: &impl ReadableTable<u64, &'static [u8]>,
    cipher: &Cipher,
    extent: &Extent,
    seq: u64,
    line: &Line,
) -> Result<bool, Fault> {
    if seq == extent.store_start.seq {
        return Ok(line.hash == extent.store_start.hash);
    }
    let Some(row) = rows.get(seq)? else { return Ok(false) };
    Ok(open(cipher, seq, row.value())? == line.to_text())
}

/// The chain's head, checked to be whole: the store has every event from its start to its end.
pub(super) fn head(rows: &impl ReadableTable<u64, &'static [u8]>, cipher: &Cipher, extent: &Extent) -> Result<ChainHead, Fault> {
    let last = rows.last()?.map_or(extent.store_start.seq, |(seq, _)| seq.value());
    let first = rows.first()?.map_or(last + 1, |(seq, _)| seq.value());
    if first != extent.store_start.seq + 1 || rows.len()? != last - extent.store_start.seq {
        return Err(Fault::Content(format!("events are missing between {} and {last}", extent.store_start.seq)));
    }
    head_at(rows, cipher, extent, last)?.ok_or_else(|| damaged(last))
}

/// Takes out events up to `end`; the extent says where the rest begins.
pub(super) fn prune(rows: &mut Rows<'_>, cipher: &Cipher, extent: &mut Extent, end: u64) -> Result<(), Fault> {
    let Some(start) = head_at(rows, cipher, extent, end)? else { return Ok(()) };
    rows.retain_in(..=end, |_, _| false)?;
    extent.store_start = start;
    Ok(())
}

fn open(cipher: &Cipher, seq: u64, sealed: &[u8]) -> Result<String, Fault> {
    let plain = cipher.open(&place::<8, 9>(b'a', &seq.to_be_bytes()), sealed).map_err(|_| damaged(seq))?;
    std::str::from_utf8(&plain).map(str::to_owned).map_err(|_| damaged(seq))
}

fn damaged(seq: u64) -> Fault {
    Fault::Content(format!("event {seq} does not decrypt"))
}
