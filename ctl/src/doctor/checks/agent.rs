//! The agent itself.

use reverie_core::api::admin::TunnelStatus;

use crate::doctor::Facts;
use crate::doctor::finding::{Found, fail, ok, skipped, warn};
use crate::failure::{Exit, Failure};
use crate::screen::counted;

const NO_STATUS: &str = "not known without the admin socket";

fn failed(failure: &Failure) -> Found {
    fail(&failure.what, failure.advice.as_deref().unwrap_or("start the agent, then run `agentctl doctor` again"))
}

pub(super) fn is_reachable(facts: &Facts) -> Found {
    match &facts.agent {
        Ok(()) => ok(format!("answers on {}", facts.layout.agent_socket.display())),
        Err(failure) => failed(failure),
    }
}

pub(super) fn serves_workloads(facts: &Facts) -> Found {
    match (&facts.agent, &facts.workload) {
        (Err(_), _) => skipped("not known without the agent"),
        (Ok(()), Ok(())) => {
            ok(format!("SPIFFE libraries and Envoy are answered on {}", facts.layout.workload_socket().display()))
        }
        (Ok(()), Err(why)) => warn(
            format!("SPIFFE libraries and Envoy reach nobody on {}: {why}", facts.layout.workload_socket().display()),
            facts.layout.systemctl("restart") + ", with reverie-agent-workload.socket enabled",
        ),
    }
}

pub(super) fn grants_administration(facts: &Facts) -> Found {
    match &facts.status {
        Ok(_) => ok("you are an administrator"),
        Err(failure) if failure.exit == Exit::NotPermitted => warn(
            "you are no administrator: what only they can see was not checked",
            "run it as root, or join the group: sudo usermod -aG reverie-admin \"$USER\", then log in again",
        ),
        Err(failure) => failed(failure),
    }
}

pub(super) fn has_our_version(facts: &Facts) -> Found {
    match &facts.status {
        Err(_) => skipped(NO_STATUS),
        Ok(status) if status.version == facts.version => ok(format!("agent and agentctl are {}", status.version)),
        Ok(status) => warn(
            format!("the agent is {}, agentctl is {}", status.version, facts.version),
            format!("start the new one: {}", facts.layout.systemctl("restart")),
        ),
    }
}

pub(super) fn has_no_alarms(facts: &Facts) -> Found {
    let Ok(status) = &facts.status else { return skipped(NO_STATUS) };
    match status.alarms.as_slice() {
        [] if status.ready => ok("none, and it can issue"),
        [] => fail("it cannot issue now", "read its log: journalctl -u reverie-agent"),
        [alarm] => fail(format!("{}: {}", alarm.subject, alarm.message), "`agentctl status` shows since when"),
        [alarm, more @ ..] => {
            fail(format!("{}: {} (and {} more)", alarm.subject, alarm.message, more.len()), "`agentctl status` shows all of them")
        }
    }
}

pub(super) fn carries_its_tunnels(facts: &Facts) -> Found {
    let Some(all) = &facts.tunnels else { return skipped(NO_STATUS) };
    let wrong = |tunnel: &TunnelStatus| match (&tunnel.trouble, &tunnel.certificate) {
        (Some(why), _) => Some(format!("{}: {why}", tunnel.name)),
        (None, None) => Some(format!("{}: the identity {:?} has no certificate to show", tunnel.name, tunnel.identity)),
        (None, Some(_)) => None,
    };
    let wrong: Vec<String> = all.tunnels.iter().filter_map(wrong).collect();
    match (wrong.is_empty(), all.tunnels.len()) {
        (true, 0) => ok("none is declared"),
        (true, count) => ok(format!("{}, all of which listen", counted(count as u64, "tunnel", "tunnels"))),
        (false, _) => fail(wrong.join("; "), "`agentctl tunnel list` shows each, `agentctl status` since when"),
    }
}

pub(super) fn is_sealed_well(facts: &Facts) -> Found {
    let Ok(status) = &facts.status else { return skipped(NO_STATUS) };
    match (status.seal.mode.as_str(), facts.has_tpm) {
        ("file", true) => warn(
            "the root secret lies in a key file, though this machine has a TPM",
            "reverie-agent seal renew --mode tpm2, with the same in `[seal] mode`",
        ),
        ("file", false) => warn(
            "the root secret lies in a key file: whoever can read the disk has it",
            "give the machine a TPM, or run the agent as a system service, which can use the host key",
        ),
        ("host", true) => warn(
            "sealed with the host key alone, though this machine has a TPM",
            "reverie-agent seal renew --mode host+tpm2, with the same in `[seal] mode`",
        ),
        ("systemd", _) => warn(
            "systemd opened the root secret and did not say how it is sealed",
            "reverie-agent seal show, as root; LoadCredential=reverie-root.json: in the unit hands that record over too",
        ),
        (mode, _) => ok(format!("sealed by {mode}")),
    }
}

pub(super) fn pins_callers(facts: &Facts) -> Found {
    let kernel = facts.kernel.map_or_else(|| "this kernel".to_owned(), |(major, minor)| format!("Linux {major}.{minor}"));
    let pinned = match (&facts.status, facts.kernel) {
        (Ok(status), _) => status.pidfd_attestation,
        (Err(_), Some(version)) => version >= (6, 5),
        (Err(_), None) => return skipped("the kernel's version is not known"),
    };
    match pinned {
        true => ok(format!("{kernel} pins every caller by pidfd")),
        false => warn(
            format!("{kernel} cannot pin a caller: only uid and gid selectors match, unit and exe never do"),
            "run Linux 6.5 or newer; on Debian 12: apt install -t bookworm-backports linux-image-amd64",
        ),
    }
}

pub(super) fn locks_memory(facts: &Facts) -> Found {
    match &facts.status {
        Err(_) => skipped(NO_STATUS),
        Ok(status) if status.memory_locked => ok("keys are in locked memory"),
        Ok(_) => warn(
            "the agent's memory is not locked: keys may reach the swap",
            "raise the limit (LimitMEMLOCK=infinity in the unit, or ulimit -l), or encrypt the swap",
        ),
    }
}
