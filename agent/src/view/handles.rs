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
    /// Of which place.
    node: u64,
    content: Content,
    _share: Share<u32>,
}

/// Every open file.
#[derive(Default)]
pub struct Handles {
    next: AtomicU64,
    open: Mutex<BTreeMap<u64, Open>>,
    bytes: Arc<Shares<u32>>,
}

impl Handles {
    /// A number for an open file; `None` if the user has too much open.
    pub fn put(&self, uid: u32, node: u64, content: Vec<u8>) -> Option<u64> {
        let content = Zeroizing::new(content);
        let cost = u32::try_from(content.len()).ok()?.checked_add(EACH)?;
        let share = self.bytes.take(uid, cost, BYTES.0, BYTES.1)?;
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let open = Open { node, content: Arc::new(content), _share: share };
        self.open.lock().unwrap_or_else(PoisonError::into_inner).insert(number, open);
        Some(number)
    }

    /// What is in it.
    pub fn get(&self, number: u64) -> Option<Content> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).get(&number).map(|open| Arc::clone(&open.content))
    }

    /// Bytes of a place that is open, as it was opened last.
    pub fn length(&self, node: u64) -> Option<u64> {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.values().rev().find(|open| open.node == node).map(|open| open.content.len() as u64)
    }

    /// It is closed.
    pub fn close(&self, number: u64) {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).remove(&number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_user_cannot_hold_everything_open() {
        let handles = Handles::default();
        let large = || vec![0; 8 << 20];
        let held: Vec<u64> = (0..10).map_while(|_| handles.put(1, 7, large())).collect();
        assert_eq!(held.len(), 3, "and what each costs beside");
        assert!(handles.put(2, 8, vec![0; 5]).is_some());
        assert_eq!((handles.length(8), handles.length(9)), (Some(5), None));
        handles.close(held[0]);
        assert!(handles.put(1, 7, large()).is_some());
        assert!(handles.get(held[0]).is_none() && handles.get(held[1]).is_some());
    }
}
