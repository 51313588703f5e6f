//! Open files: each has what it said when it was opened.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use zeroize::Zeroizing;

use crate::ops::shares::{Share, Shares};

/// Bytes of open files: of all, and of one user.
const BYTES: (u32, u32) = (128 << 20, 32 << 20);
/// What an open file costs beside its bytes.
const EACH: u32 = 1024;

/// The bytes of an open file.
pub type Content = Arc<Zeroizing<Vec<u8>>>;

struct Open {
    content: Content,
    _share: Share<u32>,
}

/// Every open file.
#[derive(Default)]
pub struct Handles {
    next: AtomicU64,
    /// By place, then by number.
    open: Mutex<BTreeMap<(u64, u64), Open>>,
    bytes: Arc<Shares<u32>>,
}

impl Handles {
    /// A number for an open file; `None` if the user has too much open. `own`: its bytes are there for it alone, and count.
    pub fn put(&self, uid: u32, node: u64, content: Content, own: bool) -> Option<u64> {
        let bytes = if own { content.len() } else { 0 };
        let cost = u32::try_from(bytes).ok()?.checked_add(EACH)?;
        let share = self.bytes.take(uid, cost, BYTES.0, BYTES.1)?;
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let open = Open { content, _share: share };
        self.open.lock().unwrap_or_else(PoisonError::into_inner).insert((node, number), open);
        Some(number)
    }

    /// What is in it.
    pub fn get(&self, node: u64, number: u64) -> Option<Content> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).get(&(node, number)).map(|open| Arc::clone(&open.content))
    }

    /// Bytes of a place that is open, as it was opened last.
    pub fn length(&self, node: u64) -> Option<u64> {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.range((node, 0)..=(node, u64::MAX)).next_back().map(|(_, open)| open.content.len() as u64)
    }

    /// It is closed.
    pub fn close(&self, node: u64, number: u64) {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).remove(&(node, number));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_user_cannot_hold_everything_open() {
        let handles = Handles::default();
        let content = |bytes| Content::new(vec![0; bytes].into());
        let large = || content(8 << 20);
        let held: Vec<u64> = (0..10).map_while(|_| handles.put(1, 7, large(), true)).collect();
        assert_eq!(held.len(), 3, "and what each costs beside");
        assert!(handles.put(2, 8, content(5), true).is_some());
        assert_eq!((handles.length(8), handles.length(9)), (Some(5), None));
        handles.close(7, held[0]);
        assert!(handles.put(1, 7, large(), true).is_some());
        assert!(handles.get(7, held[0]).is_none() && handles.get(7, held[1]).is_some() && handles.get(8, held[1]).is_none());
        let shared = content(64 << 20);
        assert!(handles.put(1, 9, Arc::clone(&shared), false).is_some(), "what is there anyway costs little");
        let many = (0..BYTES.0).map_while(|_| handles.put(3, 9, Arc::clone(&shared), false)).count();
        assert_eq!(many, (BYTES.1 / EACH) as usize, "but something");
        assert!(handles.put(4, 9, shared, false).is_some());
    }
}
