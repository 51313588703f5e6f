//! Listing, rotating and revoking for administrators.

use std::time::Duration;

use reverie_core::api::admin::{
    Certificates, IssuedCertificate, IssuerKind, IssuerStatus, RevokeRequest, Revoked, RotateIssuerRequest, RotateRequest,
};
use reverie_core::api::local::CertificateSummary;
use reverie_core::api::{Code, Problem};
use reverie_core::ca::{Serial, Step, signing_root, successor_signs_from};
use reverie_core::id::IdentityName;

use super::audit::blocking;
use super::status::issuer_statuses;
use crate::keeper::clock;
use crate::keeper::identity::{duties, lifecycle, revocation, rotation};
use crate::keeper::local::answer::{Answer, Failure, Reply};
use crate::keeper::local::call::Call;
use crate::keeper::state::IssuedRecord;

/// Certificates in one answer.
const MAX_LISTED: usize = 1000;

pub async fn list(call: &Call<'_>) -> Answer {
    let state = call.keeper.state.clone();
    let (issued, more) = blocking(move || state.issued_newest(clock::now(), MAX_LISTED)).await??;
    Reply::json(&Certificates { certificates: issued.into_iter().map(shown).collect(), more })
}

fn shown(issued: IssuedRecord) -> IssuedCertificate {
    IssuedCertificate {
        identity: issued.identity.to_string(),
        spiffe_id: issued.spiffe_id.to_string(),
        summary: CertificateSummary {
            serial: issued.serial.to_string(),
            not_before: issued.not_before,
            not_after: issued.not_after,
            renew_at: None,
            revoked_at: issued.revoked_at,
            generation: None,
        },
        issuer: issued.issuer,
    }
}

fn identity_named(name: &str) -> Result<IdentityName, Failure> {
    let wrong = |error: reverie_core::id::InvalidName| Problem::new(Code::BadRequest, error.to_string());
    Ok(name.parse().map_err(wrong)?)
}

pub async fn rotate(call: &Call<'_>) -> Answer {
    let RotateRequest { identity } = call.json().await?;
    Reply::json(&rotation::rotate(call.keeper, &identity_named(&identity)?, call.actor()).await?)
}

pub async fn revoke(call: &Call<'_>) -> Answer {
    let keeper = call.keeper;
    let serials = match call.json().await? {
        RevokeRequest { serial: Some(serial), identity: None, intermediate: None, issuer } => {
            let parsed: Serial = serial.parse().map_err(|error: String| Problem::new(Code::BadRequest, error))?;
            match issuer {
                None => revocation::revoke_serial(keeper, parsed, call.actor()).await?,
                Some(issuer) => vec![duties::revoke_elsewhere(keeper, &issuer, parsed, call.actor()).await?],
            }
        }
        RevokeRequest { serial: None, identity: Some(identity), intermediate: None, issuer: None } => {
            let name = identity_named(&identity)?;
            let declared = keeper.policy().identities.contains_key(&name);
            let leaves = revocation::in_force(keeper, name).await?;
            // In an emergency a misspelt name must not look like success.
            if leaves.is_empty() && !declared {
                let what = format!("no identity {identity:?} is declared, and none of that name has a certificate in force");
                return Err(Problem::new(Code::NotFound, what).into());
            }
            revocation::revoke_leaves(keeper, leaves, call.actor()).await?
        }
        RevokeRequest { serial: None, identity: None, intermediate: Some(fingerprint), issuer: None } => {
            vec![revocation::revoke_intermediate(keeper, &fingerprint, call.actor()).await?]
        }
        _ => {
            let problem = Problem::new(
                Code::BadRequest,
                "name exactly one of `serial`, `identity` and `intermediate`; `issuer` goes with `serial`",
            );
            return Err(problem.into());
        }
    };
    Reply::json(&Revoked { serials: serials.iter().map(ToString::to_string).collect() })
}

pub async fn rotate_issuer(call: &Call<'_>) -> Answer {
    let RotateIssuerRequest { issuer, overlap_seconds } = call.json().await?;
    let keeper = call.keeper;
    let overlap = overlap_seconds.map_or(keeper.policy().config.ca.root_overlap.0, Duration::from_secs);
    if overlap > keeper.policy().config.ca.root_ttl.0 / 2 {
        return Err(Problem::new(Code::BadRequest, "the overlap must be at most half of `ca.root_ttl`").into());
    }
    let step = |record: &reverie_core::ca::Authority, now: reverie_core::moment::Moment| match issuer {
        IssuerKind::Root => Some(Step::MakeRoot { signs_from: successor_signs_from(record, overlap, now) }),
        IssuerKind::Intermediate => {
            signing_root(record, now).map(|root| Step::MakeIntermediate { root: root.fingerprint.clone() })
        }
    };
    let fingerprint = lifecycle::rotate(keeper, step, call.actor()).await?;
    // The lifecycle task sleeps until what it last knew of; a root made now may begin to sign sooner.
    keeper.lifecycle_due.notify_one();
    let (roots, intermediates) = issuer_statuses(keeper);
    let made: Option<IssuerStatus> = roots.into_iter().chain(intermediates).find(|known| known.fingerprint == fingerprint);
    Reply::json(&made)
}
