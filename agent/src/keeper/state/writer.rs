//! The one writer: everything queued goes into one durable transaction, in the order it came.

use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use reverie_core::audit::ChainHead;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::Shared;
use super::change::{Committed, Prepared};
use super::error::{Fault, StateError};
use super::founding::structural;
use super::progress::Stand;
use super::schema::{NAMED, TRAIL};
use super::store::{WriteFault, needs_reopening};
use super::trail::{self, Extent};
use super::transaction::Tables;

/// Changes in one transaction.
const BATCH: usize = 256;
/// Events the files may be behind.
const MAX_LAG: u64 = 16_384;
/// How long is waited for the files to come closer.
const LAG_PATIENCE: Duration = Duration::from_secs(2);

/// Alarm for as long as the store cannot be written.
const FAULT: &str = "store";

pub(super) enum Job {
    Commit(Queued),
    /// The follower has something for the store.
    Save,
    Stop,
}

/// A change and who waits for it.
pub(super) struct Queued {
    pub(super) prepared: Prepared,
    pub(super) reply: oneshot::Sender<Result<Committed, StateError>>,
    /// Its place in the queue.
    pub(super) _permit: OwnedSemaphorePermit,
}

pub(super) struct Writer {
    shared: Arc<Shared>,
    jobs: Receiver<Job>,
    head: ChainHead,
    transaction: u64,
    extent: Extent,
    generation: u64,
    /// A transaction whose fate is not known.
    doubted: bool,
}

/// What a transaction did.
struct Made {
    head: ChainHead,
    extent: Extent,
    saved: usize,
    results: Vec<Result<Committed, StateError>>,
}

impl Writer {
    pub(super) fn new(shared: Arc<Shared>, jobs: Receiver<Job>, head: ChainHead, transaction: u64, extent: Extent) -> Self {
        let generation = shared.store.generation();
        Self { shared, jobs, head, transaction, extent, generation, doubted: false }
    }

    /// Until told to stop.
    pub(super) fn run(mut self) -> Self {
        let (mut batch, mut stop) = (Vec::with_capacity(BATCH), false);
        while !stop {
            let Ok(first) = self.jobs.recv() else { break };
            let mut next = Some(first);
            while let Some(job) = next {
                match job {
                    Job::Commit(queued) => batch.push(queued),
                    Job::Save => {}
                    Job::Stop => stop = true,
                }
                next = if batch.len() < BATCH && !stop { self.jobs.try_recv().ok() } else { None };
            }
            self.commit(&mut batch);
        }
        self
    }

    /// What the follower left, at the end.
    pub(super) fn finish(&mut self) {
        self.commit(&mut vec![]);
        self.shared.store.close();
    }

    fn commit(&mut self, batch: &mut Vec<Queued>) {
        let saved = |stand: &Stand| stand.unsaved.is_empty() && stand.files_start == stand.extent.files_start;
        if batch.is_empty() && self.shared.progress.look(saved) {
            return;
        }
        let refused = self.gate(batch);
        let results = match refused {
            Some(error) => Err(error),
            None => self.make_durable(batch),
        };
        match results {
            Ok(results) => {
                for (queued, result) in batch.drain(..).zip(results) {
                    // Nobody may wait any more; the change is made all the same.
                    let _ = queued.reply.send(result);
                }
            }
            Err(error) => batch.drain(..).for_each(|queued| drop(queued.reply.send(Err(error.clone())))),
        }
    }

    /// Nothing is done that the files could not show.
    fn gate(&self, batch: &[Queued]) -> Option<StateError> {
        if batch.is_empty() {
            return None;
        }
        let near = |written: u64| self.head.seq.saturating_sub(written) <= MAX_LAG;
        let until = Instant::now() + LAG_PATIENCE;
        self.shared.progress.wait(Some(until), |stand| stand.fault.is_some() || near(stand.written.seq));
        self.shared.progress.look(|stand| match &stand.fault {
            Some(why) => Some(StateError::AuditUnwritable { why: why.clone() }),
            None if near(stand.written.seq) => None,
            None => {
                Some(StateError::AuditUnwritable { why: format!("the files are more than {MAX_LAG} events behind the store") })
            }
        })
    }

    fn make_durable(&mut self, batch: &[Queued]) -> Result<Vec<Result<Committed, StateError>>, StateError> {
        for attempt in 0..2 {
            self.synchronise()?;
            let fault = match self.write(batch) {
                Ok(made) => return Ok(self.accept(made)),
                Err(fault) => fault,
            };
            if !needs_reopening(&fault.fault) {
                return Err(fault.fault.into());
            }
            if fault.in_doubt {
                self.doubted = true;
                let before = self.transaction;
                let why = StateError::from(fault.fault).to_string();
                let known = self.shared.store.reopen(self.generation).and_then(|()| self.synchronise());
                return Err(match known {
                    Ok(()) if self.transaction == before => StateError::Unavailable { why },
                    _ => StateError::InDoubt { why },
                });
            }
            let error = StateError::from(fault.fault);
            self.shared.alarms.raise(FAULT, &error.to_string());
            if attempt == 1 || self.shared.store.reopen(self.generation).is_err() {
                return Err(error);
            }
        }
        Err(StateError::Closed)
    }

    /// After the store was opened anew: what it holds is the truth, not what this thread remembers.
    fn synchronise(&mut self) -> Result<(), StateError> {
        let shared = &self.shared;
        if shared.store.generation() == self.generation && !self.doubted {
            return Ok(());
        }
        if shared.store.generation() == self.generation {
            shared.store.reopen(self.generation)?;
        }
        let generation = shared.store.generation();
        let (extent, head) = shared.store.read(|transaction| {
            let named = transaction.open_table(NAMED).map_err(structural)?;
            let extent = super::transaction::read_extent(&named, &shared.cipher)?;
            let events = transaction.open_table(TRAIL).map_err(structural)?;
            Ok((extent, trail::head(&events, &shared.cipher, &extent)?))
        })?;
        let number = shared.store.transaction_number()?;
        if self.doubted && number > self.transaction {
            shared.alarms.raise(
                "store, while the disk failed",
                "a change that was reported as failed had been made after all; \
                the audit log has it (`agentctl audit tail`)",
            );
        }
        (self.generation, self.head, self.transaction, self.extent, self.doubted) = (generation, head, number, extent, false);
        shared.progress.update(|stand| (stand.committed, stand.extent) = (head, extent));
        Ok(())
    }

    fn write(&self, batch: &[Queued]) -> Result<Made, WriteFault> {
        let shared = &self.shared;
        let stand = shared.progress.look(Clone::clone);
        shared.store.write(self.transaction + 1, |transaction| {
            let mut tables = Tables::open(transaction)?;
            let (mut head, mut extent) = (self.head, self.extent);
            let mut results = Vec::with_capacity(batch.len());
            for queued in batch {
                match tables.apply(&shared.cipher, head, &queued.prepared) {
                    Ok(committed) => {
                        head = committed.head;
                        results.push(Ok(committed));
                    }
                    Err(Fault::Refused(error)) => results.push(Err(error)),
                    Err(fault) => return Err(fault),
                }
            }
            tables.keep_house(&shared.cipher, &stand, &mut extent, head)?;
            Ok(Made { head, extent, saved: stand.unsaved.len(), results })
        })
    }

    fn accept(&mut self, made: Made) -> Vec<Result<Committed, StateError>> {
        (self.head, self.extent) = (made.head, made.extent);
        self.transaction += 1;
        self.shared.progress.update(|stand| {
            (stand.committed, stand.extent) = (made.head, made.extent);
            stand.unsaved.drain(..made.saved.min(stand.unsaved.len()));
        });
        self.shared.alarms.clear(FAULT);
        made.results
    }
}
