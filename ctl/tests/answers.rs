//! Answers of a healthy agent, from the core's own types.

use reverie_core::api::admin::*;
use reverie_core::api::local::*;
use reverie_core::api::{Code, Problem};
use reverie_core::audit::{Actor, ChainHead, Event, Kind, Outcome, Subject};
use reverie_core::caller::{Caller, Executable, Pinning};
use reverie_core::moment::Moment;
use reverie_core::rule::{Explanation, RuleExplanation, SelectorExplanation};

use crate::agent::{Asked, Reply, http, json, problem};

pub(crate) const SERIAL: &str = "4a0102030405060708090a0b0c0d0e0f";
pub(crate) const REVOCATION_ID: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

/// 2026-01-01 and some days.
pub(crate) fn day(days: i64) -> Moment {
    Moment::from_secs(1_767_225_600 + days * 86_400)
}

pub(crate) fn caller() -> Caller {
    Caller {
        pid: 4711,
        uid: 33,
        gid: 33,
        supplementary_groups: vec![4, 33],
        pinning: Pinning::Pidfd,
        exe: Some(Executable { device: 1, inode: 2, shown_path: "/usr/sbin/nginx".into(), is_that_file: true, sha256: None }),
        cgroup: Some("/system.slice/nginx.service".into()),
    }
}

pub(crate) fn summary() -> CertificateSummary {
    CertificateSummary {
        serial: SERIAL.into(),
        not_before: day(0),
        not_after: day(7),
        renew_at: Some(day(3)),
        revoked_at: None,
        generation: Some(2),
    }
}

pub(crate) fn identity() -> IdentitySummary {
    IdentitySummary {
        name: "web".into(),
        spiffe_id: "spiffe://example.org/svc/web".into(),
        hint: None,
        dns: vec!["web.example.org".into()],
        ip: vec![],
        key: reverie_core::config::KeyType::P256,
        ttl: "7d".into(),
        files: Some("/run/reverie/certs/web".into()),
        certificate: Some(summary()),
    }
}

fn issuer(state: &str, root: Option<&str>) -> IssuerStatus {
    let (not_before, not_after) = (day(0), day(365));
    IssuerStatus { fingerprint: "ab".repeat(32), state: state.into(), not_before, not_after, root: root.map(str::to_owned) }
}

pub(crate) fn status() -> Status {
    Status {
        version: "0.1.0".into(),
        trust_domain: "example.org".into(),
        node_id: "host1.example.org".into(),
        started_at: day(1),
        pid: 321,
        ready: true,
        alarms: vec![Alarm { subject: "web".into(), message: "127.0.0.1:443 serves another serial".into(), since: day(2) }],
        seal: SealStatus { mode: "host+tpm2".into(), pcrs: vec![7, 11], remark: None },
        pidfd_attestation: true,
        memory_locked: true,
        roots: vec![issuer("signing", None)],
        intermediates: vec![issuer("trusted", Some("ab")), issuer("signing", Some("ab"))],
        identities: 1,
        secrets: Some(2),
        run: "/run/reverie".into(),
        audit_seq: 3,
        config: ConfigStatus { files: vec!["/etc/reverie/agent.toml".into()], loaded_at: day(1), refused: None },
    }
}

pub(crate) fn explanation() -> Explanation {
    let selector = |wanted: &str, found: &str, holds| SelectorExplanation { wanted: wanted.into(), found: found.into(), holds };
    Explanation {
        caller: caller(),
        unit: Some("nginx.service".into()),
        matched: vec![RuleExplanation { identity: "web".into(), selectors: vec![selector("uid = 33", "33", true)] }],
        nearest: vec![RuleExplanation {
            identity: "db".into(),
            selectors: vec![selector("uid = 33", "33", true), selector("unit = \"pg.service\"", "nginx.service", false)],
        }],
        remark: None,
    }
}

pub(crate) fn certificate(with_key: bool) -> Certificate {
    serde_json::from_value(serde_json::json!({
        "identity": "web", "spiffe_id": "spiffe://example.org/svc/web", "serial": SERIAL,
        "not_before": day(0), "not_after": day(7),
        "certificate": "-----BEGIN CERTIFICATE-----\nTEVBRg==\n-----END CERTIFICATE-----\n",
        "private_key": with_key.then_some("-----BEGIN PRIVATE KEY-----\nS0VZ\n-----END PRIVATE KEY-----\n"),
        "bundle": "-----BEGIN CERTIFICATE-----\nUk9PVA==\n-----END CERTIFICATE-----\n",
    }))
    .unwrap()
}

/// A chain of `count` events.
pub(crate) fn audit_log(count: u64) -> (Vec<String>, ChainHead) {
    let mut head = ChainHead::default();
    let line = |number: u64| {
        let actor = match number {
            1 => Actor::Agent,
            _ => Actor::from(&caller()),
        };
        let event = Event {
            time: day(0).after(std::time::Duration::from_secs(number)),
            kind: if number == 1 { Kind::AgentStarted } else { Kind::CertificateIssued },
            outcome: if number == 3 { Outcome::Denied } else { Outcome::Done },
            actor,
            subject: Subject { identity: (number > 1).then(|| "web".to_owned()), ..Subject::default() },
            reason: (number == 3).then(|| "no rule matches".to_owned()),
        };
        let (next, line) = head.append(&event).unwrap();
        head = next;
        line.to_text()
    };
    let lines = (1..=count).map(line).collect();
    (lines, head)
}

fn audit_page(query: &str) -> AuditLines {
    let number = |key: &str| query.split(['?', '&']).find_map(|pair| pair.strip_prefix(key)?.parse::<usize>().ok()).unwrap();
    let (lines, head) = audit_log(3);
    AuditLines { lines: lines.into_iter().skip(number("after=")).take(number("limit=")).collect(), head }
}

pub(crate) fn issued() -> IssuedCertificate {
    let spiffe_id = "spiffe://example.org/svc/web".to_owned();
    IssuedCertificate { identity: "web".into(), spiffe_id, summary: summary(), issuer: "ab".repeat(32) }
}

/// One that works, one that does not listen, and one that has nothing to show.
fn tunnels() -> Tunnels {
    let cache = TunnelStatus {
        name: "cache".into(),
        identity: "web".into(),
        accept: "unix".into(),
        connect: "tls:db1.example.org:7443".into(),
        peers: vec!["spiffe://example.org/svc/cache".into()],
        certificate: Some(SERIAL.into()),
        trouble: None,
        open: 2,
        established: 1234,
        refused: [("handshake".into(), 1), ("peer".into(), 3)].into(),
        withdrawn: 1,
        sent: 12_345_678,
        received: 999,
    };
    let model = TunnelStatus {
        name: "model".into(),
        accept: "tls:[::]:7443".into(),
        connect: "tcp:127.0.0.1:8080".into(),
        peers: vec!["spiffe://example.org/svc/*".into(), "spiffe://example.org/job/train".into()],
        trouble: Some("it cannot listen on [::]:7443: Address already in use; free the port".into()),
        open: 0,
        established: 0,
        refused: [].into(),
        withdrawn: 0,
        sent: 0,
        received: 0,
        ..cache.clone()
    };
    let bare = TunnelStatus { name: "bare".into(), certificate: None, trouble: None, ..model.clone() };
    Tunnels { tunnels: vec![cache, model, bare] }
}

/// A healthy agent whose caller is an administrator.
pub(crate) fn healthy(asked: &Asked) -> Reply {
    let pem = |body: &str| vec![format!("-----BEGIN X-----\n{body}\n-----END X-----\n")];
    let rotated = || Rotated {
        identity: "web".into(),
        certificate: summary(),
        published: true,
        reloaded: Some("systemctl reload nginx.service".into()),
        verified: Some("127.0.0.1:443".into()),
        fault: None,
    };
    let secret = |version, declared| SecretSummary {
        name: "db-password".into(),
        version,
        sealed_at: Some(day(1)),
        allow: vec!["web".into()],
        declared,
    };
    let value = || SecretValue { name: "db-password".into(), version: 3, value: "aHVudGVyMg==".into() };
    let revoked = || Revoked { serials: vec![SERIAL.into()] };
    let (path, query) = asked.line.split_once('?').unwrap_or((&asked.line, ""));
    match path {
        "GET /v1/whoami" => json(&Whoami {
            caller: caller(),
            unit: Some("nginx.service".into()),
            identities: vec!["web".into(), "admin-ui".into()],
        }),
        "GET /v1/identities" => json(&Identities { identities: vec![identity()] }),
        "GET /v1/identities/web" => json(&identity()),
        "POST /v1/identities/web/certificates" => json(&certificate(!asked.body.contains("BEGIN"))),
        "POST /v1/identities/web/rotate" | "POST /api/admin/rotate" => json(&rotated()),
        "POST /v1/identities/web/revoke" | "POST /api/admin/revoke" => json(&revoked()),
        "GET /v1/bundle" => json(&Bundle { trust_domain: "example.org".into(), roots: pem("Uk9PVA==") }),
        "GET /v1/crl" => json(&Crls { crls: pem("Q1JM") }),
        "GET /v1/secrets" => json(&SecretNames { secrets: vec!["db-password".into()] }),
        "GET /v1/secrets/db-password" | "GET /api/admin/secrets/db-password" => json(&value()),
        "GET /v1/watch" => {
            let rotation = WatchEvent::Rotation { identity: "web".into(), serial: SERIAL.into(), generation: 2 };
            let events = [rotation, WatchEvent::Trust { digest: "cd".repeat(32) }];
            let text: String =
                events.iter().map(|event| format!("data: {}\n\n", serde_json::to_string(event).unwrap())).collect();
            http(200, "text/event-stream", text.as_bytes())
        }
        "GET /api/admin/status" => json(&status()),
        "GET /api/admin/identities" => json(&AllIdentities {
            identities: vec![AdminIdentity {
                summary: identity(),
                selectors: vec!["uid = 33".into(), "unit = \"nginx.service\"".into()],
                declared_at: "/etc/reverie/agent.toml:9:8".into(),
                verified: Some(SERIAL.into()),
            }],
        }),
        "POST /api/admin/explain" => json(&explanation()),
        "GET /api/admin/certificates" => json(&Certificates { certificates: vec![issued()], more: true }),
        "POST /api/admin/ca/rotate" => json(&issuer("published", None)),
        "GET /api/admin/secrets" => {
            let unsealed = SecretSummary { name: "api-key".into(), sealed_at: None, ..secret(0, true) };
            json(&Secrets {
                secrets: vec![secret(3, true), unsealed, SecretSummary { name: "stray".into(), ..secret(1, false) }],
            })
        }
        "PUT /api/admin/secrets/db-password" | "DELETE /api/admin/secrets/db-password" => json(&secret(4, true)),
        "PUT /api/admin/secrets/stray" => json(&SecretSummary { name: "stray".into(), ..secret(1, false) }),
        "GET /api/admin/tunnels" => json(&tunnels()),
        "POST /api/admin/tokens" => {
            json(&Minted { token: "En4KFAoFc3RhdGU=".into(), revocation_id: REVOCATION_ID.into(), expires_at: day(1) })
        }
        "POST /api/admin/tokens/revoke" => json(&Health { ok: true, why: None }),
        "GET /api/admin/tokens/key" => json(&TokenKey { public_key: format!("ed25519/{}", "0f".repeat(32)) }),
        "GET /api/admin/audit" => json(&audit_page(query)),
        "GET /api/admin/audit/verify" => {
            let (lines, head) = audit_log(3);
            let mut verifier = reverie_core::audit::Verifier::new(ChainHead::default(), vec![]);
            lines.iter().for_each(|line| verifier.line(line));
            let signed = Some(reverie_core::audit::SignedHead { head, time: day(1), signature: "c2lnbmF0dXJl".into() });
            json(&AuditVerdict { report: verifier.finish(), signed, public_key: pem("S0VZ").concat() })
        }
        _ => problem(&Problem::new(Code::NotFound, format!("there is no {}", asked.line))),
    }
}
