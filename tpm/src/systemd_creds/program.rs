//! Runs another program on pipes: secrets in by stdin, out by stdout, with a deadline and bounds.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use zeroize::{Zeroize, Zeroizing};

const MAX_STDERR: usize = 16 * 1024;
const CHUNK: usize = 4096;

/// One call at a time: a TPM without a resource manager has room for three sessions, and no more is ever gained.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

#[derive(Debug)]
pub(super) enum RunError {
    /// Not started; the error says whether it is absent or forbidden.
    NotStarted(io::Error),
    /// Killed at the deadline.
    Timeout,
    /// Killed because it wrote more than it may.
    Flood,
    /// The pipes failed.
    Pipe(io::Error),
}

pub(super) struct Finished {
    pub(super) status: ExitStatus,
    pub(super) stdout: Zeroizing<Vec<u8>>,
    pub(super) stderr: String,
}

/// Runs `program` with a bare environment (systemd-creds takes orders from variables: where the host key is, and
/// whether to check names at all), `input` on its stdin, and at most `max_output` bytes of stdout.
pub(super) fn run(
    program: &Path,
    args: &[String],
    input: &[u8],
    max_output: usize,
    deadline: Duration,
) -> Result<Finished, RunError> {
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let until = Instant::now() + deadline;
    let child = Command::new(program)
        .args(args)
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .env("LC_ALL", "C")
        .env("SYSTEMD_LOG_TARGET", "console")
        .env("SYSTEMD_LOG_LEVEL", "info")
        .env("SYSTEMD_LOG_COLOR", "0")
        .env("SYSTEMD_LOG_LOCATION", "0")
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .map_err(RunError::NotStarted)?;
    let mut child = KillOnDrop(child);
    let mut stdin = child.0.stdin.take().map(|pipe| non_blocking(pipe.into())).transpose()?;
    let mut stdout = child.0.stdout.take().map(|pipe| non_blocking(pipe.into())).transpose()?;
    let mut stderr = child.0.stderr.take().map(|pipe| non_blocking(pipe.into())).transpose()?;
    // Allocated once: a vector that grows leaves copies of the secret behind.
    let mut out = Zeroizing::new(Vec::with_capacity(max_output + CHUNK));
    let mut err = Vec::new();
    let mut unsent = input;

    while stdout.is_some() || stderr.is_some() {
        wait_for(stdin.as_ref(), [stdout.as_ref(), stderr.as_ref()], until)?;
        if let Some(pipe) = &mut stdin {
            match pipe.write(unsent) {
                Ok(sent) => unsent = &unsent[sent..],
                Err(error) if is_later(&error) => {}
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => unsent = &[],
                Err(error) => return Err(RunError::Pipe(error)),
            }
            if unsent.is_empty() {
                stdin = None;
            }
        }
        drain(&mut stdout, &mut out, max_output)?;
        drain(&mut stderr, &mut err, MAX_STDERR)?;
    }
    drop(stdin);
    let status = child.wait_until(until)?;
    Ok(Finished { status, stdout: out, stderr: String::from_utf8_lossy(&err).into_owned() })
}

fn non_blocking(pipe: OwnedFd) -> Result<File, RunError> {
    fcntl(&pipe, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).map_err(|errno| RunError::Pipe(errno.into()))?;
    Ok(File::from(pipe))
}

fn is_later(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

fn wait_for(writer: Option<&File>, readers: [Option<&File>; 2], until: Instant) -> Result<(), RunError> {
    let left = until.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(RunError::Timeout);
    }
    let mut fds: Vec<PollFd<'_>> =
        readers.into_iter().flatten().map(|pipe| PollFd::new(pipe.as_fd(), PollFlags::POLLIN)).collect();
    fds.extend(writer.map(|pipe| PollFd::new(pipe.as_fd(), PollFlags::POLLOUT)));
    let millis = u16::try_from(left.as_millis() + 1).unwrap_or(u16::MAX);
    match poll(&mut fds, PollTimeout::from(millis)) {
        Ok(_) | Err(nix::errno::Errno::EINTR) => Ok(()),
        Err(errno) => Err(RunError::Pipe(errno.into())),
    }
}

/// Moves what is there from `pipe` to `into`; closes the pipe at its end.
fn drain(pipe: &mut Option<File>, into: &mut Vec<u8>, max: usize) -> Result<(), RunError> {
    let Some(open) = pipe else { return Ok(()) };
    let mut chunk = [0; CHUNK];
    let result = loop {
        match open.read(&mut chunk) {
            Ok(0) => {
                *pipe = None;
                break Ok(());
            }
            Ok(len) if into.len() + len > max => break Err(RunError::Flood),
            Ok(len) => into.extend_from_slice(&chunk[..len]),
            Err(error) if is_later(&error) => break Ok(()),
            Err(error) => break Err(RunError::Pipe(error)),
        }
    };
    chunk.zeroize();
    result
}

/// Ends the child and all that it started, however the call ends.
struct KillOnDrop(Child);

impl KillOnDrop {
    fn wait_until(&mut self, until: Instant) -> Result<ExitStatus, RunError> {
        loop {
            if let Some(status) = self.0.try_wait().map_err(RunError::Pipe)? {
                return Ok(status);
            }
            if Instant::now() >= until {
                return Err(RunError::Timeout);
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Drop for KillOnDrop {
    fn drop(&mut self) {
        // Once it is reaped its number may be another's.
        if let Ok(None) = self.0.try_wait() {
            if let Ok(pid) = i32::try_from(self.0.id()) {
                let _ = killpg(Pid::from_raw(pid), Signal::SIGKILL);
            }
            let _ = self.0.wait();
        }
    }
}
