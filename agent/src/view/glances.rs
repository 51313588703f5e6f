//! What each process was shown a moment ago, so that a path is walked with one question and not with one for each step. Names and
//! sizes only: what is in a file is asked for anew each time it is opened.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use reverie_core::view::Sight;

use super::reader::{Asking, Pinned};

/// For so long.
const FOR: Duration = Duration::from_secs(1);
/// Threads that are remembered.
const MOST: usize = 1024;

struct Glance {
    pinned: Pinned,
    sight: Arc<Sight>,
    until: Instant,
}

/// The glances of all.
#[derive(Default)]
pub struct Glances(Mutex<BTreeMap<Asking, Glance>>);

impl Glances {
    /// What it was shown, if it is still the same process.
    pub fn get(&self, asking: &Asking) -> Option<Arc<Sight>> {
        let glances = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let glance = glances.get(asking)?;
        (glance.until > Instant::now() && glance.pinned.holds()).then(|| Arc::clone(&glance.sight))
    }

    /// What it was shown has changed.
    pub fn forget(&self, asking: &Asking) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(asking);
    }

    /// It was shown this.
    pub fn put(&self, asking: Asking, pinned: Pinned, sight: &Arc<Sight>) {
        let now = Instant::now();
        let mut glances = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if glances.len() >= MOST {
            glances.retain(|_, glance| glance.until > now);
        }
        if glances.len() < MOST {
            glances.insert(asking, Glance { pinned, sight: Arc::clone(sight), until: now + FOR });
        }
    }
}
