//! The mesh for people: is it well, and if not, what is to be done.

use std::time::Duration;

use reverie_core::api::mesh::{HostStatus, MeshStatus};
use reverie_core::mesh::collection::Standing;
use reverie_core::moment::Moment;

use crate::mesh_health::{self, Ailment};
use crate::screen::{GREEN, Paint, RED, RESET, Table, YELLOW, counted, date, fields, plain};
use crate::verb::token::now;

/// Below this it is worth counting the days.
const SOON: Duration = Duration::from_secs(60 * 86_400);

/// `mesh status`.
pub(super) fn status(status: &MeshStatus) -> String {
    status_at(status, now())
}

/// `mesh peers`.
pub(super) fn peers(status: &MeshStatus) -> String {
    peers_at(status, now())
}

fn status_at(status: &MeshStatus, now: Moment) -> String {
    let ailments = mesh_health::examine(status, now);
    let mut text = headline(status, &ailments);
    let mut rows = vec![
        ("mesh", status.mesh.clone().unwrap_or_else(|| "none yet".to_owned())),
        ("trust domain", status.trust_domain.clone()),
        ("this host", format!("{}, {}", status.node_id, status.state)),
    ];
    if status.mesh.is_some() {
        let counts = status.counts.iter().filter(|(_, count)| **count > 0).map(|(name, count)| format!("{name} {count}"));
        rows.extend([
            ("digest", status.digest.clone().unwrap_or_else(|| "-".to_owned())),
            ("records", format!("{} in {}", status.records, size(status.record_bytes))),
            ("live entries", or_none(counts.collect::<Vec<_>>().join(", "))),
            ("wrapping key", wrapping_key(status)),
            ("intermediate", status.intermediate_ends.map_or_else(|| "none".to_owned(), |ends| until(ends, now))),
            ("listens on", or_none(status.listen.join(" "))),
            ("admission", admission(status)),
        ]);
    }
    text += &fields(rows);
    text += &advice(&ailments);
    text
}

fn peers_at(status: &MeshStatus, now: Moment) -> String {
    let ailments = mesh_health::examine(status, now);
    let mut table = Table::new(
        ["HOST", "STANDING", "STATE", "IN SYNC", "CLOCK", "ROUND TRIP", "LAST SYNC", "KEY", "VERSION"],
        "This host is in no mesh: `agentctl mesh init` founds one, `agentctl mesh join` joins one.",
    );
    for host in &status.hosts {
        let cells = [
            host.node_id.to_string(),
            standing(host).to_owned(),
            host.state.clone(),
            in_sync(host).to_owned(),
            host.clock_offset_ms.map_or_else(|| "-".to_owned(), offset),
            host.round_trip_ms.map_or_else(|| "-".to_owned(), |ms| format!("{ms} ms")),
            host.last_sync.map_or_else(|| "-".to_owned(), |at| ago(at, now)),
            host.wrapping_key.map_or_else(|| "-".to_owned(), |version| version.to_string()),
            host.agent_version.clone().unwrap_or_else(|| "-".to_owned()),
        ];
        table.painted(paint(host), cells);
    }
    format!("{}{}{}", headline(status, &ailments), table.render(), advice(&ailments))
}

/// One line that can be read from across the room.
fn headline(status: &MeshStatus, ailments: &[Ailment]) -> String {
    let of = |states: &[&str]| status.hosts.iter().filter(|host| states.contains(&host.state.as_str())).count() as u64;
    let members = status.hosts.iter().filter(|host| host.standing.is_some()).count() as u64;
    let alive = of(&["alive", "self"]);
    let said = match members {
        0 => "no mesh".to_owned(),
        _ => format!("{alive} of {} alive", counted(members, "host", "hosts")),
    };
    let grave = ailments.iter().filter(|ailment| ailment.grave).count() as u64;
    let (colour, word) = match (grave, ailments.len()) {
        (0, 0) if members == 0 => ("", "nothing to see".to_owned()),
        (0, 0) => (GREEN, "well".to_owned()),
        (0, count) => (YELLOW, counted(count as u64, "remark", "remarks")),
        (grave, _) => (RED, format!("not well: {}", counted(grave, "fault", "faults"))),
    };
    format!("{colour}{word}{RESET} · {said}\n\n")
}

fn advice(ailments: &[Ailment]) -> String {
    let one = |Ailment { grave, what, advice, .. }: &Ailment| {
        let (colour, word) = if *grave { (RED, "fault") } else { (YELLOW, "remark") };
        format!("\n{colour}{word}{RESET} {}\n  try: {}\n", plain(what), plain(advice))
    };
    ailments.iter().map(one).collect()
}

fn standing(host: &HostStatus) -> &'static str {
    match host.standing {
        Some(Standing::Authority) => "authority",
        Some(Standing::Member) => "member",
        None => "-",
    }
}

fn in_sync(host: &HostStatus) -> &'static str {
    match (host.state.as_str(), host.in_sync) {
        ("self", _) => "-",
        (_, Some(true)) => "yes",
        (_, Some(false)) => "no",
        (_, None) => "?",
    }
}

fn paint(host: &HostStatus) -> Paint {
    match host.state.as_str() {
        "down" | "no-key" | "not-allowed" => Paint::Red,
        "suspect" | "unknown" => Paint::Yellow,
        "evicted" | "left" => Paint::Dim,
        _ => Paint::None,
    }
}

fn wrapping_key(status: &MeshStatus) -> String {
    match (status.wrapping_key, status.newest_wrapping_key) {
        (Some(have), Some(newest)) if have < newest => format!("version {have}; version {newest} is yet to be pulled"),
        (Some(have), _) => format!("version {have}, the newest"),
        (None, Some(newest)) => format!("none; version {newest} is yet to be pulled"),
        (None, None) => "none".to_owned(),
    }
}

fn admission(status: &MeshStatus) -> String {
    let asked = status.topology_at.map(|at| format!(", by the directory at {}", date(at)));
    match status.admission.as_str() {
        "admissions" => "whomever an authority admitted".to_owned(),
        list => format!("{list}{}", asked.unwrap_or_default()),
    }
}

fn until(at: Moment, now: Moment) -> String {
    match at > now {
        true if at.since(now) < SOON => format!("until {}, for {}", date(at), length(at.since(now))),
        true => format!("until {}", date(at)),
        false => format!("ended {}", date(at)),
    }
}

fn or_none(text: String) -> String {
    if text.is_empty() { "none".to_owned() } else { text }
}

/// Enough of a name in hex to tell two apart; `--json` has all of it.
pub(super) fn short(hex: &str) -> String {
    plain(&hex.chars().take(16).collect::<String>())
}

/// `3 h ago`; a clock that differs a little makes no future.
pub(crate) fn ago(at: Moment, now: Moment) -> String {
    match now.since(at) {
        span if span < Duration::from_secs(1) => "now".to_owned(),
        span => format!("{} ago", length(span)),
    }
}

/// In the one unit that matters.
fn length(span: Duration) -> String {
    let seconds = span.as_secs();
    match seconds {
        0..=119 => format!("{seconds} s"),
        120..=7_199 => format!("{} min", seconds / 60),
        7_200..=172_799 => format!("{} h", seconds / 3_600),
        _ => format!("{} d", seconds / 86_400),
    }
}

/// A clock's difference, with its sign.
fn offset(ms: i64) -> String {
    match ms.unsigned_abs() {
        0..=9_999 => format!("{ms:+} ms"),
        _ => format!("{:+} s", ms / 1000),
    }
}

fn size(bytes: u64) -> String {
    match bytes {
        0..=9_999 => format!("{bytes} bytes"),
        10_000..=9_999_999 => format!("{} kB", bytes / 1000),
        _ => format!("{} MB", bytes / 1_000_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_told_in_the_unit_that_matters() {
        let at = |seconds| ago(Moment::from_secs(0), Moment::from_secs(seconds));
        assert_eq!(
            [at(-5), at(0), at(1), at(119), at(120), at(7_200), at(172_800)],
            ["now", "now", "1 s ago", "119 s ago", "2 min ago", "2 h ago", "2 d ago"]
        );
        assert_eq!([offset(-3), offset(0), offset(31_000)], ["-3 ms", "+0 ms", "+31 s"]);
    }

    #[test]
    fn how_long_an_intermediate_lasts_is_said() {
        let now = Moment::from_secs(1_767_225_600);
        assert_eq!(until(now.after(Duration::from_secs(86_400 * 43)), now), "until 2026-02-13T00:00:00Z, for 43 d");
        assert_eq!(until(now.before(Duration::from_secs(300)), now), "ended 2025-12-31T23:55:00Z");
    }
}
