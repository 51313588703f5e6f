//! The connections of one tunnel: counted, and closed when whoever is at the other end is not to be there any more.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use reverie_core::ipc::tunnel::{Refusal, TunnelState};
use tokio_util::sync::CancellationToken;

use super::relay::Bytes;
use super::tls::Verifier;
use super::trust::{Peer, Refused};

/// See above.
#[derive(Debug, Default)]
pub(super) struct Open {
    established: Mutex<HashMap<u64, (Arc<Peer>, CancellationToken)>>,
    next: AtomicU64,
    accepted: AtomicU64,
    withdrawn: AtomicU64,
    pub(super) outlived: AtomicU64,
    refused: Mutex<BTreeMap<Refusal, u64>>,
    pub(super) bytes: Bytes,
}

/// One that is counted until this is dropped.
#[derive(Debug)]
pub(super) struct Established {
    open: Arc<Open>,
    number: u64,
    /// It is to be closed.
    pub(super) closing: CancellationToken,
}

impl Open {
    fn established(&self) -> MutexGuard<'_, HashMap<u64, (Arc<Peer>, CancellationToken)>> {
        self.established.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn register(self: &Arc<Self>, peer: Arc<Peer>, closing: CancellationToken) -> Established {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.accepted.fetch_add(1, Ordering::Relaxed);
        self.established().insert(number, (peer, closing.clone()));
        Established { open: Arc::clone(self), number, closing }
    }

    /// Closes those that are not permitted any more; says who, each once.
    pub(super) fn follow(&self, verifier: &Verifier) -> Vec<Refused> {
        let established = self.established();
        // One answer for each peer, however many connections it has.
        let mut verdicts: HashMap<*const Peer, bool> = HashMap::new();
        let mut refusals = vec![];
        for (peer, closing) in established.values() {
            let holds = *verdicts.entry(Arc::as_ptr(peer)).or_insert_with(|| match verifier.still_permits(peer) {
                Ok(()) => true,
                Err(refused) => {
                    refusals.push(refused);
                    false
                }
            });
            if !holds {
                self.withdrawn.fetch_add(1, Ordering::Relaxed);
                closing.cancel();
            }
        }
        refusals
    }

    pub(super) fn refuse(&self, why: Refusal) {
        *self.refused.lock().unwrap_or_else(PoisonError::into_inner).entry(why).or_default() += 1;
    }

    pub(super) fn state(&self, trouble: Option<String>) -> TunnelState {
        TunnelState {
            trouble,
            open: u32::try_from(self.established().len()).unwrap_or(u32::MAX),
            accepted: self.accepted.load(Ordering::Relaxed),
            refused: self.refused.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            withdrawn: self.withdrawn.load(Ordering::Relaxed),
            outlived: self.outlived.load(Ordering::Relaxed),
            sent: self.bytes.sent.load(Ordering::Relaxed),
            received: self.bytes.received.load(Ordering::Relaxed),
        }
    }
}

impl Drop for Established {
    fn drop(&mut self) {
        self.open.established().remove(&self.number);
    }
}
