//! The endpoints: one file each. Who asks is seen before anything it sent is looked at.

mod await_client;
mod bundle;
mod digest;
mod gate;
mod join;
mod kem_info;
mod membership;
mod register_kem;
mod stats;
mod sync;
mod wrapping_key;

use std::sync::Arc;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::{Method, Request, Response};

use super::state::Net;
use crate::net::http::{Answer, Caller, Refusal};

pub(super) use digest::{Digests, written};
pub(super) use membership::MEDIA as MEMBERSHIP_MEDIA;
pub(super) use wrapping_key::{NODE_ID, NONCE};

/// What an envelope is called.
pub(super) const CMS: &str = "application/pkcs7-mime";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Endpoint {
    Sync,
    KemInfo,
    WrappingKey,
    RegisterKem,
    Stats,
    AwaitClient,
    Digest,
    Membership,
    Join,
    Bundle,
}

impl Endpoint {
    fn at(path: &str) -> Option<Self> {
        Some(match path {
            "/api/gossip/sync" => Self::Sync,
            "/api/gossip/kem-info" => Self::KemInfo,
            "/api/gossip/wrapping-key" => Self::WrappingKey,
            "/api/gossip/register-kem" => Self::RegisterKem,
            "/api/gossip/stats" => Self::Stats,
            "/api/gossip/await-client" => Self::AwaitClient,
            "/api/gossip/digest" => Self::Digest,
            "/api/gossip/membership" => Self::Membership,
            "/api/mesh/join" => Self::Join,
            "/api/federation/bundle" => Self::Bundle,
            _ => return None,
        })
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Sync => "sync",
            Self::KemInfo => "kem-info",
            Self::WrappingKey => "wrapping-key",
            Self::RegisterKem => "register-kem",
            Self::Stats => "stats",
            Self::AwaitClient => "await-client",
            Self::Digest => "digest",
            Self::Membership => "membership",
            Self::Join => "join",
            Self::Bundle => "bundle",
        }
    }

    const fn method(self) -> &'static str {
        match self {
            Self::Sync | Self::RegisterKem | Self::Membership | Self::Join => "POST",
            Self::KemInfo | Self::WrappingKey | Self::Stats | Self::AwaitClient | Self::Digest | Self::Bundle => "GET",
        }
    }
}

/// Answers a request.
pub async fn handle(net: &Arc<Net>, caller: &Caller, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let endpoint = Endpoint::at(request.uri().path());
    let (name, peer) = (endpoint.map_or("other", Endpoint::name), caller.secured.key.as_ref().map(|key| key.kid().to_string()));
    let answer = match answer(net, caller, endpoint, request).await {
        Ok(answer) => answer,
        Err(refusal) => {
            tracing::debug!(endpoint = name, address = %caller.address, status = refusal.status, message = refusal.message, "refused");
            if matches!(refusal.status, 401 | 403 | 409) {
                let peer = peer.unwrap_or_else(|| "no key".to_owned());
                net.refusals.tell(&peer, caller.address, refusal.error, &format!("{name}: {}", refusal.message));
            }
            refusal.into()
        }
    };
    let response = answer.into_response();
    net.counters.answered(name, response.status().as_u16());
    response
}

async fn answer(
    net: &Arc<Net>,
    caller: &Caller,
    endpoint: Option<Endpoint>,
    request: Request<Incoming>,
) -> Result<Answer, Refusal> {
    gate::limit(net, caller)?;
    let Some(endpoint) = endpoint else {
        return Err(Refusal::new(404, "not_found", "there is nothing here; docs/protocol/mesh.md lists the paths"));
    };
    let is_right = match endpoint.method() {
        "POST" => request.method() == Method::POST,
        _ => request.method() == Method::GET,
    };
    if !is_right {
        return Err(Refusal::method(endpoint.method()));
    }
    match endpoint {
        Endpoint::Sync => sync::answer(net, caller, request).await,
        Endpoint::KemInfo => kem_info::answer(net),
        Endpoint::WrappingKey => wrapping_key::answer(net, caller, &request).await,
        Endpoint::RegisterKem => register_kem::answer(net, caller, request).await,
        Endpoint::Stats => stats::answer(net, caller).await,
        Endpoint::AwaitClient => await_client::answer(net, caller, &request).await,
        Endpoint::Digest => digest::answer(net, caller, &request).await,
        Endpoint::Membership => membership::answer(net, caller, request).await,
        Endpoint::Join => join::answer(net, caller, request).await,
        Endpoint::Bundle => bundle::answer(net).await,
    }
}

/// A parameter of the query, decoded.
fn parameter(query: Option<&str>, name: &str) -> Option<String> {
    let raw = query?.split('&').find_map(|pair| pair.split_once('=').filter(|(key, _)| *key == name))?.1;
    let mut bytes = Vec::with_capacity(raw.len());
    let mut rest = raw.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let (high, low) = (rest.next()?, rest.next()?);
                let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
                digit(high)? << 4 | digit(low)?
            }
            other => other,
        });
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_is_found_and_decoded() {
        assert_eq!(parameter(Some("a=1&client_id=my%2Fapp+x"), "client_id").as_deref(), Some("my/app x"));
        assert_eq!(parameter(Some("client_id=%4"), "client_id"), None);
        assert_eq!(parameter(Some("client_id=%ff"), "client_id"), None);
        assert_eq!(parameter(None, "client_id"), None);
    }
}
