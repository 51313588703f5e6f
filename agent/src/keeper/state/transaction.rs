//! What is done within one write transaction.

use redb::{ReadableTable, Table, WriteTransaction};
use reverie_core::audit::ChainHead;

use super::change::{Committed, Prepared, Step};
use super::cipher::{Cipher, CipherError};
use super::error::{Fault, StateError};
use super::founding::{encode_extent, structural};
use super::heads;
use super::issued::Register;
use super::progress::Stand;
use super::schema::{ENDING, HEADS, HOLDER, ISSUED, NAMED, NamedKey, PLAIN, RECORDS, REVOKED, TRAIL};
use super::trail::{self, Extent, KEPT, PRUNED_AT_ONCE};

/// The extent is saved when the files are synced so much further.
const SAVED_EVERY: u64 = 1024;

/// The tables of the store, open for writing.
pub(super) struct Tables<'t> {
    transaction: &'t WriteTransaction,
    named: Table<'t, &'static NamedKey, &'static [u8]>,
    register: Register<'t>,
    trail: Table<'t, u64, &'static [u8]>,
}

impl<'t> Tables<'t> {
    pub(super) fn open(transaction: &'t WriteTransaction) -> Result<Self, Fault> {
        let register = Register {
            issued: transaction.open_table(ISSUED).map_err(structural)?,
            ending: transaction.open_table(ENDING).map_err(structural)?,
            holder: transaction.open_table(HOLDER).map_err(structural)?,
            revoked: transaction.open_table(REVOKED).map_err(structural)?,
        };
        let named = transaction.open_table(NAMED).map_err(structural)?;
        Ok(Self { transaction, named, register, trail: transaction.open_table(TRAIL).map_err(structural)? })
    }

    /// Makes one change, or refuses it and leaves no trace of it: everything that can refuse is asked first.
    pub(super) fn apply(&mut self, cipher: &Cipher, head: ChainHead, change: &Prepared) -> Result<Committed, Fault> {
        let (head, lines) = trail::chain(head, &change.events)?;
        for (at, step) in change.steps.iter().enumerate() {
            match step {
                Step::Issue { serial, .. } => {
                    let earlier = &change.steps[..at];
                    let twice = earlier.iter().any(|step| matches!(step, Step::Issue { serial: other, .. } if other == serial));
                    if twice || self.register.contains(serial)? {
                        return Err(Fault::Refused(StateError::DuplicateSerial(*serial)));
                    }
                }
                Step::Revoke { serial, .. } if !self.register.contains(serial)? => {
                    return Err(Fault::Refused(StateError::UnknownSerial(*serial)));
                }
                _ => {}
            }
        }
        let mut pruned = 0;
        for step in &change.steps {
            match step {
                Step::Put { key, sealed } => drop(self.named.insert(key, &**sealed)?),
                Step::Delete { key } => drop(self.named.remove(key)?),
                Step::Issue { serial, not_after, row } => self.register.insert(serial, *not_after, row)?,
                Step::Revoke { serial, at } => self.register.revoke(cipher, *serial, *at)?,
                Step::Prune { before, limit } => pruned += self.register.prune(*before, *limit)?,
                Step::Records { file, drop } => {
                    let mut rows = self.transaction.open_table(RECORDS).map_err(structural)?;
                    for number in drop {
                        rows.remove(number)?;
                    }
                    for (number, sealed) in file {
                        rows.insert(number, &**sealed)?;
                    }
                }
                Step::Plain { key, value } => {
                    self.transaction.open_table(PLAIN)?.insert(key, &**value)?;
                }
            }
        }
        for (seq, line) in lines {
            trail::insert(&mut self.trail, cipher, seq, &line)?;
        }
        Ok(Committed { head, pruned })
    }

    /// What the follower has for the store, and what the files have for certain and the store need not keep.
    pub(super) fn keep_house(
        &mut self,
        cipher: &Cipher,
        stand: &Stand,
        extent: &mut Extent,
        head: ChainHead,
    ) -> Result<(), Fault> {
        let before = *extent;
        if !stand.unsaved.is_empty() {
            let mut rows = self.transaction.open_table(HEADS).map_err(structural)?;
            stand.unsaved.iter().try_for_each(|signed| heads::insert(&mut rows, cipher, signed))?;
        }
        extent.files_start = stand.files_start;
        if !stand.unsaved.is_empty() || stand.synced >= extent.synced + SAVED_EVERY {
            extent.synced = extent.synced.max(stand.synced);
        }
        let end = stand.synced.min(head.seq.saturating_sub(KEPT)).min(extent.store_start.seq + 2 * PRUNED_AT_ONCE);
        if end >= extent.store_start.seq + PRUNED_AT_ONCE {
            extent.synced = extent.synced.max(stand.synced);
            trail::prune(&mut self.trail, cipher, extent, end)?;
        }
        if *extent != before {
            let (key, sealed) =
                encode_extent(cipher, extent).map_err(|CipherError| Fault::Content("the cipher refused".into()))?;
            self.named.insert(&key, &*sealed)?;
        }
        Ok(())
    }
}

/// Reads the extent back.
pub(super) fn read_extent(
    named: &impl ReadableTable<&'static NamedKey, &'static [u8]>,
    cipher: &Cipher,
) -> Result<Extent, Fault> {
    let missing = || Fault::Content("the extent of the log is missing".into());
    let key = super::schema::named_key(cipher, super::schema::INTERNAL, super::schema::EXTENT);
    let row = named.get(&key)?.ok_or_else(missing)?;
    let (_, value) = super::schema::open_named(cipher, &key, row.value()).map_err(|CipherError| missing())?;
    postcard::from_bytes(&value).map_err(|_| missing())
}
