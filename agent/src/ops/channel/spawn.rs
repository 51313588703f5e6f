//! How a role comes to its channel.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use reverie_sys::seqpacket;

/// What a role needs of the environment: to find the user's service manager, and to log as it was asked to.
const KEPT_VARIABLES: [&str; 11] = [
    "PATH",
    "HOME",
    "LANG",
    "NO_COLOR",
    "RUST_BACKTRACE",
    "RUST_LOG",
    "KRB5_CONFIG",
    "XDG_RUNTIME_DIR",
    "XDG_CONFIG_HOME",
    "XDG_STATE_HOME",
    "DBUS_SESSION_BUS_ADDRESS",
];

/// Starts `exe --role ROLE ARGS…` with one end of a new channel as its standard input, and returns the other.
///
/// The process ends when the returned end is closed. It is in a process group of its own, so that Ctrl-C reaches
/// the keeper alone and the roles outlive what it still asks of them.
pub fn spawn_role<A: AsRef<OsStr>>(exe: &Path, role: &str, args: &[A]) -> io::Result<OwnedFd> {
    let (ours, theirs) = seqpacket::pair()?;
    let kept = KEPT_VARIABLES.iter().filter_map(|name| Some((name, std::env::var_os(name)?)));
    let mut child = Command::new(exe)
        .arg("--role")
        .arg(role)
        .args(args)
        .env_clear()
        .envs(kept)
        .process_group(0)
        .stdin(Stdio::from(theirs))
        .stdout(Stdio::null())
        .stderr(Stdio::inherit())
        .spawn()?;
    let name = role.to_owned();
    // Only to reap it: what it does is seen on the channel.
    std::thread::Builder::new().name(format!("reap {role}")).stack_size(64 * 1024).spawn(move || match child.wait() {
        Ok(status) if status.success() => tracing::debug!(role = name, "a role ended"),
        Ok(status) => tracing::warn!(role = name, %status, "a role failed"),
        Err(error) => tracing::warn!(role = name, %error, "a role could not be waited for"),
    })?;
    Ok(ours)
}

/// Connects to the socket that systemd listens on for a role (`reverie-agent-ROLE.socket`, `Accept=yes`).
pub fn connect_role(path: &Path) -> io::Result<OwnedFd> {
    seqpacket::connect(path)
}

/// A role's own end: its standard input.
pub fn stdin_channel() -> io::Result<OwnedFd> {
    io::stdin().as_fd().try_clone_to_owned()
}
