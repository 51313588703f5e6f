//! What each process was shown a moment ago, so that a path is walked with one question and not with one for each step. Names and
//! sizes only: what is in a file of its own is asked for anew each time it is opened.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use reverie_core::view::Sight;

use super::reader::{Asking, Pinned};
use crate::ops::shares::{Share, Shares};

/// For so long: a path is walked in less, and nobody notices a rule that holds so much later.
const FOR: Duration = Duration::from_millis(100);
/// Threads that are remembered: of all, and of one user.
const MOST: (u32, u32) = (1024, 256);

struct Glance {
    pinned: Pinned,
    sight: Arc<Sight>,
    until: Instant,
    _share: Share<u32>,
}

/// The glances of all.
#[derive(Default)]
pub struct Glances {
    glances: Mutex<BTreeMap<Asking, Glance>>,
    shares: Arc<Shares<u32>>,
}

impl Glances {
    /// What it was shown, if it is still the same process and runs the same program.
    pub fn get(&self, asking: &Asking) -> Option<Arc<Sight>> {
        let glances = self.glances.lock().unwrap_or_else(PoisonError::into_inner);
        let glance = glances.get(asking)?;
        (glance.until > Instant::now() && glance.pinned.is_as_it_was()).then(|| Arc::clone(&glance.sight))
    }

    /// What it was shown has changed.
    pub fn forget(&self, asking: &Asking) {
        self.glances.lock().unwrap_or_else(PoisonError::into_inner).remove(asking);
    }

    /// It was shown this.
    pub fn put(&self, asking: Asking, pinned: Pinned, sight: &Arc<Sight>) {
        let now = Instant::now();
        let mut glances = self.glances.lock().unwrap_or_else(PoisonError::into_inner);
        glances.retain(|_, glance| glance.until > now);
        glances.remove(&asking);
        if let Some(_share) = self.shares.take(asking.reader.uid, 1, MOST.0, MOST.1) {
            glances.insert(asking, Glance { pinned, sight: Arc::clone(sight), until: now + FOR, _share });
        }
    }
}

#[cfg(test)]
mod tests {
    use reverie_core::ipc::view::Reader;

    use super::*;

    fn asking(uid: u32, gid: u32) -> Asking {
        Asking { thread: std::process::id() as i32, reader: Reader { uid, gid } }
    }

    #[test]
    fn one_user_cannot_have_all_glances_and_what_is_over_makes_room() {
        let glances = Glances::default();
        for gid in 0..MOST.1 + 10 {
            glances.put(asking(7, gid), asking(7, gid).pin().unwrap(), &Arc::default());
        }
        glances.put(asking(8, 0), asking(8, 0).pin().unwrap(), &Arc::default());
        assert_eq!(glances.shares.total(), MOST.1 + 1);
        assert!(glances.get(&asking(8, 0)).is_some());
        glances.glances.lock().unwrap().values_mut().for_each(|glance| glance.until = Instant::now());
        assert!(glances.get(&asking(8, 0)).is_none());
        glances.put(asking(7, 0), asking(7, 0).pin().unwrap(), &Arc::default());
        assert_eq!(glances.shares.total(), 1);
    }

    #[test]
    fn what_one_program_was_shown_is_not_shown_to_the_next_of_the_same_process() {
        let glances = Glances::default();
        let mut sh = std::process::Command::new("sh");
        let mut child = sh.args(["-c", "read line; exec sleep 10"]).stdin(std::process::Stdio::piped()).spawn().unwrap();
        // The fork runs this test's own program for a moment.
        let own = std::env::current_exe().unwrap();
        while std::fs::read_link(format!("/proc/{}/exe", child.id())).unwrap() == own {
            std::thread::yield_now();
        }
        let asking = Asking { thread: child.id() as i32, reader: Reader { uid: 0, gid: 0 } };
        let program = std::fs::read_link(format!("/proc/{}/exe", child.id())).unwrap();
        // The kernel names a program a moment before it has laid it out.
        let begun = Instant::now();
        while glances.get(&asking).is_none() {
            assert!(begun.elapsed() < 600 * FOR);
            glances.put(asking, asking.pin().unwrap(), &Arc::default());
            // However slow the machine is: this is about the program.
            glances.glances.lock().unwrap().values_mut().for_each(|glance| glance.until = Instant::now() + 600 * FOR);
        }
        drop(child.stdin.take());
        while std::fs::read_link(format!("/proc/{}/exe", child.id())).unwrap() == program {
            std::thread::yield_now();
        }
        assert!(glances.get(&asking).is_none());
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
