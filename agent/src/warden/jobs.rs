//! Work that may take long: on threads, and only so many at once.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use reverie_core::ipc::warden::Reply;

use super::failure::Failure;
use crate::ops::channel::Replies;

/// Places for jobs, of which one uid never has all.
#[derive(Debug, Clone)]
pub(super) struct Slots {
    limit: usize,
    per_uid: usize,
    taken: Arc<(Mutex<Taken>, Condvar)>,
}

#[derive(Debug, Default)]
struct Taken {
    total: usize,
    by_uid: BTreeMap<u32, usize>,
}

impl Slots {
    /// At most `limit` jobs at once, and `per_uid` on behalf of one uid.
    pub(super) fn new(limit: usize, per_uid: usize) -> Self {
        Self { limit, per_uid, taken: Arc::default() }
    }

    /// Runs `job` on a thread on behalf of `uid`, or refuses when all places are taken.
    pub(super) fn start(&self, name: &str, uid: u32, job: impl FnOnce() + Send + 'static) -> Result<(), Failure> {
        self.take(uid)?.start(name, job)
    }

    /// Waits until no job runs, for at most `deadline`.
    pub(super) fn wait_idle(&self, deadline: Duration) {
        let (taken, freed) = &*self.taken;
        let taken = taken.lock().unwrap_or_else(PoisonError::into_inner);
        drop(freed.wait_timeout_while(taken, deadline, |taken| taken.total > 0));
    }

    /// A place on behalf of `uid`, for who has something else to do when all are taken.
    pub(super) fn take(&self, uid: u32) -> Result<Place, Failure> {
        let mut taken = self.taken.0.lock().unwrap_or_else(PoisonError::into_inner);
        let own = taken.by_uid.get(&uid).copied().unwrap_or(0);
        let (busy_with, limit) = match () {
            () if taken.total >= self.limit => ("requests like this one".to_owned(), self.limit),
            () if own >= self.per_uid => (format!("requests like this one for uid {uid}"), self.per_uid),
            () => {
                taken.total += 1;
                taken.by_uid.insert(uid, own + 1);
                return Ok(Place { uid, taken: Arc::clone(&self.taken) });
            }
        };
        Err(format!("the warden is busy with {limit} {busy_with}; try again in a while").into())
    }
}

/// A place, until it is dropped or its job ends.
#[must_use]
pub(super) struct Place {
    uid: u32,
    taken: Arc<(Mutex<Taken>, Condvar)>,
}

impl Place {
    /// Runs `job` on a thread.
    pub(super) fn start(self, name: &str, job: impl FnOnce() + Send + 'static) -> Result<(), Failure> {
        spawn(name, move || {
            // Moved in, so that it is given back whichever way the job ends.
            let _place = self;
            job();
        })
    }
}

/// Runs `work` on a thread.
pub(super) fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<(), Failure> {
    match std::thread::Builder::new().name(name.to_owned()).spawn(work) {
        Ok(_) => Ok(()),
        Err(error) => Err(format!("the warden could not start a thread: {error}; raise TasksMax= of its unit").into()),
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.taken.0.lock().unwrap_or_else(PoisonError::into_inner);
        taken.total -= 1;
        match taken.by_uid.get_mut(&self.uid) {
            Some(own) if *own > 1 => *own -= 1,
            _ => {
                taken.by_uid.remove(&self.uid);
            }
        }
        self.taken.1.notify_all();
    }
}

/// Sends a reply from a job. If the keeper is gone, the main loop sees it too and ends.
pub(super) fn answer(replies: &Replies<Reply>, id: u64, reply: &Reply) {
    if let Err(error) = replies.send(id, reply) {
        tracing::warn!(%error, "a reply could not be sent to the keeper");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn one_uid_never_takes_every_place() {
        let slots = Slots::new(3, 2);
        let (finish, wait) = mpsc::channel::<()>();
        let wait = Arc::new(Mutex::new(wait));
        let hang = || {
            let wait = Arc::clone(&wait);
            move || assert!(wait.lock().unwrap().recv().is_err())
        };
        slots.start("test", 1, hang()).unwrap();
        slots.start("test", 1, hang()).unwrap();
        let Err(Failure::Refused(message)) = slots.start("test", 1, || ()) else { panic!("a third place for one uid") };
        assert!(message.contains("for uid 1"), "{message}");
        slots.start("test", 2, hang()).unwrap();
        drop(finish);
        slots.wait_idle(Duration::from_secs(10));
        slots.start("test", 1, || ()).unwrap();
    }

    #[test]
    fn one_job_too_many_is_refused_and_a_finished_one_makes_room() {
        let slots = Slots::new(2, 2);
        let (finish, wait) = mpsc::channel::<()>();
        let wait = Arc::new(Mutex::new(wait));
        for _ in 0..2 {
            let wait = Arc::clone(&wait);
            slots
                .start("test", 0, move || {
                    let _ = wait.lock().unwrap().recv();
                })
                .unwrap();
        }
        let Err(Failure::Refused(message)) = slots.start("test", 0, || ()) else { panic!("a third job was started") };
        assert!(message.contains("busy"), "{message}");
        drop(finish);
        slots.wait_idle(Duration::from_secs(10));
        slots.start("test", 0, || ()).unwrap();
    }

    #[test]
    fn a_job_that_panics_gives_its_place_back() {
        let slots = Slots::new(1, 1);
        slots.start("test", 0, || panic!("on purpose")).unwrap();
        slots.wait_idle(Duration::from_secs(10));
        slots.start("test", 0, || ()).unwrap();
    }
}
