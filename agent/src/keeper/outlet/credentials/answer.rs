//! What a unit gets, or why it does not.

use std::sync::Arc;

use reverie_core::api::{Code, Problem};
use reverie_core::audit::{Kind, Subject};
use reverie_core::caller::Caller;
use reverie_core::certificate_file::CertificateFile;
use reverie_core::credential::{Address, Disbelief, Wanted, believe};
use reverie_core::id::{IdentityName, SecretName};
use reverie_core::rule::Refusal;
use zeroize::Zeroizing;

use crate::keeper::Keeper;
use crate::keeper::identity::issuance::subject;
use crate::keeper::identity::rotation;
use crate::keeper::local::answer::Failure;
use crate::keeper::local::peer::Peer;
use crate::keeper::outlet::content::{record, render, shared};
use crate::keeper::outlet::pins;
use crate::ops::policy::Policy;

/// In the audit log.
const HOW: &str = "as a credential";

type Content = Result<Zeroizing<Vec<u8>>, Failure>;

/// The credential, recorded before it is given. Asked again, it is the same until the next rotation.
pub(super) async fn answer(keeper: &Arc<Keeper>, peer: &Peer, address: &Address<'_>) -> Content {
    believe(&peer.caller, address.unit).map_err(disbelieved)?;
    let wanted: Wanted = address.id.parse().map_err(|error: reverie_core::credential::NoCredential| {
        Problem::new(Code::NotFound, error.to_string()).advise("correct LoadCredential= in the unit")
    })?;
    // Program and process are what they were when they connected.
    peer.check_executable(keeper).await?;
    peer.check_alive()?;
    match wanted {
        Wanted::Identity(name, file) => identity(keeper, peer, &name, file).await,
        Wanted::Secret(name) => secret(keeper, &peer.caller, &name).await,
    }
}

fn disbelieved(why: Disbelief) -> Problem {
    let advice = match why {
        Disbelief::NotPinned => "run Linux 6.5 or newer, or have the unit read the published files",
        Disbelief::OtherProgram(_) | Disbelief::NotRoot(_) => {
            "credentials are for units, by LoadCredential=; programs ask on agent.sock, for what their own rules give them"
        }
        Disbelief::OtherUnit { .. } => "find out who connects in the name of another unit: the audit log has its pid and program",
    };
    Problem::new(Code::NotPermitted, why.to_string()).advise(advice)
}

/// Does a rule give `name` to every process of the unit?
fn permitted(policy: &Policy, caller: &Caller, name: &IdentityName) -> Result<(), Problem> {
    let Err(refusal) = policy.judge.judge_unit(caller, name) else { return Ok(()) };
    let unit = caller.unit().unwrap_or_default();
    Err(match refusal {
        Refusal::NotForUnit => Problem::new(
            Code::NotPermitted,
            format!("the rule of the identity {name} looks at more than the unit, which cannot be seen before the unit runs"),
        )
        .advise(format!(
            "leave `unit = \"{unit}\"` alone in its `match`, or have the service read the files or ask on agent.sock"
        )),
        _ => Problem::new(Code::NotPermitted, format!("no rule gives {unit} an identity {name}"))
            .advise(format!("declare it with match = {{ unit = \"{unit}\" }}, then: systemctl reload reverie-agent")),
    })
}

async fn identity(keeper: &Arc<Keeper>, peer: &Peer, name: &IdentityName, file: CertificateFile) -> Content {
    let policy = keeper.policy();
    permitted(&policy, &peer.caller, name)?;
    if file.is_shared() {
        return Ok(Zeroizing::new(shared(&keeper.issuers(), file).to_vec()));
    }
    let generation = pins::generation(keeper, peer, name, file).await?;
    if file.is_private()
        && let Some(identity) = policy.identities.get(name)
    {
        let serial = Some(generation.serial.to_string());
        let subject = Subject { serial, ..subject(&identity.declared) };
        record(keeper, &peer.caller, Kind::CertificateRead, subject, HOW).await?;
        // That may have taken long.
        permitted(&keeper.policy(), &peer.caller, name)?;
        rotation::check_still_counts(keeper, &generation)?;
    }
    Ok(render(&generation, &keeper.issuers(), file))
}

/// Does a rule give every process of the unit an identity that may read the secret?
fn may_read(policy: &Policy, caller: &Caller, name: &SecretName) -> Result<(), Problem> {
    let declared = policy.secrets.get(name);
    if declared.is_some_and(|secret| secret.declared.allow.iter().any(|own| permitted(policy, caller, own).is_ok())) {
        return Ok(());
    }
    let unit = caller.unit().unwrap_or_default();
    let advice =
        format!("`allow` under [[secret]] must name an identity whose `match` is {{ unit = \"{unit}\" }} and nothing else");
    Err(Problem::new(Code::NotPermitted, format!("{unit} may not read a secret {:?}", name.as_str())).advise(advice))
}

async fn secret(keeper: &Keeper, caller: &Caller, name: &SecretName) -> Content {
    may_read(&keeper.policy(), caller, name)?;
    let stored = keeper.secrets.read(&keeper.state, name)?.ok_or_else(|| {
        Problem::new(Code::NotFound, format!("the secret {:?} has no value yet", name.as_str()))
            .advise(format!("give it one: agentctl secret seal {name}"))
    })?;
    record(keeper, caller, Kind::SecretRead, Subject { secret: Some(name.to_string()), ..Subject::default() }, HOW).await?;
    // That may have taken long.
    may_read(&keeper.policy(), caller, name)?;
    Ok(stored.value)
}
