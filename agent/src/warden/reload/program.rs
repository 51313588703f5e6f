//! A program that is run to its end or to its deadline, whichever comes first.

use std::io::{self, PipeReader, Read};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use reverie_sys::pidfd::PidFd;
use rustix::event::{PollFd, PollFlags, Timespec};

use super::super::failure::{Doing, Failure};

/// How much of what it says is kept, for the error, in bytes.
const MAX_SAID: usize = 4096;

/// How long after SIGKILL a process is waited for: one that is stuck in the kernel is left behind.
const KILL_DEADLINE: Duration = Duration::from_secs(5);

/// Where programs are searched and may search theirs.
pub(super) const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Runs `command` with no input and an environment of `PATH` and what `keep` names.
///
/// It is a success if it exits with 0; otherwise the failure says how it ended and what it said. At the deadline it
/// is killed, with every process it started that did not leave its process group.
pub(super) fn run(command: Command, keep: &[&str], deadline: Duration) -> Result<(), Failure> {
    let shown = command.get_program().to_string_lossy().into_owned();
    match output(command, keep, deadline)? {
        (status, _) if status.success() => Ok(()),
        (status, said) => {
            Err(format!("{shown} {}: {}", describe(status), if said.is_empty() { "it said nothing" } else { &said }).into())
        }
    }
}

/// The same, for its answer: how it ended and what it said.
pub(super) fn output(mut command: Command, keep: &[&str], deadline: Duration) -> Result<(ExitStatus, String), Failure> {
    let shown = command.get_program().to_string_lossy().into_owned();
    let (said, speak) = io::pipe().doing(|| format!("make a pipe for {shown}"))?;
    let speak_too = speak.try_clone().doing(|| format!("make a pipe for {shown}"))?;
    command.env_clear().env("PATH", PATH).current_dir("/").process_group(0);
    command.envs(keep.iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
    command.stdin(Stdio::null()).stdout(speak).stderr(speak_too);
    let mut child = command.spawn().doing(|| format!("start {shown}"))?;
    // It holds our ends of the pipe, which would otherwise never end.
    drop(command);

    let mut heard = Vec::new();
    let ended = listen(&child, said, &mut heard, Instant::now() + deadline);
    let ended = ended.and_then(|ended| if ended { child.try_wait() } else { Ok(None) });
    if !matches!(ended, Ok(Some(_))) {
        kill(&mut child);
    }
    let heard = String::from_utf8_lossy(&heard);
    let heard = heard.trim();
    match ended {
        Ok(Some(status)) => Ok((status, heard.to_owned())),
        Ok(None) => Err(format!(
            "{shown} had not ended after {} s and was killed{}{heard}",
            deadline.as_secs_f32(),
            if heard.is_empty() { "" } else { "; it had said: " }
        )
        .into()),
        Err(error) => Err(format!("could not wait for {shown}: {error}").into()),
    }
}

fn describe(status: ExitStatus) -> String {
    match status.code() {
        Some(code) => format!("failed with status {code}"),
        None => format!("was ended by {status}"),
    }
}

/// Listens until the program ends (true) or the deadline has passed. Children that keep the pipe are not waited for.
fn listen(child: &Child, mut said: PipeReader, heard: &mut Vec<u8>, until: Instant) -> io::Result<bool> {
    let pidfd = PidFd::open(child.id() as i32)?;
    rustix::io::ioctl_fionbio(&said, true)?;
    let mut open = true;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let timeout = Timespec::try_from(left).map_err(|_| io::ErrorKind::InvalidInput)?;
        let mut polled = [PollFd::from_borrowed_fd(pidfd.as_fd(), PollFlags::IN), PollFd::new(&said, PollFlags::IN)];
        // Without its writer the pipe would be ready for ever.
        let watched = if open { &mut polled[..] } else { &mut polled[..1] };
        match rustix::event::poll(watched, Some(&timeout)) {
            Ok(0) => return Ok(false),
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let ended = !polled[0].revents().is_empty();
        if open && (ended || !polled[1].revents().is_empty()) {
            open = hear(&mut said, heard)?;
        }
        if ended {
            return Ok(true);
        }
        if left.is_zero() {
            return Ok(false);
        }
    }
}

/// Takes what is in the pipe now, and keeps the beginning; false once nobody can write to it any more.
fn hear(said: &mut PipeReader, heard: &mut Vec<u8>) -> io::Result<bool> {
    let mut buffer = [0; 4096];
    // Bounded, so that a flood does not keep us from looking at the clock.
    for _ in 0..64 {
        match said.read(&mut buffer) {
            Ok(0) => return Ok(false),
            Ok(read) => heard.extend_from_slice(&buffer[..read.min(MAX_SAID - heard.len())]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(true),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}

/// Kills the whole process group. Its leader has not been waited for, so the number cannot mean another group.
fn kill(child: &mut Child) {
    if let Err(error) = killpg(Pid::from_raw(child.id() as i32), Signal::SIGKILL) {
        tracing::warn!(%error, "a process group could not be killed");
    }
    let reaped = PidFd::open(child.id() as i32).and_then(|pidfd| pidfd.wait_exit(KILL_DEADLINE));
    match reaped {
        Ok(true) => drop(child.wait()),
        Ok(false) => tracing::warn!(pid = child.id(), "a killed program has not ended"),
        Err(error) => tracing::warn!(%error, "a killed program could not be waited for"),
    }
}
