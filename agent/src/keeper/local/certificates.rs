//! Certificates for callers: made for them alone, or the one the agent keeps.

use reverie_core::api::admin::Revoked;
use reverie_core::api::local::{Certificate, IssueRequest};
use reverie_core::api::{Code, Problem};
use reverie_core::audit::{Actor, Kind, Outcome, Subject};
use reverie_core::capability::Grant;
use reverie_core::config::Identity;
use reverie_core::id::IdentityName;

use super::answer::{Answer, Failure, Reply, parse_json};
use super::call::Call;
use crate::keeper::clock;
use crate::keeper::identity::issuance::{issue as issue_leaf, subject};
use crate::keeper::identity::rotation::RotationError;
use crate::keeper::identity::{csr, revocation, rotation};
use crate::keeper::state::{Change, Write};

pub(super) async fn issue(call: &Call<'_>) -> Answer {
    let (identity, actor) = permitted(call, "issue").await?;
    let body = call.body().await?;
    let request: IssueRequest = match body.is_empty() {
        true => IssueRequest::default(),
        false => parse_json(&body)?,
    };
    drop(body);
    let refused = |error: csr::CsrError| Problem::new(Code::BadRequest, error.to_string());
    let given = request.csr.map(|pem| csr::check(&pem, &identity)).transpose().map_err(refused)?;
    let (now, issuers) = (clock::now(), call.keeper.issuers());
    let mut leaf = issue_leaf(&issuers, &identity, given.as_ref(), now)?;
    let change = Change { writes: vec![Write::Issued(leaf.record(&identity))], events: vec![leaf.event(&identity, actor, now)] };
    call.keeper.commit(change).await?;
    if permitted(call, "issue").await?.0 != identity {
        return Err(RotationError::Overtaken.into());
    }
    metrics::counter!("reverie_certificates_issued_total").increment(1);
    Reply::json(&Certificate {
        identity: identity.name.to_string(),
        spiffe_id: identity.spiffe_id.to_string(),
        serial: leaf.serial.to_string(),
        not_before: leaf.validity.not_before,
        not_after: leaf.validity.not_after,
        certificate: std::mem::take(&mut leaf.chain_pem),
        private_key: leaf.key_pem.map(|key| key.as_str().to_owned()),
        bundle: issuers.bundle_pem.clone(),
    })
}

pub(super) async fn read(call: &Call<'_>) -> Answer {
    let (identity, actor) = permitted(call, "read").await?;
    let generation = rotation::current_or_new(call.keeper, &identity.name, actor.clone()).await?;
    let mut event = call.event(
        Kind::CertificateRead,
        Outcome::Done,
        Subject { serial: Some(generation.serial.to_string()), ..subject(&identity) },
    );
    event.actor = actor;
    call.keeper.commit(Change { writes: vec![], events: vec![event] }).await?;
    // That may have taken long, and whoever had the identity then may not have it now.
    permitted(call, "read").await?;
    rotation::check_still_counts(call.keeper, &generation)?;
    Reply::json(&Certificate {
        identity: identity.name.to_string(),
        spiffe_id: generation.spiffe_id.to_string(),
        serial: generation.serial.to_string(),
        not_before: generation.validity.not_before,
        not_after: generation.validity.not_after,
        certificate: generation.chain_pem.clone(),
        private_key: Some(generation.key_pem.as_str().to_owned()),
        bundle: call.keeper.issuers().bundle_pem.clone(),
    })
}

pub(super) async fn rotate(call: &Call<'_>) -> Answer {
    let (identity, actor) = by_token(call, "rotate")?;
    Reply::json(&rotation::rotate(call.keeper, &identity.name, actor).await?)
}

pub(super) async fn revoke(call: &Call<'_>) -> Answer {
    let (identity, actor) = by_token(call, "revoke")?;
    let leaves = revocation::in_force(call.keeper, identity.name.clone()).await?;
    let serials = revocation::revoke_leaves(call.keeper, leaves, actor).await?;
    Reply::json(&Revoked { serials: serials.iter().map(ToString::to_string).collect() })
}

/// The identity in the path, for a caller who has it by rule, or by a token.
async fn permitted(call: &Call<'_>, verb: &'static str) -> Result<(Identity, Actor), Failure> {
    match call.own_identity().await {
        Ok(identity) => Ok((identity, call.actor())),
        Err(refusal) if call.token.is_none() => Err(refusal),
        Err(_) => by_token(call, verb),
    }
}

/// The identity in the path, for a caller whose token allows it. Having the identity is not enough here.
fn by_token(call: &Call<'_>, verb: &'static str) -> Result<(Identity, Actor), Failure> {
    let unknown =
        || Problem::new(Code::NotPermitted, format!("there is no identity {:?} that this token could be for", call.shown_name()));
    let name: IdentityName = call.name.parse().map_err(|_| unknown())?;
    let grant = Grant::new("cert", verb, &name);
    let actor = call.granted(&grant)?.ok_or_else(|| {
        Problem::new(Code::NotPermitted, format!("{grant:?} needs a capability token", grant = grant.to_string()))
            .advise(format!("an administrator can mint one: agentctl token mint --allow '{grant}' --ttl 1h"))
    })?;
    let policy = call.keeper.policy();
    let identity = policy.identities.get(&name).ok_or_else(unknown)?;
    Ok((identity.declared.clone(), actor))
}
