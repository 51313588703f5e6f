//! Secrets for callers who hold an identity that may read them.

use reverie_core::api::local::{SecretNames, SecretValue};
use reverie_core::api::{Code, Problem};
use reverie_core::audit::{Actor, Kind, Outcome, Subject};
use reverie_core::capability::Grant;
use reverie_core::id::SecretName;

use super::answer::{Answer, Failure, Reply};
use super::call::Call;
use super::identities::judged;
use crate::keeper::secrets::StoredSecret;
use crate::keeper::state::Change;

pub(super) async fn list(call: &Call<'_>) -> Answer {
    let policy = call.keeper.policy();
    let own = judged(call.keeper, call.peer, &policy).await?;
    let readable = policy.secrets.values().filter(|secret| secret.is_readable_by(&own));
    Reply::json(&SecretNames { secrets: readable.map(|secret| secret.declared.name.to_string()).collect() })
}

pub(super) async fn read(call: &Call<'_>) -> Answer {
    let name: SecretName = call.name.parse().map_err(|_| refused(call))?;
    let actor = reader(call, &name).await?;
    let stored = call.keeper.secrets.read(&call.keeper.state, &name)?.ok_or_else(|| {
        Problem::new(Code::NotFound, format!("the secret {:?} has no value yet", name.as_str()))
            .advise(format!("an administrator can give it one: agentctl secret seal {name}"))
    })?;
    let mut event = call.event(Kind::SecretRead, Outcome::Done, Subject { secret: Some(name.to_string()), ..Subject::default() });
    event.actor = actor;
    call.keeper.commit(Change { writes: vec![], events: vec![event] }).await?;
    // That may have taken long, and whoever was allowed to then may not be now.
    reader(call, &name).await?;
    reply(call, &name, stored)
}

fn refused(call: &Call<'_>) -> Problem {
    Problem::new(Code::NotPermitted, format!("this process may not read a secret {:?}", call.shown_name()))
        .advise("GET /v1/secrets lists what it may read; `allow` under [[secret]] says who may")
}

/// Who reads it, if the configuration of now or a token lets them.
async fn reader(call: &Call<'_>, name: &SecretName) -> Result<Actor, Failure> {
    let policy = call.keeper.policy();
    let own = judged(call.keeper, call.peer, &policy).await?;
    if policy.secrets.get(name).is_some_and(|secret| secret.is_readable_by(&own)) {
        return Ok(call.actor());
    }
    call.granted(&Grant::new("secret", "read", name))?.ok_or_else(|| refused(call).into())
}

/// As JSON, or the bytes alone.
pub(crate) fn reply(call: &Call<'_>, name: &SecretName, stored: StoredSecret) -> Answer {
    match call.query("format") {
        Some("raw") => Ok(Reply::Bytes { media: "application/octet-stream", bytes: stored.value }),
        None | Some("json") => Reply::json(&SecretValue {
            name: name.to_string(),
            version: stored.version,
            value: data_encoding::BASE64.encode(&stored.value),
        }),
        Some(other) => Err(unknown_format(other, "json or raw")),
    }
}

/// A `?format=` that is none.
pub(crate) fn unknown_format(given: &str, known: &str) -> Failure {
    Problem::new(Code::Malformed, format!("the format {:?} is not one of {known}", given.chars().take(40).collect::<String>()))
        .into()
}
