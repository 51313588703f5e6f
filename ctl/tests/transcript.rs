//! Runs `agentctl` in a directory of its own and writes down what a person would see.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::agent::{Agent, Asked, Reply};
use crate::golden::assert_golden;

/// What one run left.
pub(crate) struct Run {
    pub(crate) out: String,
    pub(crate) err: String,
    pub(crate) exit: i32,
}

pub(crate) struct Transcript {
    dir: TempDir,
    pub(crate) agent: Option<Agent>,
    text: String,
    /// Environment of the next runs.
    pub(crate) env: Vec<(&'static str, String)>,
    /// Without what overrides file permissions, even for root.
    pub(crate) unprivileged: bool,
}

impl Transcript {
    /// Without an agent.
    pub(crate) fn alone() -> Self {
        let dir = tempfile::Builder::new().prefix("ctl").tempdir().unwrap();
        std::fs::create_dir(dir.path().join("run")).unwrap();
        std::fs::create_dir(dir.path().join("etc")).unwrap();
        Self { dir, agent: None, text: String::new(), env: vec![], unprivileged: false }
    }

    pub(crate) fn with(answer: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Self {
        let mut transcript = Self::alone();
        transcript.agent = Some(Agent::start(&transcript.path("run"), answer));
        transcript
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path
    }

    pub(crate) fn run(&mut self, arguments: &[&str]) -> Run {
        self.run_with_input(arguments, "")
    }

    /// Runs it and writes it down.
    pub(crate) fn run_with_input(&mut self, arguments: &[&str], input: &str) -> Run {
        let run = self.run_silently(arguments, input);
        let shown: Vec<String> = arguments
            .iter()
            .map(|argument| {
                if argument.contains([' ', '*']) || argument.is_empty() {
                    format!("'{argument}'")
                } else {
                    (*argument).to_owned()
                }
            })
            .collect();
        self.text += &format!("$ agentctl {}\n", shown.join(" "));
        self.text += &run.out;
        if !run.out.is_empty() && !run.out.ends_with('\n') {
            self.text += "[no newline]\n";
        }
        self.text.extend(run.err.lines().map(|line| format!("! {line}\n")));
        self.text += &format!("[exit {}]\n\n", run.exit);
        run
    }

    pub(crate) fn run_silently(&self, arguments: &[&str], input: &str) -> Run {
        let program = env!("CARGO_BIN_EXE_agentctl");
        let mut command = match self.unprivileged && nix::unistd::geteuid().is_root() {
            false => Command::new(program),
            true => {
                let mut command = Command::new("setpriv");
                command.args(["--bounding-set=-dac_override,-dac_read_search", program]);
                command
            }
        };
        command.args(["--system", "--timeout", "5s", "--run-dir"]).arg(self.path("run"));
        command.arg("--config").arg(self.path("etc/agent.toml")).args(arguments);
        command.env_clear().env("HOME", self.dir.path()).env("PATH", "/usr/bin:/bin").current_dir(self.dir.path());
        command.envs(self.env.iter().map(|(key, value)| (key, value)));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        // A child that refuses its arguments does not read.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        let output = child.wait_with_output().unwrap();
        Run { out: self.normalise(&output.stdout), err: self.normalise(&output.stderr), exit: output.status.code().unwrap_or(-1) }
    }

    fn normalise(&self, bytes: &[u8]) -> String {
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        text.replace(&self.dir.path().display().to_string(), "DIR").replace(env!("CARGO_PKG_VERSION"), "VERSION")
    }

    /// Compares everything so far with the golden file.
    #[track_caller]
    pub(crate) fn matches(self, golden: &str) {
        assert_golden(golden, &self.text);
    }
}

/// Mode bits of a file.
pub(crate) fn mode(path: &Path) -> u32 {
    std::os::unix::fs::MetadataExt::mode(&path.metadata().unwrap()) & 0o7777
}
