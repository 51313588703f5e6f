//! `agentctl` against an agent: what it prints, and how it refuses.

use std::process::{Command, Output, Stdio};

use serde_json::Value;

use crate::agent::Agent;
use crate::programs::{built, text};

impl Agent {
    /// Runs `agentctl` against this agent and its configuration.
    pub fn ctl(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(built("agentctl"));
        command.env("REVERIE_RUN", self.run()).env("REVERIE_CONFIG", self.config()).env("NO_COLOR", "1");
        command.env_remove("REVERIE_TOKEN").args(arguments).stdin(Stdio::null());
        command.output().expect("agentctl runs")
    }

    /// Runs `agentctl`, which must succeed; returns what it printed.
    #[track_caller]
    pub fn ctl_ok(&self, arguments: &[&str]) -> String {
        let output = self.ctl(arguments);
        assert!(output.status.success(), "agentctl {arguments:?}: {}\n{}\n{}", output.status, text(&output), self.log());
        assert!(!output.stdout.is_empty(), "agentctl {arguments:?} says nothing");
        String::from_utf8(output.stdout).expect("UTF-8")
    }

    /// The document that `agentctl --json` prints.
    #[track_caller]
    pub fn ctl_json(&self, arguments: &[&str]) -> Value {
        let printed = self.ctl_ok(&[&["--json"], arguments].concat());
        serde_json::from_str(&printed).unwrap_or_else(|error| panic!("agentctl --json {arguments:?}: {error} in {printed}"))
    }

    /// The documents, one a line.
    #[track_caller]
    pub fn ctl_json_lines(&self, arguments: &[&str]) -> Vec<Value> {
        let printed = self.ctl_ok(&[&["--json"], arguments].concat());
        printed.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in {line}"))).collect()
    }

    /// Runs `agentctl`, which must end with `exit` and say, on standard error alone, what happened and what to try; with
    /// `--json` too. Returns what happened.
    #[track_caller]
    pub fn ctl_refused(&self, exit: i32, arguments: &[&str]) -> String {
        let output = self.ctl(arguments);
        let at = format!("agentctl {arguments:?}: {}\n{}", output.status, text(&output));
        assert_eq!(output.status.code(), Some(exit), "{at}");
        assert!(output.stdout.is_empty(), "{at}");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.starts_with("agentctl: ") && said.contains("\ntry: "), "{at}");

        let output = self.ctl(&[&["--json"], arguments].concat());
        let at = format!("agentctl --json {arguments:?}: {}\n{}", output.status, text(&output));
        assert_eq!(output.status.code(), Some(exit), "{at}");
        assert!(output.stdout.is_empty(), "{at}");
        let failure: Value = serde_json::from_slice(&output.stderr).unwrap_or_else(|error| panic!("{error}: {at}"));
        assert_eq!(failure["exit"], exit, "{at}");
        assert!(failure["try"].is_string(), "{at}");
        let what = failure["error"].as_str().unwrap_or_else(|| panic!("{at}")).to_owned();
        assert!(said.contains(&what), "the same in both: {said} {at}");
        what
    }
}
