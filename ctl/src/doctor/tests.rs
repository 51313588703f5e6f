//! Each check against a host that is sound, then against one with a single thing wrong.

use reverie_core::api::admin::{Alarm, ConfigStatus, IssuerStatus, SealStatus, Status};
use reverie_core::api::{Code, Problem};
use reverie_core::moment::Moment;
use reverie_core::renewal::Validity;

use super::facts::{Declared, Directory};
use super::view::View;
use super::*;
use crate::failure::{Exit, Failure};
use crate::layout::{Layout, Scope};

pub(super) const NOW: Moment = Moment::from_secs(1_800_000_000);

pub(super) const fn days(days: i64) -> Moment {
    Moment::from_secs(1_800_000_000 + days * 86_400)
}

fn issuer() -> IssuerStatus {
    let (not_before, not_after) = (days(-10), days(50));
    IssuerStatus { fingerprint: "ab".repeat(32), state: "signing".into(), not_before, not_after, root: None }
}

fn status() -> Status {
    Status {
        version: "1.0.0".into(),
        trust_domain: "example.org".into(),
        node_id: "host1.example.org".into(),
        started_at: days(-1),
        pid: 1,
        ready: true,
        alarms: vec![],
        seal: SealStatus { mode: "host+tpm2".into(), pcrs: vec![7], remark: None },
        pidfd_attestation: true,
        memory_locked: true,
        roots: vec![issuer()],
        intermediates: vec![issuer()],
        identities: 1,
        secrets: Some(0),
        run: "/run/reverie".into(),
        audit_seq: 12,
        config: ConfigStatus { files: vec!["/etc/reverie/agent.toml".into()], loaded_at: days(-1), refused: None },
    }
}

fn identity(json: serde_json::Value) -> reverie_core::api::admin::AllIdentities {
    serde_json::from_value(serde_json::json!({ "identities": [{
        "name": "web", "spiffe_id": "spiffe://example.org/svc/web", "hint": null, "dns": [], "ip": [], "key": "p256", "ttl": "7d",
        "files": "/run/reverie/certs/web", "certificate": json, "selectors": [], "declared_at": "a:1:1", "verified": null }] }))
    .unwrap()
}

fn certificate(renew_at: Moment, not_after: Moment) -> serde_json::Value {
    serde_json::json!({ "serial": "40", "not_before": days(-7), "not_after": not_after, "renew_at": renew_at, "revoked_at": null, "generation": 1 })
}

fn verdict(faults: serde_json::Value) -> reverie_core::api::admin::AuditVerdict {
    serde_json::from_value(serde_json::json!({ "public_key": "", "signed": null, "report": {
        "events": 12, "first": 1, "head": { "seq": 12, "hash": "0".repeat(64) }, "faults": faults } }))
    .unwrap()
}

fn tunnels(trouble: Option<&str>, certificate: Option<&str>) -> reverie_core::api::admin::Tunnels {
    serde_json::from_value(serde_json::json!({ "tunnels": [{
        "name": "cache", "identity": "web", "accept": "unix", "connect": "tls:db:7443", "peers": [], "certificate": certificate,
        "trouble": trouble, "open": 0, "established": 0, "refused": {}, "withdrawn": 0, "sent": 0, "received": 0 }] }))
    .unwrap()
}

fn no_mesh() -> reverie_core::api::mesh::MeshStatus {
    serde_json::from_value(serde_json::json!({
        "trust_domain": "example.org", "node_id": "host1.example.org", "state": "none", "records": 0, "record_bytes": 0,
        "counts": {}, "wrapping_key": null, "newest_wrapping_key": null, "intermediate_ends": null, "listen": [],
        "admission": "admissions", "hosts": [] }))
    .unwrap()
}

pub(super) fn sound() -> Facts {
    let run = "/run/reverie".to_owned();
    Facts {
        now: NOW,
        version: "1.0.0",
        layout: Layout {
            scope: Scope::System,
            run: (&run).into(),
            agent_socket: "/run/reverie/agent.sock".into(),
            admin_socket: "/run/reverie/admin.sock".into(),
            config: "/etc/reverie/agent.toml".into(),
            state: "/var/lib/reverie".into(),
        },
        agent: Ok(()),
        workload: Ok(()),
        status: Ok(status()),
        identities: Some(identity(certificate(days(1), days(3)))),
        audit: Some(Ok(verdict(serde_json::json!([])))),
        mesh: Some(no_mesh()),
        tunnels: Some(tunnels(None, Some("40"))),
        names: None,
        own_port: None,
        roots: vec![Validity { not_before: days(-10), not_after: days(355) }],
        crls: vec![Validity { not_before: days(-1), not_after: days(29) }],
        kernel: Some((6, 12)),
        has_tpm: true,
        run: Some(Directory { path: run, on_tmpfs: true, uid: 0, gid: 0, mode: 0o40755 }),
        config: Ok(Declared { files: vec!["/etc/reverie/agent.toml".into()], admin_group_exists: true, ..Declared::default() }),
        config_changed: Some(days(-2)),
        disk: Some((5 << 30, 10 << 30)),
        audit_directory: Some((
            Directory { path: "/var/lib/reverie/audit".into(), on_tmpfs: false, uid: 7, gid: 9, mode: 0o40750 },
            Some(9),
        )),
        stale_generations: vec![],
        view: View::Answers,
    }
}

fn status_with(change: impl FnOnce(&mut Status)) -> Facts {
    let mut facts = sound();
    facts.status = facts.status.map(|mut status| {
        change(&mut status);
        status
    });
    facts
}

/// The one finding that differs from a sound host's.
fn only_finding(facts: &Facts) -> Finding {
    let mut findings = examine(facts);
    findings.retain(|finding| finding.level != Level::Ok);
    assert_eq!(findings.len(), 1, "{findings:#?}");
    let finding = findings.remove(0);
    assert!(finding.advice.is_some() || finding.level == Level::Skipped, "{finding:?}");
    finding
}

fn assert_finds(facts: &Facts, check: &str, level: Level, words: &str) {
    let finding = only_finding(facts);
    assert_eq!((finding.check, finding.level), (check, level), "{finding:?}");
    assert!(finding.what.contains(words), "{finding:?}");
}

#[test]
fn a_sound_host_is_found_sound() {
    let findings = examine(&sound());
    assert!(findings.iter().all(|finding| finding.level == Level::Ok), "{findings:#?}");
    assert_eq!(exit_code(&findings), 0);
    assert!(render(&findings).ends_with("Nothing is wrong.\n"));
}

#[test]
fn a_workload_socket_that_nobody_serves_is_found() {
    let facts = Facts { workload: Err("No such file or directory".into()), ..sound() };
    assert_finds(&facts, "workload socket", Level::Warn, "reach nobody on /run/reverie/workload.sock");
}

#[test]
fn another_version_is_found() {
    assert_finds(&status_with(|status| status.version = "0.9.0".into()), "version", Level::Warn, "0.9.0");
}

#[test]
fn an_alarm_and_an_agent_that_cannot_issue_are_found() {
    let alarm = Alarm { subject: "web".into(), message: "not seen served".into(), since: NOW };
    assert_finds(&status_with(|status| status.alarms = vec![alarm.clone(), alarm]), "alarms", Level::Fail, "and 1 more");
    assert_finds(&status_with(|status| status.ready = false), "alarms", Level::Fail, "cannot issue");
}

#[test]
fn a_seal_that_is_weaker_than_possible_is_found() {
    assert_finds(&status_with(|status| status.seal.mode = "file".into()), "seal", Level::Warn, "has a TPM");
    assert_finds(&status_with(|status| status.seal.mode = "host".into()), "seal", Level::Warn, "host key alone");
    assert_finds(&status_with(|status| status.seal.mode = "systemd".into()), "seal", Level::Warn, "did not say how");
    let mut without_tpm = status_with(|status| status.seal.mode = "file".into());
    without_tpm.has_tpm = false;
    assert_finds(&without_tpm, "seal", Level::Warn, "whoever can read the disk");
}

#[test]
fn a_kernel_that_cannot_pin_callers_is_found() {
    let mut facts = status_with(|status| status.pidfd_attestation = false);
    facts.kernel = Some((6, 1));
    assert_finds(&facts, "attestation", Level::Warn, "Linux 6.1");
}

#[test]
fn a_tunnel_that_does_not_listen_or_has_nothing_to_show_is_found() {
    let with = |trouble, certificate| Facts { tunnels: Some(tunnels(trouble, certificate)), ..sound() };
    assert_finds(&with(Some("it cannot listen on [::]:7443"), Some("40")), "tunnels", Level::Fail, "cache: it cannot listen");
    assert_finds(&with(None, None), "tunnels", Level::Fail, "\"web\" has no certificate");
}

#[test]
fn a_view_that_is_not_there_or_does_not_answer_is_found() {
    for (view, words) in [(View::NotMounted, "nothing is mounted"), (View::Dead, "is dead"), (View::Hangs, "does not answer")] {
        assert_finds(&Facts { view, ..sound() }, "file view", Level::Fail, words);
    }
    let old = Facts { view: View::NotMounted, kernel: Some((6, 4)), ..sound() };
    assert_finds(&old, "file view", Level::Fail, "Linux 6.4 cannot have it");
    assert!(examine(&Facts { view: View::Unwanted, ..sound() }).iter().all(|finding| finding.level == Level::Ok));
}

#[test]
fn memory_that_is_not_locked_is_found() {
    assert_finds(&status_with(|status| status.memory_locked = false), "memory", Level::Warn, "not locked");
}

#[test]
fn a_configuration_that_is_wrong_or_not_in_force_is_found() {
    assert_finds(
        &status_with(|status| status.config.refused = Some("a:1:1: no".into())),
        "configuration in force",
        Level::Fail,
        "a:1:1: no",
    );
    let mut changed = sound();
    changed.config_changed = Some(NOW);
    assert_finds(&changed, "configuration in force", Level::Warn, "changed at");
    assert_finds(
        &status_with(|status| status.config.files.push("/etc/reverie/agent.d/x.toml".into())),
        "configuration in force",
        Level::Warn,
        "added or removed",
    );
    let mut wrong = sound();
    wrong.config = Err(Failure::new(Exit::Config, "agent.toml:1:1: unknown field").advise("correct it"));
    let findings = examine(&wrong);
    let failed: Vec<_> = findings.iter().filter(|finding| finding.level == Level::Fail).collect();
    assert_eq!((failed.len(), failed[0].check), (1, "configuration"), "{findings:#?}");
}

#[test]
fn names_that_do_not_exist_are_found() {
    let with = |change: fn(&mut Declared)| {
        let mut facts = sound();
        facts.config = facts.config.map(|mut declared| {
            change(&mut declared);
            declared
        });
        facts
    };
    assert_finds(
        &with(|declared| declared.missing_callers.push("web: no user \"x\"".into())),
        "callers named",
        Level::Warn,
        "no user",
    );
    assert_finds(
        &with(|declared| declared.missing_owners.push("no group \"x\"".into())),
        "owners named",
        Level::Fail,
        "no group",
    );
    assert_finds(
        &with(|declared| declared.unaskable.push("x.key in y.service: too long".into())),
        "credential names",
        Level::Warn,
        "too long",
    );
    assert_finds(&with(|declared| declared.exposed.push("tunnel t: any process".into())), "plain ends", Level::Warn, "tunnel t");
    assert_finds(&with(|declared| declared.admin_group_exists = false), "admin group", Level::Warn, "only root");
}

#[test]
fn a_run_directory_that_others_could_change_or_that_is_on_disk_is_found() {
    let with = |change: fn(&mut Directory)| {
        let mut facts = sound();
        facts.run.as_mut().map(change).unwrap();
        facts
    };
    assert_finds(&with(|run| run.mode = 0o40777), "run directory", Level::Fail, "0777");
    assert_finds(&with(|run| run.uid = 1000), "run directory", Level::Fail, "uid 1000");
    assert_finds(&with(|run| run.on_tmpfs = false), "run directory", Level::Warn, "tmpfs");
    let mut absent = sound();
    absent.run = None;
    assert_finds(&absent, "run directory", Level::Fail, "does not exist");
}

#[test]
fn files_left_behind_and_a_full_disk_are_found() {
    let mut stale = sound();
    stale.stale_generations = vec!["/run/reverie/certs/.web.1".into()];
    assert_finds(&stale, "generations", Level::Warn, ".web.1");
    let mut full = sound();
    full.disk = Some((1 << 20, 10 << 30));
    assert_finds(&full, "disk", Level::Fail, "1 MiB of");
    full.disk = Some((50 << 20, 10 << 30));
    assert_finds(&full, "disk", Level::Warn, "50 MiB of");
}

#[test]
fn an_audit_log_that_is_damaged_or_closed_to_administrators_is_found() {
    let mut damaged = sound();
    damaged.audit = Some(Ok(verdict(serde_json::json!([{ "type": "altered", "seq": 5 }]))));
    assert_finds(&damaged, "audit chain", Level::Fail, "event 5 was altered");
    let mut closed = sound();
    closed.audit_directory.as_mut().map(|(directory, _)| directory.gid = 0).unwrap();
    assert_finds(&closed, "audit log", Level::Warn, "group of administrators");
}

#[test]
fn a_clock_before_the_certificate_authority_is_found() {
    let mut facts = sound();
    facts.roots[0].not_before = days(1);
    assert_finds(&facts, "clock", Level::Fail, "was made at");
}

#[test]
fn a_certificate_that_is_not_renewed_is_found() {
    let with = |json| Facts { identities: Some(identity(json)), ..sound() };
    assert_finds(&with(certificate(days(-1), days(2))), "certificates", Level::Fail, "due for renewal");
    assert_finds(&with(certificate(days(-1), days(-1))), "certificates", Level::Fail, "ended at");
    assert_finds(&with(serde_json::Value::Null), "certificates", Level::Fail, "no certificate");
}

#[test]
fn issuers_and_revocation_lists_near_their_end_are_found() {
    assert_finds(&status_with(|status| status.intermediates[0].not_after = days(1)), "issuers", Level::Warn, "not been renewed");
    assert_finds(&status_with(|status| status.roots[0].not_after = days(-1)), "issuers", Level::Fail, "ended at");
    assert_finds(&status_with(|status| status.roots.clear()), "issuers", Level::Fail, "no root signs");
    let mut facts = sound();
    facts.crls[0].not_after = days(-1);
    assert_finds(&facts, "revocation lists", Level::Fail, "refuse every certificate");
    facts.crls = vec![Validity { not_before: days(-29), not_after: days(1) }];
    assert_finds(&facts, "revocation lists", Level::Warn, "overdue");
}

#[test]
fn without_permission_the_rest_is_skipped_and_nothing_fails() {
    let mut facts = sound();
    facts.status = Err(Problem::new(Code::NotPermitted, "you are no administrator").into());
    facts.identities = None;
    facts.audit = None;
    facts.tunnels = None;
    let findings = examine(&facts);
    assert_eq!(exit_code(&findings), 0);
    assert!(findings.iter().any(|finding| finding.check == "admin socket" && finding.level == Level::Warn));
    assert!(render(&findings).ends_with("0 failed, 1 warning.\n"));
}

#[test]
fn an_agent_that_is_away_is_the_first_thing_said() {
    let away = || Failure::new(Exit::Unavailable, "there is no agent at /run/reverie/agent.sock").advise("start it");
    let facts =
        Facts { agent: Err(away()), status: Err(away()), identities: None, audit: None, mesh: None, tunnels: None, ..sound() };
    let findings = examine(&facts);
    assert_eq!((findings[0].check, findings[0].level, exit_code(&findings)), ("agent", Level::Fail, 1));
    crate::golden::assert_golden("doctor", &anstream::adapter::strip_str(&render(&findings)).to_string());
}
