//! An agent of our own, in a scratch directory: for `demo` and for benchmarks.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use reverie_core::api::Operation;
use reverie_core::api::local::Whoami;

use crate::client::{Call, Client};
use crate::failure::{Exit, Failure};

/// How long an agent may take to start, and files to appear.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Waits until the agent answers.
pub(crate) async fn answered(client: &Client) -> Result<Whoami, Failure> {
    let until = Instant::now() + PATIENCE;
    loop {
        match client.call(Call::of(Operation::Whoami)).await {
            Err(_) if Instant::now() < until => tokio::time::sleep(Duration::from_millis(20)).await,
            answer => return answer,
        }
    }
}

/// A directory that goes away with everything in it.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn new(name: &str) -> Result<Self, Failure> {
        let template = std::env::temp_dir().join(format!("{name}.XXXXXX"));
        let made = nix::unistd::mkdtemp(&template);
        Ok(Self(made.map_err(|error| Failure::writing(&template, &error.into()))?))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A process that ends when this does.
pub(crate) struct Agent(Child);

impl Agent {
    /// `configuration` is written to `place`. `program` is `reverie-agent` beside this one by default, else on the PATH.
    pub(crate) fn start(program: Option<PathBuf>, place: &Path, configuration: &str) -> Result<Self, Failure> {
        let beside = std::env::current_exe().ok().map(|own| own.with_file_name("reverie-agent")).filter(|path| path.exists());
        let program = program.or(beside).unwrap_or_else(|| PathBuf::from("reverie-agent"));
        let config = place.join("agent.toml");
        fs::write(&config, configuration).map_err(|error| Failure::writing(&config, &error))?;
        let mut command = Command::new(&program);
        let log = place.join("log");
        let log = fs::File::create(&log).map_err(|error| Failure::writing(&log, &error))?;
        command.arg("--config").arg(&config).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        for variable in ["NOTIFY_SOCKET", "LISTEN_FDS", "LISTEN_PID", "CREDENTIALS_DIRECTORY", "WATCHDOG_USEC"] {
            command.env_remove(variable);
        }
        let child = command.spawn().map_err(|error| {
            Failure::new(Exit::NoInput, format_args!("cannot start {}: {}", program.display(), crate::failure::reason(&error)))
                .advise("name the program with --agent FILE")
        })?;
        Ok(Self(child))
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.0.id()).unwrap_or(0));
        let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM);
        let until = Instant::now() + Duration::from_secs(15);
        while Instant::now() < until && matches!(self.0.try_wait(), Ok(None)) {
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
