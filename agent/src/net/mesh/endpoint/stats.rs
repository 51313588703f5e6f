//! `GET /api/gossip/stats`: how this host fares, for everyone or for peers.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::Duration;

use hyper::StatusCode;
use reverie_core::ipc::net::{Reply, Request, Stats};
use serde_json::json;

use super::super::state::Net;
use super::gate;
use crate::net::http::{Answer, Caller, Refusal};

const DEADLINE: Duration = Duration::from_secs(10);

pub async fn answer(net: &Net, caller: &Caller) -> Result<Answer, Refusal> {
    let known = net.known().ok_or_else(gate::not_ready)?;
    if !known.settings.public_stats {
        gate::peer(net, caller)?;
    }
    let identity = known.identity()?;
    let stats: Stats = match net.keeper.ask(&Request::Stats, DEADLINE).await.map_err(Refusal::unavailable)? {
        Reply::Stats(stats) => stats,
        other => return Err(gate::otherwise(other)),
    };
    let discovered = net.topology.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let last_round = Some(net.counters.last_round.load(Ordering::Relaxed)).filter(|at| *at > 0);
    let body = json!({
        "node_id": identity.node,
        "crdt_generation": stats.crdt_generation,
        "counts": stats.counts,
        "peers": {
            "configured": known.settings.allowed.clone().unwrap_or_default(),
            "topology_discovered": discovered,
        },
        "active_signing_kid": stats.active_signing_kid,
        "kem_enrolled": stats.kem_enrolled,
        "gossip_signing_enrolled": stats.gossip_signing_enrolled,
        "gossip": {
            "started_at": net.started_at.as_secs(),
            "rounds_completed": net.counters.exchanges.load(Ordering::Relaxed) + net.counters.probes.load(Ordering::Relaxed),
            "last_round_at": last_round,
            "peer_last_sync": net.book.last_inbound(),
            "persist_errors": stats.persist_errors,
            "wrapping_key_pull_errors": stats.wrapping_key_pull_errors,
        },
    });
    Ok(Answer::json(StatusCode::OK, &body))
}
