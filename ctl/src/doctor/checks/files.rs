//! Directories, room, and the audit log.

use crate::doctor::Facts;
use crate::doctor::finding::{Found, fail, ok, skipped, warn};
use crate::doctor::view::View;
use crate::screen::counted;

/// Less free space than this is too little for the store to grow and be compacted.
const LITTLE_ROOM: u64 = 100 << 20;

pub(super) fn run_directory_is_sound(facts: &Facts) -> Found {
    let Some(run) = &facts.run else {
        return fail("it does not exist", format!("start the agent: {}", facts.layout.systemctl("start")));
    };
    if run.mode & 0o022 != 0 && run.mode & 0o1000 == 0 {
        return fail(
            format!("{} has mode {:04o}: others can swap files in it", run.path, run.mode & 0o7777),
            format!("chmod go-w {}", run.path),
        );
    }
    let expected = match facts.layout.scope {
        crate::layout::Scope::System => 0,
        crate::layout::Scope::User => nix::unistd::geteuid().as_raw(),
    };
    if run.uid != expected && run.uid != 0 {
        return fail(
            format!("{} belongs to uid {}, not to uid {expected}", run.path, run.uid),
            "install tmpfiles.d/reverie.conf and run systemd-tmpfiles --create",
        );
    }
    match run.on_tmpfs {
        true => ok(format!("{} is on a tmpfs", run.path)),
        false => warn(
            format!("{} is not on a tmpfs: private keys reach the disk", run.path),
            "put `paths.run` under /run or $XDG_RUNTIME_DIR",
        ),
    }
}

pub(super) fn view_answers(facts: &Facts) -> Found {
    let again = "systemctl kill --signal=KILL 'reverie-agent-view@*': another one is started";
    let log = "journalctl --unit='reverie-agent-view@*' --unit=reverie-agent.service says why; it is mounted anew by itself, or by \
               systemctl restart reverie-agent.service";
    match (&facts.view, facts.kernel) {
        (View::Unwanted, _) => ok("not asked for"),
        (View::Answers, _) => ok("it is mounted, and answers"),
        (_, Some(kernel)) if kernel < (6, 5) => fail(
            format!("Linux {}.{} cannot have it: readers are known by pidfd from 6.5 on", kernel.0, kernel.1),
            "read published files: give the identities `files`, and set `enabled = false` under [view]",
        ),
        (View::NotMounted, _) => fail("it is asked for, and nothing is mounted", log),
        (View::Dead, _) => fail("what is mounted is dead: readers get errors", log),
        (View::Hangs, _) => fail("it does not answer, and holds up who reads there", again),
    }
}

pub(super) fn leaves_no_generations(facts: &Facts) -> Found {
    match facts.stale_generations.as_slice() {
        [] => ok("no old files lie around"),
        stale => warn(
            format!(
                "{} left behind, e.g. {}",
                counted(stale.len() as u64, "old generation of files was", "old generations of files were"),
                stale[0]
            ),
            format!("restart the agent, which removes them: {}", facts.layout.systemctl("restart")),
        ),
    }
}

pub(super) fn has_room(facts: &Facts) -> Found {
    let Some((free, total)) = facts.disk else { return skipped("the store's directory cannot be looked at") };
    let shown = format!("{} MiB of {} MiB free for the store", free >> 20, total >> 20);
    match free {
        _ if free < LITTLE_ROOM / 10 => fail(format!("{shown}: nothing is issued when it is full"), "make room on that disk"),
        _ if free < LITTLE_ROOM || free < total / 50 => warn(shown, "make room on that disk"),
        _ => ok(shown),
    }
}

pub(super) fn audit_log_is_readable(facts: &Facts) -> Found {
    match &facts.audit_directory {
        None => skipped("its directory cannot be looked at"),
        Some((_, None)) => ok("for the agent's user and root"),
        Some((directory, Some(gid))) if directory.gid == *gid && directory.mode & 0o050 == 0o050 => ok("for administrators"),
        Some((directory, Some(_))) => warn(
            format!("{} cannot be read by the group of administrators", directory.path),
            "make the agent's user a member of that group and restart it; `agentctl audit` works all the same",
        ),
    }
}

pub(super) fn audit_chain_is_whole(facts: &Facts) -> Found {
    match &facts.audit {
        None => skipped("not known without the admin socket"),
        Some(Err(failure)) => fail(&failure.what, failure.advice.as_deref().unwrap_or("agentctl audit verify")),
        Some(Ok(verdict)) => match verdict.report.faults.first() {
            None => ok(format!("whole up to event {}", verdict.report.head.seq)),
            Some(fault) => fail(
                format!("{fault} ({})", counted(verdict.report.faults.len() as u64, "fault", "faults")),
                "`agentctl audit verify` lists them all; keep a copy of the files before anything else",
            ),
        },
    }
}
