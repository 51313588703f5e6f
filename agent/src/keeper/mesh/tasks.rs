//! What net is to do, each once.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use reverie_core::ipc::net::{Task, TaskKind};
use tokio::sync::oneshot;

/// Tasks at once; more come from no healthy agent.
const MAX: usize = 256;

type Outcome = Result<Vec<u8>, String>;

#[derive(Default)]
pub(super) struct Tasks(Mutex<State>);

#[derive(Default)]
struct State {
    last: u64,
    open: BTreeMap<u64, (TaskKind, Option<oneshot::Sender<Outcome>>)>,
}

/// A task whose report is waited for.
pub(super) struct Waiting {
    pub(super) number: u64,
    pub(super) report: oneshot::Receiver<Outcome>,
}

impl Tasks {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn add(&self, what: TaskKind) -> Waiting {
        let (sender, report) = oneshot::channel();
        let mut state = self.state();
        state.last += 1;
        let number = state.last;
        match state.open.len() < MAX {
            true => drop(state.open.insert(number, (what, Some(sender)))),
            false => drop(sender.send(Err("too many tasks wait for the network already".to_owned()))),
        }
        Waiting { number, report }
    }

    pub(super) fn remove(&self, number: u64) {
        self.state().open.remove(&number);
    }

    /// A report; `false` if nobody asked.
    pub(super) fn report(&self, number: u64, outcome: Outcome) -> bool {
        let Some((_, sender)) = self.state().open.remove(&number) else { return false };
        sender.is_some_and(|sender| sender.send(outcome).is_ok())
    }

    /// What an open task is, for the questions that net asks about it.
    pub(super) fn what(&self, number: u64) -> Option<TaskKind> {
        self.state().open.get(&number).map(|(what, _)| what.clone())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.state().open.is_empty()
    }

    pub(super) fn list(&self) -> Vec<Task> {
        self.state().open.iter().map(|(number, (what, _))| Task { number: *number, what: what.clone() }).collect()
    }
}
