//! An agent whose clock, and only that, is not ours.

use std::path::{Path, PathBuf};
use std::time::Duration;

use reverie_core::moment::Moment;

use crate::agent::Agent;

/// The library alone: the program `faketime` would stand between us and the agent.
pub fn library() -> String {
    let library = format!("/usr/lib/{}-linux-gnu/faketime/libfaketime.so.1", std::env::consts::ARCH);
    assert!(Path::new(&library).exists(), "{library} is missing: tests/install.sh brings it");
    library
}

/// A clock that can be set while the agent runs.
#[derive(Debug)]
pub struct Clock {
    file: PathBuf,
}

impl Clock {
    /// `+10m`, `-2d`; `+0d` is right.
    pub fn set(&self, offset: &str) {
        // In one step: a reader never sees half of it.
        let next = self.file.with_extension("next");
        std::fs::write(&next, offset).expect("a clock");
        std::fs::rename(&next, &self.file).expect("a clock");
    }

    /// So many days from now by the true clock, as RFC 3339, to be compared with what an agent prints.
    pub fn date_after_days(&self, days: u64) -> String {
        let now = Moment::from(time::OffsetDateTime::now_utc());
        now.after(Duration::from_secs(days * 86_400)).to_string()
    }
}

/// Has the agent's clock, and only that, follow a file from its next start on.
pub fn follows_a_file(agent: &mut Agent) -> Clock {
    let clock = Clock { file: agent.path().join("clock") };
    clock.set("+0d");
    agent.set_variable("LD_PRELOAD", &library());
    agent.set_variable("FAKETIME_TIMESTAMP_FILE", &clock.file.display().to_string());
    agent.set_variable("FAKETIME_NO_CACHE", "1");
    // What counts the time since boot is not set by who sets the clock.
    agent.set_variable("DONT_FAKE_MONOTONIC", "1");
    agent.set_variable("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    clock
}

/// Has the keeper's clock be off by so much from its next start on.
pub fn is_off_by(agent: &mut Agent, offset: &str) {
    for (name, value) in off_by(offset) {
        agent.set_variable(&name, &value);
    }
}

/// Variables of a process whose clock is to be off by so much.
pub fn off_by(offset: &str) -> Vec<(String, String)> {
    let unmoved = ["DONT_FAKE_MONOTONIC", "FAKETIME_DONT_FAKE_MONOTONIC"].map(|name| (name.to_owned(), "1".to_owned()));
    [("LD_PRELOAD".to_owned(), library()), ("FAKETIME".to_owned(), offset.to_owned())].into_iter().chain(unmoved).collect()
}
