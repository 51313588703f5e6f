//! `POST /api/gossip/register-kem`: a host registers its keys by Kerberos. The keeper judges; here it is only read.

use std::time::Duration;

use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use hyper::{HeaderMap, Request};
use reverie_core::id::NodeId;
use reverie_core::ipc::net::{RegisterKem, Reply, Request as Ask};
use reverie_core::mesh::crypto::SigningPublicKey;
use serde::Deserialize;

use super::super::state::Net;
use super::gate;
use crate::net::http::{Answer, Caller, Refusal, content_type, read};

const MAX_BODY: usize = 16 * 1024;
/// Base64 of an AP-REQ, with room for the authorization data of large domains; the head's bound is not far above.
const MAX_TOKEN: usize = 12 * 1024;
const BODY: Duration = Duration::from_secs(10);
/// The KDC may be asked on the way.
const DEADLINE: Duration = Duration::from_secs(30);
/// From the keeper's word to the situation that follows from it.
const PINNED: Duration = Duration::from_secs(2);

#[derive(Debug, Deserialize)]
struct Body {
    #[serde(default)]
    node_id: String,
    #[serde(default)]
    kem_public_key_der: String,
    #[serde(default)]
    gossip_signing_pub_key_der: String,
}

pub async fn answer(net: &Net, caller: &Caller, request: Request<Incoming>) -> Result<Answer, Refusal> {
    let token = token(request.headers())?;
    if content_type(request.headers()) != "application/json" {
        return Err(Refusal::media("application/json"));
    }
    let body = read(request.into_body(), MAX_BODY, BODY).await?;
    let registration = registration(token, &body, caller.secured.server_certificate)?;
    let signing_key = registration.gossip_signing_pub_key_der.clone();
    let reply = net.keeper.ask(&Ask::RegisterKem(registration), DEADLINE).await.map_err(Refusal::unavailable)?;
    match reply {
        Reply::Registered { token, body } => {
            until_pinned(net, &signing_key).await;
            let answer = Answer::bytes("application/json", body);
            Ok(match token {
                Some(token) => answer.with(WWW_AUTHENTICATE, &format!("Negotiate {}", data_encoding::BASE64.encode(&token))),
                None => answer,
            })
        }
        other => {
            let refusal = gate::otherwise(other);
            Err(if refusal.status == 401 { refusal.negotiate() } else { refusal })
        }
    }
}

/// The host asks for its certificate as soon as it is answered: its key is to be known here by then.
async fn until_pinned(net: &Net, signing_key: &[u8]) {
    let Ok(key) = SigningPublicKey::from_spki_der(signing_key) else { return };
    let mut known = net.known.clone();
    let pinned = known.wait_for(|known| known.as_ref().is_some_and(|known| known.is_welcome(&key)));
    // What is not known in time is refused later, and says so.
    let _ = tokio::time::timeout(PINNED, pinned).await;
}

/// From `Authorization: Negotiate …` (RFC 4559).
fn token(headers: &HeaderMap) -> Result<Vec<u8>, Refusal> {
    let value = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let token = value
        .split_once(' ')
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("negotiate"))
        .map(|(_, token)| token.trim())
        .filter(|token| !token.is_empty() && token.len() <= MAX_TOKEN)
        .and_then(|token| data_encoding::BASE64.decode(token.as_bytes()).ok());
    token.ok_or_else(|| {
        let message = "no Kerberos token came; send Authorization: Negotiate with a ticket for this host's HTTP service";
        Refusal::new(401, "no_token", message).negotiate()
    })
}

fn registration(token: Vec<u8>, body: &[u8], channel_binding: [u8; 32]) -> Result<RegisterKem, Refusal> {
    let missing = || Refusal::malformed("node_id, kem_public_key_der and gossip_signing_pub_key_der are all needed, none empty");
    let body: Body = serde_json::from_slice(body).map_err(|_| missing())?;
    if [&body.node_id, &body.kem_public_key_der, &body.gossip_signing_pub_key_der].iter().any(|field| field.is_empty()) {
        return Err(missing());
    }
    let node: NodeId = body.node_id.parse().map_err(|_| Refusal::malformed("node_id is no host name"))?;
    let key = |text: &str, name: &str| {
        decode(text).ok_or_else(|| Refusal::malformed(format!("{name} is not base64url of a SubjectPublicKeyInfo")))
    };
    Ok(RegisterKem {
        token,
        node,
        kem_public_key_der: key(&body.kem_public_key_der, "kem_public_key_der")?,
        gossip_signing_pub_key_der: key(&body.gossip_signing_pub_key_der, "gossip_signing_pub_key_der")?,
        channel_binding,
    })
}

/// The URL's alphabet or the other, with padding or without.
fn decode(text: &str) -> Option<Vec<u8>> {
    let text = text.trim_end_matches('=');
    let url = data_encoding::BASE64URL_NOPAD.decode(text.as_bytes());
    url.or_else(|_| data_encoding::BASE64_NOPAD.decode(text.as_bytes())).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_token_the_way_to_send_one_is_told() {
        for value in ["", "Basic YTpi", "Negotiate", "Negotiate !!"] {
            let mut headers = HeaderMap::new();
            headers.insert(AUTHORIZATION, value.parse().unwrap());
            let refusal = token(&headers).unwrap_err();
            assert_eq!(refusal.status, 401, "{value}");
        }
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, "negotiate YWJj".parse().unwrap());
        assert_eq!(token(&headers).unwrap(), b"abc");
    }

    #[test]
    fn every_field_must_be_there_and_not_empty() {
        let whole = r#"{"node_id":"a.example.org","kem_public_key_der":"YWI","gossip_signing_pub_key_der":"YWI="}"#;
        let taken = registration(vec![1], whole.as_bytes(), [0; 32]).unwrap();
        assert_eq!((taken.node.as_str(), &*taken.kem_public_key_der), ("a.example.org", &b"ab"[..]));
        for broken in [
            "{}".to_owned(),
            "[]".to_owned(),
            whole.replace("a.example.org", ""),
            whole.replace("\"YWI\"", "\"\""),
            whole.replace("\"YWI=\"", "\"*\""),
            whole.replace("a.example.org", "-a"),
        ] {
            assert_eq!(registration(vec![1], broken.as_bytes(), [0; 32]).unwrap_err().status, 400, "{broken}");
        }
    }
}
