//! Messages that are made and that their readers have not taken: their bytes are bounded, for each uid and in all.
//!
//! HTTP/2 keeps a message that is begun until its reader has granted a window for all of it, whatever the bound of its buffers. No
//! message is made before there is room for it, and none of a stream while another of its own waits: it is as new as it can be.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use hyper::body::Bytes;
use reverie_core::api::{Code, Problem};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::keeper::local::answer::Failure;

/// Of one uid, and of all, in KiB. A lone message has at most some 20 MiB: `ROOTCA`, `ALL` and the domain's own name, with the
/// largest lists.
const EACH: u32 = 64 * 1024;
const ALL: u32 = 4 * EACH;
/// What a message is taken for at least until it is made, in KiB.
const LEAST: u32 = 64;
/// Until there is room, and until a message that was made is taken.
const PATIENCE: Duration = Duration::from_secs(30);

/// What is not taken, of all connections.
#[derive(Debug)]
pub(super) struct Unread {
    all: Arc<Semaphore>,
    by_uid: Mutex<BTreeMap<u32, Weak<Semaphore>>>,
    /// The largest message so far, in KiB: the next one is taken for as large until it is made.
    largest: AtomicU32,
    patience: Duration,
}

impl Default for Unread {
    fn default() -> Self {
        Self {
            all: Arc::new(Semaphore::new(ALL as usize)),
            by_uid: Mutex::default(),
            largest: AtomicU32::new(LEAST),
            patience: PATIENCE,
        }
    }
}

impl Unread {
    /// The room of one call. `stalled` is told when its reader has left a message for too long.
    pub(super) fn room(self: &Arc<Self>, uid: u32, stalled: &CancellationToken) -> Room {
        let mut by_uid = self.by_uid.lock().unwrap_or_else(PoisonError::into_inner);
        by_uid.retain(|_, own| own.strong_count() > 0);
        let own = by_uid.get(&uid).and_then(Weak::upgrade).unwrap_or_else(|| Arc::new(Semaphore::new(EACH as usize)));
        by_uid.insert(uid, Arc::downgrade(&own));
        Room { unread: Arc::clone(self), own, held: Mutex::default(), stalled: stalled.clone() }
    }
}

/// What one call may keep.
#[derive(Debug)]
pub(super) struct Room {
    unread: Arc<Unread>,
    own: Arc<Semaphore>,
    /// For the message that is made.
    held: Mutex<Option<Held>>,
    stalled: CancellationToken,
}

/// So many KiB of a uid and of all.
#[derive(Debug)]
struct Held {
    own: OwnedSemaphorePermit,
    all: OwnedSemaphorePermit,
}

impl Room {
    /// Waits for room for a message, in turn. To be called before one is made.
    pub(super) async fn reserve(&self) -> Result<(), Failure> {
        self.release();
        let size = self.unread.largest.load(Ordering::Relaxed).min(EACH);
        let both = async {
            let own = Arc::clone(&self.own).acquire_many_owned(size).await?;
            Ok::<_, tokio::sync::AcquireError>(Held { own, all: Arc::clone(&self.unread.all).acquire_many_owned(size).await? })
        };
        let Ok(Ok(held)) = tokio::time::timeout(self.unread.patience, both).await else {
            return Err(excess().into());
        };
        *self.held() = Some(held);
        Ok(())
    }

    /// There is no message after all.
    pub(super) fn release(&self) {
        *self.held() = None;
    }

    /// A message as it goes out, counted until HTTP/2 has sent the last of it, and what is told then; an error if there is no room
    /// for what it came to.
    pub(super) fn count(&self, message: Bytes) -> Result<(Bytes, CancellationToken), Problem> {
        let size = u32::try_from(message.len().div_ceil(1024)).map_err(|_| excess())?;
        self.unread.largest.fetch_max(size, Ordering::Relaxed);
        let before = self.held().take();
        let (own, all) = before.map_or((None, None), |before| (Some(before.own), Some(before.all)));
        let held = fit(&self.own, own, size).zip(fit(&self.unread.all, all, size));
        let (own, all) = held.ok_or_else(excess)?;
        let taken = CancellationToken::new();
        let (stalled, patience) = (self.stalled.clone(), self.unread.patience);
        let (gone, guard) = (taken.clone(), taken.clone().drop_guard());
        tokio::spawn(async move {
            if tokio::time::timeout(patience, gone.cancelled()).await.is_err() {
                stalled.cancel();
            }
        });
        Ok((Bytes::from_owner(Untaken { message, _held: Held { own, all }, _taken: guard }), taken))
    }

    fn held(&self) -> std::sync::MutexGuard<'_, Option<Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// As many permits as that: more if there are, or some given back.
fn fit(of: &Arc<Semaphore>, permit: Option<OwnedSemaphorePermit>, size: u32) -> Option<OwnedSemaphorePermit> {
    let Some(mut permit) = permit else { return Arc::clone(of).try_acquire_many_owned(size).ok() };
    let before = u32::try_from(permit.num_permits()).ok()?;
    match size.checked_sub(before) {
        Some(more) => permit.merge(Arc::clone(of).try_acquire_many_owned(more).ok()?),
        None => drop(permit.split((before - size) as usize)),
    }
    Some(permit)
}

fn excess() -> Problem {
    Problem::new(Code::TooMany, "too much waits for the programs of this user, and is not taken")
        .advise("read the open streams, or close some")
}

/// Dropped by HTTP/2 when all of it is sent, or its stream or connection has ended.
struct Untaken {
    message: Bytes,
    _held: Held,
    _taken: DropGuard,
}

impl AsRef<[u8]> for Untaken {
    fn as_ref(&self) -> &[u8] {
        &self.message
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MESSAGE: usize = 1 << 20;

    fn unread() -> (Arc<Unread>, CancellationToken) {
        let unread = Unread { patience: Duration::from_millis(100), ..Unread::default() };
        (Arc::new(unread), CancellationToken::new())
    }

    async fn send(room: &Room, size: usize) -> Option<Bytes> {
        room.reserve().await.ok()?;
        Some(room.count(Bytes::from(vec![0; size])).ok()?.0)
    }

    #[tokio::test]
    async fn one_user_who_takes_nothing_waits_and_is_refused_while_another_is_answered() {
        let (unread, stalled) = unread();
        let mut kept = vec![];
        for _ in 0..1024 {
            let room = unread.room(1, &stalled);
            let Some(message) = send(&room, MESSAGE).await else { break };
            kept.push((room, message));
        }
        assert_eq!(kept.len(), 64, "MiB of one user");
        assert!(send(&unread.room(2, &stalled), MESSAGE).await.is_some());
        // What is taken makes room, also in part of a message: its end counts.
        let (_, message) = kept.pop().unwrap();
        let rest = message.slice(1000..);
        drop(message);
        assert!(send(&unread.room(1, &stalled), MESSAGE).await.is_none());
        drop(rest);
        assert!(send(&unread.room(1, &stalled), MESSAGE).await.is_some());
    }

    #[tokio::test]
    async fn all_users_together_have_an_end_and_nothing_of_who_has_gone_stays() {
        let (unread, stalled) = unread();
        let mut kept = vec![];
        for uid in 0..8 {
            while let Some(message) = send(&unread.room(uid, &stalled), 16 * MESSAGE).await {
                kept.push(message);
            }
        }
        assert_eq!(kept.len(), 16);
        drop(kept);
        assert!(send(&unread.room(9, &stalled), MESSAGE).await.is_some());
        assert_eq!(unread.all.available_permits(), ALL as usize);
        assert_eq!(unread.by_uid.lock().unwrap().len(), 1);
    }

    #[tokio::test]
    async fn a_message_that_is_larger_than_thought_gets_what_there_is_and_a_smaller_one_gives_back() {
        let (unread, stalled) = unread();
        let room = unread.room(1, &stalled);
        let large = send(&room, 60 * MESSAGE).await.unwrap();
        assert!(room.count(Bytes::from(vec![0; 5 * MESSAGE])).is_err());
        drop(large);
        let small = send(&room, 1).await.unwrap();
        assert_eq!(unread.all.available_permits(), ALL as usize - 1);
        drop(small);
        room.reserve().await.unwrap();
        room.release();
        assert_eq!(unread.all.available_permits(), ALL as usize);
    }

    #[tokio::test]
    async fn a_message_that_is_left_for_too_long_is_told_and_one_that_was_taken_is_not() {
        let (unread, stalled) = unread();
        let room = unread.room(1, &stalled);
        drop(send(&room, MESSAGE).await);
        tokio::time::sleep(2 * unread.patience).await;
        assert!(!stalled.is_cancelled());
        let _left = send(&room, MESSAGE).await;
        tokio::time::sleep(2 * unread.patience).await;
        assert!(stalled.is_cancelled());
    }
}
