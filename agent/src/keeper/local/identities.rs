//! Who the caller is, and which identities it has.

use reverie_core::api::local::{Identities, IdentitySummary, Whoami};
use reverie_core::config::Identity;
use reverie_core::rule::{Rule, Verdict};

use super::answer::{Answer, Failure, Reply};
use super::call::Call;
use super::peer::Peer;
use crate::keeper::Keeper;
use crate::keeper::outlet::files;
use crate::ops::policy::Policy;

/// The identities the caller has now, the default first. Looks again at the running file where a rule rests on it.
pub(crate) async fn judged<'p>(keeper: &Keeper, peer: &Peer, policy: &'p Policy) -> Result<Vec<&'p Rule>, Failure> {
    let Verdict::Allow(rules) = policy.judge.judge(&peer.caller) else { return Ok(vec![]) };
    if rules.iter().any(|rule| rule.rests_on_executable()) {
        peer.check_executable(keeper).await?;
    }
    Ok(rules)
}

pub(super) async fn whoami(call: &Call<'_>) -> Answer {
    let policy = call.keeper.policy();
    let identities = judged(call.keeper, call.peer, &policy).await?.iter().map(|rule| rule.name.to_string()).collect();
    let caller = call.peer.caller.clone();
    Reply::json(&Whoami { unit: caller.unit().map(str::to_owned), caller, identities })
}

pub(super) async fn list(call: &Call<'_>) -> Answer {
    let policy = call.keeper.policy();
    let rules = judged(call.keeper, call.peer, &policy).await?;
    let declared = rules.iter().filter_map(|rule| policy.identities.get(&rule.name));
    let identities = declared.map(|identity| summary(call.keeper, &identity.declared)).collect();
    Reply::json(&Identities { identities })
}

pub(super) async fn show(call: &Call<'_>) -> Answer {
    Reply::json(&summary(call.keeper, &call.own_identity().await?))
}

/// An identity as its holder sees it.
pub(crate) fn summary(keeper: &Keeper, identity: &Identity) -> IdentitySummary {
    IdentitySummary {
        name: identity.name.to_string(),
        spiffe_id: identity.spiffe_id.to_string(),
        hint: identity.hint.clone(),
        dns: identity.dns.iter().map(ToString::to_string).collect(),
        ip: identity.ip.iter().map(ToString::to_string).collect(),
        key: identity.key,
        ttl: identity.ttl.to_string(),
        files: identity.files.is_some().then(|| files::directory(&keeper.host.run, identity)),
        certificate: keeper.store.current(&identity.name).map(|generation| generation.summary()),
    }
}
