//! `GET /api/federation/bundle`: the bundle of this trust domain, for everyone (SPIFFE Federation §5.2.2.3).

use std::time::Duration;

use reverie_core::ipc::net::{Reply, Request};

use super::super::state::Net;
use super::gate::otherwise;
use crate::net::http::{Answer, Refusal};

/// The keeper puts it together from memory.
const DEADLINE: Duration = Duration::from_secs(5);

pub async fn answer(net: &Net) -> Result<Answer, Refusal> {
    match net.keeper.ask(&Request::Bundle, DEADLINE).await {
        Ok(Reply::Bundle(document)) => Ok(Answer::bytes("application/json", document)),
        Ok(other) => Err(otherwise(other)),
        Err(error) => Err(Refusal::unavailable(error)),
    }
}
