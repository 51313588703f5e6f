//! What can go wrong between two processes, in words.

use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;

use reverie_core::api::Surface;
use reverie_core::moment::Span;

use crate::failure::{Exit, Failure, reason};
use crate::layout::Layout;

pub(super) fn connecting(layout: &Layout, surface: Surface, error: &std::io::Error) -> Failure {
    let socket = layout.socket(surface).display();
    let start = layout.systemctl("start");
    match (error.kind(), surface) {
        (ErrorKind::NotFound, _) => Failure::new(Exit::Unavailable, format_args!("there is no agent at {socket}"))
            .advise(format_args!("start it ({start}), or say where it is with --run-dir or REVERIE_RUN")),
        (ErrorKind::ConnectionRefused, _) => {
            Failure::new(Exit::Unavailable, format_args!("nothing listens on {socket}: the agent is not running"))
                .advise(format_args!("start it: {start}"))
        }
        (ErrorKind::PermissionDenied, Surface::Admin) => {
            Failure::new(Exit::NotPermitted, format_args!("you may not use the administrators' socket {socket}"))
                .advise("run it as root, or join the group: sudo usermod -aG reverie-admin \"$USER\", then log in again")
        }
        (ErrorKind::PermissionDenied, Surface::Local) => {
            Failure::new(Exit::NotPermitted, format_args!("you may not open {socket}")).advise(format_args!(
                "every local process may by default: look at it with ls -ld {socket}, or run `agentctl doctor`"
            ))
        }
        (ErrorKind::InvalidInput, _) => {
            Failure::new(Exit::Usage, format_args!("{socket} is too long for a unix socket (107 bytes)"))
                .advise("use a shorter run directory")
        }
        _ => Failure::new(Exit::Unavailable, format_args!("cannot reach the agent at {socket}: {}", reason(error)))
            .advise("`agentctl doctor` says what is wrong"),
    }
}

pub(super) fn too_slow(socket: &Path, after: Duration) -> Failure {
    Failure::new(Exit::TempFail, format_args!("the agent at {} did not answer within {}", socket.display(), Span(after)))
        .advise("try again, give it longer with --timeout, or run `agentctl doctor`")
}

pub(super) fn broken(socket: &Path, why: &hyper::Error) -> Failure {
    let what = if why.is_parse() || why.is_parse_status() || why.is_parse_too_large() {
        format!("what listens on {} does not speak HTTP/1.1: {why}", socket.display())
    } else {
        format!("the agent at {} ended the connection before it had answered", socket.display())
    };
    match why.is_parse() {
        true => Failure::new(Exit::Internal, what).advise("check the path of the socket"),
        false => Failure::new(Exit::TempFail, what)
            .advise("try again; if it happens again, read the agent's log: journalctl -u reverie-agent"),
    }
}

pub(super) fn too_large(socket: &Path, limit: usize) -> Failure {
    let what = format!("the answer of the agent at {} is larger than {} MiB and was dropped", socket.display(), limit >> 20);
    Failure::new(Exit::Internal, what).advise("compare versions with `agentctl doctor`; this should not happen")
}

pub(super) fn unreadable(socket: &Path, why: &str) -> Failure {
    Failure::new(Exit::Internal, format_args!("the answer of the agent at {} cannot be understood: {why}", socket.display()))
        .advise("agentctl and the agent may differ in version: `agentctl doctor`")
}
