//! The agent's state, for people and for monitoring.

use reverie_core::api::admin::{AdminIdentity, Alarm, AllIdentities, Health, IssuerStatus, Status};
use reverie_core::api::{Code, Problem};
use reverie_core::ca;
use reverie_core::id::IdentityName;

use crate::keeper::identity::issuance;
use crate::keeper::local::answer::{Answer, Reply};
use crate::keeper::local::call::Call;
use crate::keeper::local::identity_summary;
use crate::keeper::outlet::tunnel;
use crate::keeper::{Keeper, RECORDING, clock};

pub fn status(call: &Call<'_>) -> Answer {
    let keeper = call.keeper;
    let (roots, intermediates) = issuer_statuses(keeper);
    let policy = keeper.policy();
    // A store that cannot be read is when this is asked: it is an alarm here, not a refusal.
    let (secrets, unread) = match keeper.secrets.all(&keeper.state) {
        Ok(secrets) => (Some(secrets.len()), None),
        Err(error) => (None, Some(Alarm { subject: "store".to_owned(), message: error.to_string(), since: clock::now() })),
    };
    let mut alarms = keeper.alarms.all();
    alarms.extend(unread.filter(|unread| alarms.iter().all(|alarm| alarm.subject != unread.subject)));
    Reply::json(&Status {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        trust_domain: keeper.host.trust_domain.to_string(),
        node_id: keeper.host.node_id.to_string(),
        started_at: keeper.started_at,
        pid: std::process::id(),
        ready: why_not_ready(keeper).is_none(),
        alarms,
        seal: keeper.seal.clone(),
        pidfd_attestation: keeper.pidfd_attestation,
        memory_locked: keeper.memory_locked,
        roots,
        intermediates,
        identities: policy.identities.len(),
        secrets,
        run: keeper.host.run.display().to_string(),
        audit_seq: keeper.state.audit_head().seq,
        config: keeper.config_status(),
    })
}

/// Roots and intermediates with what each is doing now.
pub fn issuer_statuses(keeper: &Keeper) -> (Vec<IssuerStatus>, Vec<IssuerStatus>) {
    let (now, issuers) = (clock::now(), keeper.issuers());
    let record = &issuers.stored.record;
    let signing_root = ca::signing_root(record, now).map(|root| &root.fingerprint);
    let issuing = ca::issuing_intermediate(record, now).map(|intermediate| &intermediate.fingerprint);
    let roots = record.roots.iter().filter(|root| !root.retired).map(|root| IssuerStatus {
        fingerprint: root.fingerprint.clone(),
        state: match () {
            () if Some(&root.fingerprint) == signing_root => "signing",
            () if root.signs_from > now => "published",
            () => "trusted",
        }
        .to_owned(),
        not_before: root.validity.not_before,
        not_after: root.validity.not_after,
        root: None,
    });
    let intermediates = record.intermediates.iter().filter(|i| !i.retired).map(|intermediate| IssuerStatus {
        fingerprint: intermediate.fingerprint.clone(),
        state: match () {
            () if intermediate.revoked => "revoked",
            () if Some(&intermediate.fingerprint) == issuing => "signing",
            () if intermediate.validity.not_before > now => "published",
            () => "trusted",
        }
        .to_owned(),
        not_before: intermediate.validity.not_before,
        not_after: intermediate.validity.not_after,
        root: Some(intermediate.root.clone()),
    });
    (roots.collect(), intermediates.collect())
}

pub fn identities(call: &Call<'_>) -> Answer {
    let policy = call.keeper.policy();
    let identities = policy.judge.rules().iter().filter_map(|rule| {
        let declared = &policy.identities.get(&rule.name)?.declared;
        Some(AdminIdentity {
            summary: identity_summary(call.keeper, declared),
            selectors: rule.selectors.iter().map(ToString::to_string).collect(),
            declared_at: declared.declared_at.clone(),
            verified: seen(call.keeper, &rule.name),
        })
    });
    Reply::json(&AllIdentities { identities: identities.collect() })
}

pub fn tunnels(call: &Call<'_>) -> Answer {
    Reply::json(&tunnel::statuses(call.keeper))
}

pub fn health(_: &Call<'_>) -> Answer {
    Reply::json(&Health { ok: true, why: None })
}

pub fn ready(call: &Call<'_>) -> Answer {
    match why_not_ready(call.keeper) {
        None => Reply::json(&Health { ok: true, why: None }),
        Some(why) => Err(Problem::new(Code::Unavailable, why).advise("`agentctl doctor` looks further").into()),
    }
}

/// Where and when the service was seen to serve its certificate.
fn seen(keeper: &Keeper, name: &IdentityName) -> Option<String> {
    let told = keeper.told.of(name)?;
    told.seen.map(|place| format!("seen at {place}, {}", told.at))
}

/// Could a certificate be issued now?
fn why_not_ready(keeper: &Keeper) -> Option<String> {
    let (now, issuers) = (clock::now(), keeper.issuers());
    let record = &issuers.stored.record;
    match ca::issuing_intermediate(record, now) {
        None => Some(issuance::no_issuer(record, now).to_string()),
        Some(_) => keeper.alarms.stands(RECORDING).then(|| "changes cannot be recorded".to_owned()),
    }
}

pub fn metrics(call: &Call<'_>) -> Answer {
    metrics::gauge!("reverie_identities").set(call.keeper.policy().identities.len() as f64);
    let state = &call.keeper.state;
    metrics::gauge!("reverie_certificates_recorded").set(state.issued_count()? as f64);
    if let Ok(bytes) = state.store_bytes() {
        metrics::gauge!("reverie_store_bytes").set(bytes as f64);
    }
    metrics::gauge!("reverie_alarms").set(call.keeper.alarms.all().len() as f64);
    crate::keeper::mesh::look_at_metrics(call.keeper);
    metrics::gauge!("reverie_audit_seq").set(call.keeper.state.audit_head().seq as f64);
    Reply::text("text/plain; version=0.0.4", &call.keeper.metrics.render())
}
