//! What is not well in the mesh, by this host's word, and what to try. `mesh status`, `mesh peers` and `doctor` say it alike.

use std::time::Duration;

use reverie_core::api::mesh::{HostStatus, MeshStatus};
use reverie_core::mesh::collection::Standing;
use reverie_core::moment::Moment;

/// Beyond this a clock is worth a word; NTP keeps it within a tenth.
const CLOCK_REMARK_MS: u64 = 1_000;
/// Beyond this messages are refused and records held back.
const CLOCK_FAULT_MS: u64 = 30_000;
/// A host that is alive is in sync within so long.
const SYNC: Duration = Duration::from_secs(60);
/// The directory is asked every 5 minutes by default.
const TOPOLOGY: Duration = Duration::from_secs(3600);
/// An intermediate lives 60 days and is renewed at half life.
const INTERMEDIATE_REMARK: Duration = Duration::from_secs(14 * 86_400);
const INTERMEDIATE_FAULT: Duration = Duration::from_secs(3 * 86_400);

/// One thing that is not well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ailment {
    /// What is wrong with what; the name of doctor's check.
    pub(crate) check: &'static str,
    /// Something does not work; else it works, but not as it should.
    pub(crate) grave: bool,
    /// What was found.
    pub(crate) what: String,
    /// What to try.
    pub(crate) advice: String,
}

fn fault(check: &'static str, what: impl Into<String>, advice: impl Into<String>) -> Ailment {
    Ailment { check, grave: true, what: what.into(), advice: advice.into() }
}

fn remark(check: &'static str, what: impl Into<String>, advice: impl Into<String>) -> Ailment {
    Ailment { grave: false, ..fault(check, what, advice) }
}

/// Names of the checks, in their order; doctor shows each.
pub(crate) const CHECKS: &[&str] = &[
    "mesh state",
    "mesh peers",
    "mesh sync",
    "mesh clocks",
    "mesh histories",
    "mesh held back",
    "mesh allowlist",
    "mesh directory",
    "mesh intermediate",
    "mesh wrapping key",
    "mesh port",
];

/// What is said where a check finds nothing.
pub(crate) fn well(check: &str, status: &MeshStatus) -> String {
    let hosts = status.hosts.iter().filter(|host| host.standing.is_some()).count() as u64;
    match check {
        "mesh state" => format!("{} of {}", status.state, crate::screen::counted(hosts, "host", "hosts")),
        "mesh peers" => "every host is reached".to_owned(),
        "mesh sync" => "every host that is alive has what this one has".to_owned(),
        "mesh clocks" => "within a second of each other".to_owned(),
        "mesh histories" => "nobody wrote two".to_owned(),
        "mesh held back" => "no record lies in the future".to_owned(),
        "mesh allowlist" => format!("no member is refused ({})", status.admission),
        "mesh directory" => match status.topology_at {
            Some(at) => format!("last asked at {}", crate::screen::date(at)),
            None => "not asked for the topology".to_owned(),
        },
        "mesh intermediate" => match status.intermediate_ends {
            Some(ends) => format!("good until {}", crate::screen::date(ends)),
            None => "none is needed".to_owned(),
        },
        "mesh wrapping key" => {
            status.wrapping_key.map_or_else(|| "none yet".to_owned(), |version| format!("version {version}, the newest"))
        }
        "mesh port" => format!("listens on {}", status.listen.join(" ")),
        _ => String::new(),
    }
}

/// Everything that is not well, the gravest causes first.
pub(crate) fn examine(status: &MeshStatus, now: Moment) -> Vec<Ailment> {
    let mut found = vec![];
    found.extend(state(status));
    if !matches!(status.state.as_str(), "member" | "authority" | "cloned") {
        return found;
    }
    let others = || status.hosts.iter().filter(|host| host.state != "self" && host.standing.is_some());
    found.extend(others().filter_map(unreachable));
    found.extend(others().filter_map(|host| out_of_sync(host, now)));
    found.extend(others().filter_map(clock));
    // What was said against one that is out says why it is out.
    found.extend(status.hosts.iter().filter(|host| host.standing.is_some()).filter_map(evidence));
    found.extend(status.held_back.iter().map(|(author, count)| held_back(author, *count)));
    found.extend(others().filter_map(not_allowed));
    found.extend(directory(status, now));
    found.extend(intermediate(status, now));
    found.extend(wrapping_key(status));
    if status.listen.is_empty() {
        found.push(remark(
            "mesh port",
            "this host listens nowhere: others learn what it says only when it asks them",
            "set `gossip.listen` in the configuration, then reload",
        ));
    }
    found
}

fn state(status: &MeshStatus) -> Option<Ailment> {
    let (what, default) = match status.state.as_str() {
        "joining" => ("this host is joining", "wait; `agentctl mesh join` says what went wrong"),
        "evicted" => {
            ("this host was put out of the mesh", "on an authority: agentctl mesh readmit NODE; here: agentctl mesh join")
        }
        "left" => {
            ("this host has left the mesh", "to come back: agentctl mesh readmit NODE on an authority, agentctl mesh join here")
        }
        "cloned" => (
            "another copy of this host wrote on: this one was restored or copied, and has stopped writing",
            "switch the other copy off, then: agentctl mesh resume",
        ),
        "refused" => (
            "others refuse this host, and it hears nothing of the mesh any more",
            "agentctl mesh peers on the other host says why",
        ),
        _ => return None,
    };
    let advice = status.advice.clone().unwrap_or_else(|| default.to_owned());
    let grave = status.state != "joining" && status.state != "left";
    Some(Ailment { grave, ..fault("mesh state", what, advice) })
}

fn unreachable(host: &HostStatus) -> Option<Ailment> {
    let name = &host.node_id;
    let at = host
        .addresses
        .first()
        .map_or("ADDRESS PORT".to_owned(), |address| address.replacen(':', " ", usize::from(address.matches(':').count() == 1)));
    let why = host.last_error.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
    let tried = match host.failures {
        0 => String::new(),
        1 => ", 1 attempt failed".to_owned(),
        count => format!(", {count} attempts failed"),
    };
    let advice = format!(
        "there: systemctl status reverie-agent; from here: nc -vz {at}; if it will not come back: agentctl mesh evict {name}"
    );
    match host.state.as_str() {
        "down" => Some(fault("mesh peers", format!("{name} is down{tried}{why}"), advice)),
        "suspect" => Some(remark("mesh peers", format!("{name} has not answered lately{tried}{why}"), advice)),
        "unknown" if host.failures > 0 => Some(fault("mesh peers", format!("{name} was never reached{tried}{why}"), advice)),
        "no-key" => Some(remark(
            "mesh peers",
            format!("{name} has registered no key yet, so nothing can be sent to it"),
            format!("there: agentctl mesh join, with a token from: agentctl mesh readmit {name}"),
        )),
        // Alive by the word of others, but not for us: a link that works one way.
        "alive" if host.failures >= 3 => {
            Some(remark("mesh peers", format!("{name} is alive, but not reached from here{tried}{why}"), advice))
        }
        _ => None,
    }
}

fn out_of_sync(host: &HostStatus, now: Moment) -> Option<Ailment> {
    let stale = host.last_sync.is_none_or(|at| now.since(at) > SYNC);
    match (host.state.as_str(), host.in_sync) {
        ("alive", Some(false)) if stale => Some(fault(
            "mesh sync",
            format!("{} is alive, but lacks some of what this host has", host.node_id),
            format!("compare the digests: agentctl mesh status here and on {}; its log says what it refuses", host.node_id),
        )),
        _ => None,
    }
}

fn clock(host: &HostStatus) -> Option<Ailment> {
    let offset = host.clock_offset_ms?;
    let side = if offset > 0 { "ahead of" } else { "behind" };
    let what = format!("the clock of {} is {:.1} s {side} ours", host.node_id, offset.unsigned_abs() as f64 / 1000.0);
    let advice = "on the one that is wrong: chronyc tracking, chronyc makestep, or timedatectl";
    match offset.unsigned_abs() {
        ms if ms > CLOCK_FAULT_MS => {
            Some(fault("mesh clocks", format!("{what}: its messages are refused, its records held back"), advice))
        }
        ms if ms > CLOCK_REMARK_MS => Some(remark("mesh clocks", what, advice)),
        _ => None,
    }
}

fn evidence(host: &HostStatus) -> Option<Ailment> {
    let first = host.evidence.first()?;
    let more = if host.evidence.len() > 1 { format!(" (and {} more)", host.evidence.len() - 1) } else { String::new() };
    Some(fault(
        "mesh histories",
        format!("evidence against {}: {first}{more}", host.node_id),
        format!("two hosts write as one, or its key was stolen: find out which, then agentctl mesh evict {}", host.node_id),
    ))
}

fn held_back(author: &str, count: u64) -> Ailment {
    let records = crate::screen::counted(count, "record", "records");
    remark(
        "mesh held back",
        format!("{records} of {author} lie in the future and do not count yet"),
        format!("set the clock of {author} right: chronyc tracking, chronyc makestep"),
    )
}

fn not_allowed(host: &HostStatus) -> Option<Ailment> {
    (host.state == "not-allowed").then(|| {
        fault(
            "mesh allowlist",
            format!("{} is a member, but not on this host's list: it is refused here", host.node_id),
            format!(
                "add it to `gossip.allowed_node_ids` or to the topology, or put it out: agentctl mesh evict {}",
                host.node_id
            ),
        )
    })
}

fn directory(status: &MeshStatus, now: Moment) -> Option<Ailment> {
    let advice = "check `gossip.ipa_ldap_uris` and that the directory answers: ldapsearch -x -H URI -s base";
    match (&status.topology_error, status.topology_at) {
        (Some(error), None) => {
            Some(fault("mesh directory", format!("the topology was never learnt, so its hosts are refused: {error}"), advice))
        }
        (Some(error), Some(at)) => {
            Some(remark("mesh directory", format!("the topology is that of {}: {error}", crate::screen::date(at)), advice))
        }
        (None, Some(at)) if now.since(at) > TOPOLOGY => {
            Some(remark("mesh directory", format!("the topology is that of {}", crate::screen::date(at)), advice))
        }
        _ => None,
    }
}

fn intermediate(status: &MeshStatus, now: Moment) -> Option<Ailment> {
    let ends = status.intermediate_ends?;
    let left = ends.since(now);
    let reachable =
        |host: &HostStatus| host.standing == Some(Standing::Authority) && matches!(host.state.as_str(), "self" | "alive");
    let has_authority = status.hosts.iter().any(reachable);
    let what = match left.is_zero() {
        true => format!("this host's intermediate ended at {}: it issues nothing", crate::screen::date(ends)),
        false => format!("this host's intermediate ends at {}", crate::screen::date(ends)),
    };
    let (what, advice) = match has_authority {
        true => (what, "an authority is reachable and renews it: if it does not, journalctl -u reverie-agent says why"),
        false => (
            format!("{what}, and no authority is reachable to renew it"),
            "bring an authority back, or the way to it; with none left: agentctl mesh promote, on an authority restored from its backup",
        ),
    };
    match left {
        left if left < INTERMEDIATE_FAULT => Some(fault("mesh intermediate", what, advice)),
        left if left < INTERMEDIATE_REMARK => Some(remark("mesh intermediate", what, advice)),
        _ => None,
    }
}

fn wrapping_key(status: &MeshStatus) -> Option<Ailment> {
    let newest = status.newest_wrapping_key?;
    (status.wrapping_key < Some(newest)).then(|| {
        remark(
            "mesh wrapping key",
            format!("version {newest} of the wrapping key is not here yet"),
            "it is pulled from any host that has it: agentctl mesh peers shows who is reachable",
        )
    })
}
