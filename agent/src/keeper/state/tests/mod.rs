//! The behaviour of the state, by what can go wrong.

mod audit;
mod damage;
mod disk;
mod kill;
mod record;
mod records;

use std::path::{Path, PathBuf};

use reverie_core::audit::{Actor, Event, Kind, Outcome, Subject};
use reverie_core::moment::Moment;
use zeroize::Zeroizing;

use super::file::Faults;
use super::{AuditOptions, Change, OpenError, Options, State, Table, Write};

/// A directory of its own, and how to open the state in it.
struct Place {
    _directory: tempfile::TempDir,
    options: Options,
    faults: Faults,
}

impl Place {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let audit = AuditOptions { rotate_bytes: 16 << 20, keep: 0, admin_gid: None };
        let options = Options { directory: directory.path().join("state"), audit, now: Moment::from_secs(1_767_225_600) };
        Self { _directory: directory, options, faults: Faults::default() }
    }

    fn rotating(rotate_bytes: u64, keep: usize) -> Self {
        let mut place = Self::new();
        place.options.audit.rotate_bytes = rotate_bytes;
        place.options.audit.keep = keep;
        place
    }

    fn open(&self) -> State {
        self.try_open(&root()).unwrap()
    }

    fn try_open(&self, root: &Zeroizing<[u8; 32]>) -> Result<State, OpenError> {
        State::open_with(self.options.clone(), root, &self.faults)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.options.directory.join(name)
    }

    /// The files of the log, in order.
    fn logs(&self) -> Vec<PathBuf> {
        logs(&self.path("audit"))
    }
}

fn logs(directory: &Path) -> Vec<PathBuf> {
    super::mirror::list(directory).unwrap().into_iter().map(|file| file.path).collect()
}

fn root() -> Zeroizing<[u8; 32]> {
    Zeroizing::new([7; 32])
}

fn event(number: u64) -> Event {
    Event {
        time: Moment::from_secs(1_767_225_600),
        kind: Kind::SecretSealed,
        outcome: Outcome::Done,
        actor: Actor::Agent,
        subject: Subject { secret: Some(format!("s{number}")), ..Subject::default() },
        reason: None,
    }
}

/// Sets a secret, with an event.
fn put(number: u64) -> Change {
    let value = Zeroizing::new(number.to_string().into_bytes());
    Change { writes: vec![Write::Put { table: Table::Secrets, key: format!("s{number}"), value }], events: vec![event(number)] }
}

fn put_all(state: &State, numbers: std::ops::RangeInclusive<u64>) {
    // Many at once, so that they share transactions.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        let changes: Vec<_> = numbers.map(|number| state.commit(put(number))).collect();
        for result in futures_util::future::join_all(changes).await {
            result.unwrap();
        }
    });
}

fn has(state: &State, number: u64) -> bool {
    state.get(Table::Secrets, &format!("s{number}")).unwrap().is_some_and(|value| *value == number.to_string().into_bytes())
}

/// Waits for something that other threads do.
fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    let until = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while !done() {
        assert!(std::time::Instant::now() < until, "{what}");
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
}
