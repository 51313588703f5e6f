//! `GET /api/gossip/kem-info`: our KEM key, for everyone.

use hyper::StatusCode;
use serde_json::json;

use super::super::state::Net;
use super::gate::not_ready;
use crate::net::http::{Answer, Refusal};

pub fn answer(net: &Net) -> Result<Answer, Refusal> {
    let known = net.known().ok_or_else(not_ready)?;
    Ok(match known.mesh.as_ref().filter(|identity| identity.registered) {
        Some(identity) => {
            let key = data_encoding::BASE64URL_NOPAD.encode(&identity.kem_key.to_spki_der());
            Answer::json(StatusCode::OK, &json!({ "registered": true, "node_id": identity.node, "kem_public_key": key }))
        }
        None => Answer::json(StatusCode::NOT_FOUND, &json!({ "registered": false })),
    })
}
