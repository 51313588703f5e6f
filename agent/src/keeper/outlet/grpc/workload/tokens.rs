//! JWT-SVIDs, and what a JWT-SVID of another says.

use reverie_core::api::{Code, Problem};
use reverie_core::audit::Actor;
use reverie_core::jwt::{Audience, InvalidAudience};
use reverie_proto::workload::{Jwtsvid, JwtsvidRequest, JwtsvidResponse, ValidateJwtsvidRequest, ValidateJwtsvidResponse};
use reverie_proto::{Kind, ListValue, Struct, Value};

use super::super::holdings;
use crate::keeper::Keeper;
use crate::keeper::local::answer::Failure;
use crate::keeper::local::peer::Peer;
use crate::keeper::svid;

fn invalid(error: InvalidAudience) -> Failure {
    Problem::new(Code::Malformed, error.to_string()).advise("name whom the token is for").into()
}

/// A token for each identity of the caller, the default first, or for the one that it names.
pub(super) async fn fetch(keeper: &Keeper, peer: &Peer, request: JwtsvidRequest) -> Result<JwtsvidResponse, Failure> {
    let audiences = Audience::all(&request.audience).map_err(invalid)?;
    let mut identities = holdings::identities(keeper, peer).await?;
    if !request.spiffe_id.is_empty() {
        identities.retain(|identity| identity.spiffe_id.as_str() == request.spiffe_id);
    }
    if identities.is_empty() {
        return Err(Problem::new(Code::NotPermitted, "no identity issued to this process has that SPIFFE ID").into());
    }
    let mut svids = Vec::with_capacity(identities.len());
    for identity in &identities {
        let signed = svid::jwt_svid(keeper, identity, &audiences, Actor::from(&peer.caller)).await?;
        svids.push(Jwtsvid {
            spiffe_id: signed.spiffe_id.to_string(),
            svid: signed.token.as_str().to_owned(),
            hint: identity.hint.clone().unwrap_or_default(),
        });
    }
    // What took its time may have taken the identity away.
    let still = holdings::identities(keeper, peer).await?;
    match identities.iter().all(|identity| still.contains(identity)) {
        true => Ok(JwtsvidResponse { svids }),
        false => Err(Problem::new(Code::NotPermitted, "what this process may have changed meanwhile; ask again").into()),
    }
}

/// Every failure of a token is one of the request (SPIFFE Workload API, 6.2.3).
pub(super) async fn validate(
    keeper: &Keeper,
    peer: &Peer,
    request: ValidateJwtsvidRequest,
) -> Result<ValidateJwtsvidResponse, Failure> {
    let audience: Audience = request.audience.parse().map_err(invalid)?;
    holdings::identities(keeper, peer).await?;
    let (subject, claims) = svid::validate(keeper, &request.svid, &audience)
        .map_err(|error| Problem::new(Code::Malformed, format!("the token does not count here: {error}")))?;
    Ok(ValidateJwtsvidResponse { spiffe_id: subject.to_string(), claims: Some(structure(claims)) })
}

fn structure(fields: serde_json::Map<String, serde_json::Value>) -> Struct {
    Struct { fields: fields.into_iter().map(|(name, json)| (name, value(json))).collect() }
}

/// As deep as the reader of JSON lets it be.
fn value(json: serde_json::Value) -> Value {
    use serde_json::Value as Json;
    let kind = match json {
        Json::Null => Kind::NullValue(0),
        Json::Bool(value) => Kind::BoolValue(value),
        Json::Number(value) => Kind::NumberValue(value.as_f64().unwrap_or_default()),
        Json::String(value) => Kind::StringValue(value),
        Json::Array(values) => Kind::ListValue(ListValue { values: values.into_iter().map(value).collect() }),
        Json::Object(fields) => Kind::StructValue(structure(fields)),
    };
    Value { kind: Some(kind) }
}
