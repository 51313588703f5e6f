//! A reload by a signal to the process that a pidfile names, if it is one that the rule means.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;

use reverie_core::caller;
use reverie_sys::pidfd::PidFd;
use rustix::fs::{CWD, Mode, OFlags};
use rustix::process::Signal;

use super::super::cgroup;
use super::super::failure::{Doing, Failure};

/// Signals by which programs reload. None of them forces a process to end or to stop.
const RELOADING: [Signal; 4] = [Signal::HUP, Signal::USR1, Signal::USR2, Signal::WINCH];

/// PostgreSQL writes a few lines after the pid.
const MAX_PIDFILE: u64 = 4096;
const MAX_STATUS: u64 = 64 * 1024;

pub(super) fn send(signal: i32, pidfile: &str, unit: Option<&str>, uid: Option<u32>) -> Result<(), Failure> {
    let signal = RELOADING
        .into_iter()
        .find(|allowed| allowed.as_raw() == signal)
        .ok_or_else(|| format!("signal {signal} is none by which a program reloads; use HUP, USR1, USR2 or WINCH"))?;
    if unit.is_none() && uid.is_none() {
        return Err("a signal needs a unit or a uid that the process must have; add one to the rule".into());
    }
    let (pid, owner) = read_pidfile(pidfile)?;
    let pidfd = PidFd::open(pid).doing(|| format!("find process {pid} of {pidfile}; is the service running?"))?;
    check_process(pid, pidfile, owner, unit, uid)?;
    // All this was read through the pid, so it is only true of the process behind the pidfd if that still lives.
    if !pidfd.is_alive().doing(|| format!("ask whether process {pid} is alive"))? {
        return Err(format!("process {pid} of {pidfile} ended while it was looked at").into());
    }
    pidfd.send_signal(signal).doing(|| format!("signal process {pid} of {pidfile} (of another user it takes CAP_KILL)"))
}

/// The pid, and who wrote it.
fn read_pidfile(path: &str) -> Result<(i32, u32), Failure> {
    if !path.starts_with('/') {
        return Err(format!("the pidfile {path:?} must be an absolute path").into());
    }
    // NONBLOCK: a FIFO in its place must not hold us up.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    let doing = || format!("read the pidfile {path}");
    let file = File::from(rustix::fs::openat(CWD, path, flags, Mode::empty()).doing(doing)?);
    let metadata = file.metadata().doing(doing)?;
    if !metadata.is_file() {
        return Err(format!("the pidfile {path} is not a file").into());
    }
    if metadata.mode() & 0o002 != 0 {
        return Err(format!("the pidfile {path} can be written by everybody; run: chmod o-w {path}").into());
    }
    let mut text = String::new();
    file.take(MAX_PIDFILE).read_to_string(&mut text).doing(doing)?;
    let pid = text.lines().next().and_then(|line| line.trim().parse().ok()).filter(|pid: &i32| *pid > 1);
    let pid = pid.ok_or_else(|| format!("the first line of the pidfile {path} is not the number of a process"))?;
    Ok((pid, metadata.uid()))
}

fn check_process(pid: i32, pidfile: &str, owner: u32, unit: Option<&str>, uid: Option<u32>) -> Result<(), Failure> {
    let (real, effective) = read_uids(pid)?;
    if owner != 0 && owner != effective {
        return Err(format!("the pidfile {pidfile} belongs to uid {owner}, and process {pid} to uid {effective}; it must be root's or the service's own").into());
    }
    if let Some(unit) = unit {
        let cgroup = cgroup::read(pid).doing(|| format!("read the cgroup of process {pid}"))?;
        let actual = cgroup.as_deref().and_then(caller::system_unit).unwrap_or("no system unit");
        if actual != unit {
            return Err(format!("process {pid} of {pidfile} is in {actual}, not in {unit}; check both in the rule").into());
        }
    }
    // A setuid program that somebody started has that one's real uid.
    if let Some(uid) = uid
        && (real, effective) != (uid, uid)
    {
        return Err(format!(
            "process {pid} of {pidfile} runs as uid {effective} (started by {real}), not {uid}; check both in the rule"
        )
        .into());
    }
    Ok(())
}

/// Real and effective uid.
fn read_uids(pid: i32) -> Result<(u32, u32), Failure> {
    let doing = || format!("read the owner of process {pid}");
    let mut text = String::new();
    File::open(format!("/proc/{pid}/status")).and_then(|file| file.take(MAX_STATUS).read_to_string(&mut text)).doing(doing)?;
    let line = text.lines().find_map(|line| line.strip_prefix("Uid:")).unwrap_or_default();
    let mut numbers = line.split_ascii_whitespace().map_while(|number| number.parse().ok());
    match (numbers.next(), numbers.next()) {
        (Some(real), Some(effective)) => Ok((real, effective)),
        _ => Err(format!("could not {}", doing()).into()),
    }
}
