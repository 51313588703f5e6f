//! Sealing, listing, showing and removing secrets.

use reverie_core::api::admin::{SealRequest, SecretSummary, Secrets};
use reverie_core::api::{Code, Problem};
use reverie_core::audit::{Kind, Outcome, Subject};
use reverie_core::config::pkcs12::Password;
use reverie_core::id::SecretName;
use reverie_core::ipc::warden::TargetKind;
use zeroize::Zeroizing;

use crate::keeper::local::answer::{Answer, Failure, Reply};
use crate::keeper::local::call::Call;
use crate::keeper::local::secret_reply;
use crate::keeper::outlet::files;
use crate::keeper::secrets::{MAX_BYTES, Secrets as Table, StoredSecret};
use crate::keeper::state::Change;
use crate::keeper::{Keeper, clock};

pub fn list(call: &Call<'_>) -> Answer {
    let policy = call.keeper.policy();
    let mut stored = call.keeper.secrets.all(&call.keeper.state)?;
    let mut secrets: Vec<SecretSummary> = vec![];
    for name in policy.secrets.keys() {
        let at = stored.iter().position(|(stored, _)| stored == name.as_str());
        secrets.push(summary(call.keeper, name.as_str(), at.map(|at| stored.swap_remove(at).1).as_ref()));
    }
    secrets.extend(stored.iter().map(|(name, stored)| summary(call.keeper, name, Some(stored))));
    secrets.sort_by(|a, b| a.name.cmp(&b.name));
    Reply::json(&Secrets { secrets })
}

fn summary(keeper: &Keeper, name: &str, stored: Option<&StoredSecret>) -> SecretSummary {
    let policy = keeper.policy();
    let declared = name.parse().ok().and_then(|name: SecretName| policy.secrets.get(&name));
    SecretSummary {
        name: name.to_owned(),
        version: stored.map_or(0, |stored| stored.version),
        sealed_at: stored.map(|stored| stored.sealed_at),
        allow: declared.map(|secret| secret.declared.allow.iter().map(ToString::to_string).collect()).unwrap_or_default(),
        declared: declared.is_some(),
    }
}

fn named(call: &Call<'_>) -> Result<SecretName, Failure> {
    let wrong = |error: reverie_core::id::InvalidName| Problem::new(Code::BadRequest, error.to_string());
    Ok(call.name.parse().map_err(wrong)?)
}

pub async fn seal(call: &Call<'_>) -> Answer {
    let name = named(call)?;
    let request: SealRequest = call.json().await?;
    let value = data_encoding::BASE64.decode(request.value.as_bytes()).map(Zeroizing::new);
    let value = value.map_err(|_| Problem::new(Code::Malformed, "`value` is not base64"))?;
    if value.is_empty() || value.len() > MAX_BYTES {
        return Err(Problem::new(Code::BadRequest, format!("a secret has from 1 to {MAX_BYTES} bytes")).into());
    }
    let keeper = call.keeper;
    let stored = {
        let _turn = keeper.secrets.turn.lock().await;
        let version = keeper.secrets.read(&keeper.state, &name)?.map_or(0, |before| before.version) + 1;
        let stored = StoredSecret { version, sealed_at: clock::now(), value };
        let write = Table::put(&name, &stored).map_err(|error| Problem::new(Code::Internal, error.to_string()))?;
        let event = call.event(Kind::SecretSealed, Outcome::Done, subject(&name));
        keeper.commit(Change { writes: vec![write], events: vec![event] }).await?;
        stored
    };
    if let Err(error) = publish(keeper, &name, &stored).await {
        keeper.alarms.raise(format!("secret {name}"), format!("its file could not be written: {}", error.0.detail));
    }
    publish_what_it_protects(keeper, &name);
    Reply::json(&summary(keeper, name.as_str(), Some(&stored)))
}

/// The files whose password it is are written anew.
fn publish_what_it_protects(keeper: &Keeper, name: &SecretName) {
    let policy = keeper.policy();
    let declared = policy.identities.values().map(|identity| &identity.declared);
    for identity in declared.filter(|identity| {
        let rule = identity.files.as_ref().and_then(|files| files.pkcs12.as_ref());
        rule.is_some_and(|rule| rule.password == Password::Secret(name.clone()))
    }) {
        keeper.schedule.ask_again(&identity.name, clock::now());
    }
}

/// Writes the secret's file, if it is declared to have one.
pub async fn publish(keeper: &Keeper, name: &SecretName, stored: &StoredSecret) -> Result<(), Failure> {
    let policy = keeper.policy();
    if let Some(owner) = policy.secrets.get(name).and_then(|secret| secret.files) {
        files::publish_secret(keeper, name.as_str(), owner, &stored.value).await?;
        keeper.alarms.clear(&format!("secret {name}"));
    }
    Ok(())
}

pub async fn reveal(call: &Call<'_>) -> Answer {
    let name = named(call)?;
    let stored = call.keeper.secrets.read(&call.keeper.state, &name)?.ok_or_else(|| unknown(&name))?;
    let event = call.event(Kind::SecretRead, Outcome::Done, subject(&name));
    call.keeper.commit(Change { writes: vec![], events: vec![event] }).await?;
    secret_reply(call, &name, stored)
}

pub async fn remove(call: &Call<'_>) -> Answer {
    let name = named(call)?;
    let keeper = call.keeper;
    {
        let _turn = keeper.secrets.turn.lock().await;
        keeper.secrets.read(&keeper.state, &name)?.ok_or_else(|| unknown(&name))?;
        let event = call.event(Kind::SecretRemoved, Outcome::Done, subject(&name));
        keeper.commit(Change { writes: vec![Table::delete(&name)], events: vec![event] }).await?;
    }
    if keeper.policy().secrets.get(&name).is_some_and(|secret| secret.files.is_some()) {
        files::withdraw(keeper, TargetKind::Secret, name.to_string()).await?;
    }
    Reply::json(&summary(keeper, name.as_str(), None))
}

fn subject(name: &SecretName) -> Subject {
    Subject { secret: Some(name.to_string()), ..Subject::default() }
}

fn unknown(name: &SecretName) -> Problem {
    Problem::new(Code::NotFound, format!("there is no secret {:?}", name.as_str()))
        .advise("`agentctl secret list` shows those there are")
}
