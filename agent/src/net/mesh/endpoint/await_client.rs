//! `GET /api/gossip/await-client`: waits until a client is known here. Waiters are capped, in all and for an address.

use std::time::Duration;

use hyper::body::Incoming;
use hyper::{Request, StatusCode};
use reverie_core::ipc::net::{Reply, Request as Ask};
use serde_json::json;

use super::super::state::Net;
use super::{gate, parameter};
use crate::net::http::{Answer, Caller, Refusal};
use crate::net::keeper::MAX_WAITERS;

/// As the seed says.
const DEFAULT_MS: u32 = 30_000;
/// Bytes of a client's name.
const MAX_ID: usize = 256;
/// Beyond the wait itself.
const SLACK: Duration = Duration::from_secs(5);

pub async fn answer(net: &Net, caller: &Caller, request: &Request<Incoming>) -> Result<Answer, Refusal> {
    let known = net.known().ok_or_else(gate::not_ready)?;
    let query = request.uri().query();
    let client_id = parameter(query, "client_id").filter(|id| !id.is_empty() && id.len() <= MAX_ID);
    let client_id = client_id.ok_or_else(|| Refusal::malformed("client_id is missing or too long; send ?client_id=ID"))?;
    let timeout_ms = match parameter(query, "timeout_ms") {
        Some(text) => text.parse().map_err(|_| Refusal::malformed("timeout_ms must be a number of milliseconds"))?,
        None => DEFAULT_MS,
    };
    let timeout_ms = timeout_ms.min(known.settings.max_wait_ms);
    let max = known.settings.max_waiters;
    let _waiter = net
        .waiters
        .take(caller.address.ip().into(), 1, max.total.min(MAX_WAITERS), max.per_address)
        .ok_or_else(|| Refusal::too_many("too many wait for clients already; wait for fewer at once"))?;
    let ask = Ask::AwaitClient { client_id: client_id.clone(), timeout_ms };
    let within = Duration::from_millis(timeout_ms.into()) + SLACK;
    match net.keeper.ask(&ask, within).await.map_err(Refusal::unavailable)? {
        Reply::Client { found } => {
            let status = if found { StatusCode::OK } else { StatusCode::REQUEST_TIMEOUT };
            Ok(Answer::json(status, &json!({ "client_id": client_id, "found": found })))
        }
        other => Err(gate::otherwise(other)),
    }
}
