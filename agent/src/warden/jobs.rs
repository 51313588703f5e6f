//! Work that may take long: on threads, and only so many at once.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use reverie_core::ipc::warden::Reply;

use super::failure::Failure;
use crate::ops::channel::Replies;

/// Places for jobs.
#[derive(Debug, Clone)]
pub(super) struct Slots {
    limit: usize,
    state: Arc<(Mutex<usize>, Condvar)>,
}

impl Slots {
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, state: Arc::default() }
    }

    /// Runs `job` on a thread, or refuses when all places are taken.
    pub(super) fn start(&self, name: &str, job: impl FnOnce() + Send + 'static) -> Result<(), Failure> {
        let Some(place) = self.take() else {
            return Err(format!("the warden is busy with {} requests like this one; try again in a while", self.limit).into());
        };
        let work = move || {
            // Moved in, so that it is given back whichever way the job ends.
            let _place = place;
            job();
        };
        match std::thread::Builder::new().name(name.to_owned()).spawn(work) {
            Ok(_) => Ok(()),
            Err(error) => Err(format!("the warden could not start a thread: {error}; raise TasksMax= of its unit").into()),
        }
    }

    /// Waits until no job runs, for at most `deadline`.
    pub(super) fn wait_idle(&self, deadline: Duration) {
        let (taken, freed) = &*self.state;
        let taken = taken.lock().unwrap_or_else(PoisonError::into_inner);
        drop(freed.wait_timeout_while(taken, deadline, |taken| *taken > 0));
    }

    fn take(&self) -> Option<Place> {
        let mut taken = self.state.0.lock().unwrap_or_else(PoisonError::into_inner);
        if *taken >= self.limit {
            return None;
        }
        *taken += 1;
        Some(Place(Arc::clone(&self.state)))
    }
}

struct Place(Arc<(Mutex<usize>, Condvar)>);

impl Drop for Place {
    fn drop(&mut self) {
        *self.0.0.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        self.0.1.notify_all();
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
    fn one_job_too_many_is_refused_and_a_finished_one_makes_room() {
        let slots = Slots::new(2);
        let (finish, wait) = mpsc::channel::<()>();
        let wait = Arc::new(Mutex::new(wait));
        for _ in 0..2 {
            let wait = Arc::clone(&wait);
            slots
                .start("test", move || {
                    let _ = wait.lock().unwrap().recv();
                })
                .unwrap();
        }
        let Err(Failure::Refused(message)) = slots.start("test", || ()) else { panic!("a third job was started") };
        assert!(message.contains("busy"), "{message}");
        drop(finish);
        slots.wait_idle(Duration::from_secs(10));
        slots.start("test", || ()).unwrap();
    }

    #[test]
    fn a_job_that_panics_gives_its_place_back() {
        let slots = Slots::new(1);
        slots.start("test", || panic!("on purpose")).unwrap();
        slots.wait_idle(Duration::from_secs(10));
        slots.start("test", || ()).unwrap();
    }
}
