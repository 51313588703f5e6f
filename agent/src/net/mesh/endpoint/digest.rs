//! `GET /api/gossip/digest`: do we hold the same records? For peers. `?summary` goes into it author by author.

use std::collections::BTreeMap;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::{Request, StatusCode};
use reverie_core::ipc::net::{Digest, Reply, Request as Ask};
use reverie_core::mesh::vector::Position;
use serde::{Deserialize, Serialize};

use super::super::state::Net;
use super::gate;
use crate::net::clock;
use crate::net::http::{Answer, Caller, Refusal};

const DEADLINE: Duration = Duration::from_secs(10);

/// The answer.
#[derive(Debug, Serialize, Deserialize)]
pub struct Digests {
    /// Of the whole set, hex.
    pub digest: String,
    /// The wall clock here, milliseconds since the Unix epoch: clocks are compared though nothing is written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub now: Option<i64>,
    /// By author: epoch, number within it, digest of its records.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authors: Option<BTreeMap<String, (u64, u64, String)>>,
}

pub async fn answer(net: &Net, caller: &Caller, request: &Request<Incoming>) -> Result<Answer, Refusal> {
    let peer = gate::peer(net, caller)?;
    let digest = data_encoding::HEXLOWER.encode(&peer.known().digest);
    let authors = match request.uri().query() {
        Some("summary") => match net.keeper.ask(&Ask::Summary, DEADLINE).await.map_err(Refusal::unavailable)? {
            Reply::Summary(summary) => {
                Some(summary.into_iter().map(|(author, entry)| (author.to_string(), written(entry))).collect())
            }
            other => return Err(gate::otherwise(other)),
        },
        _ => None,
    };
    Ok(Answer::json(StatusCode::OK, &Digests { digest, now: Some(clock::now().as_millis()), authors }))
}

/// As in [`Digests::authors`].
pub fn written((position, digest): (Position, Digest)) -> (u64, u64, String) {
    (position.epoch, position.seq, data_encoding::HEXLOWER.encode(&digest))
}
