//! Tunnels as the keeper sees them: a role carries the bytes and meets the network; here are its keys, the callers it may serve,
//! and what it is told.

mod callers;
mod keys;
mod link;
mod report;
mod services;
mod situation;
mod trust;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use reverie_core::audit::{Actor, Event, Kind, Outcome, Subject};
use reverie_core::config;
use reverie_core::id::TunnelName;
use reverie_core::ipc::tunnel::{Reply, Request, Situation, TunnelState};
use tokio::sync::watch;

use super::super::{Keeper, clock};
use crate::keeper::local::denials;
use crate::ops::channel::Answer;

pub use link::run;
pub use report::statuses;

/// How long the role waits for a situation or a caller, at most.
const WATCH: Duration = Duration::from_secs(25);

/// What the keeper has of tunnels.
#[derive(Debug)]
pub struct Tunnels {
    situation: watch::Sender<Arc<Situation>>,
    trust: Mutex<trust::Numbered>,
    keys: Mutex<keys::Keys>,
    callers: callers::Callers,
    states: Mutex<BTreeMap<TunnelName, TunnelState>>,
}

impl Default for Tunnels {
    fn default() -> Self {
        let none = Situation { number: 1, log_level: "info".to_owned(), trust: 0, tunnels: vec![] };
        Self {
            situation: watch::channel(Arc::new(none)).0,
            trust: Mutex::default(),
            keys: Mutex::default(),
            callers: callers::Callers::default(),
            states: Mutex::default(),
        }
    }
}

/// Subject of the alarm while the role is down.
const SUBJECT: &str = "tunnels";

/// As it is declared now.
fn declared(keeper: &Keeper, name: &TunnelName) -> Option<config::Tunnel> {
    keeper.policy().config.tunnels.iter().find(|tunnel| tunnel.name == *name).cloned()
}

fn unknown(name: &TunnelName) -> Reply {
    Reply::Failed(format!("no tunnel {name:?} is declared, or no longer"))
}

/// Answers one question of the role, which may be wrong or hostile: it gets connections of permitted callers, and signatures of
/// one shape by the identities of tunnels.
async fn answer(keeper: &Arc<Keeper>, request: Request) -> Answer<Reply> {
    match request {
        Request::Watch { seen } => {
            let mut situation = keeper.tunnels.situation.subscribe();
            let next = tokio::time::timeout(WATCH, situation.wait_for(|situation| situation.number != seen)).await;
            match next {
                Ok(Ok(situation)) => Reply::Situation(Some(Box::new((**situation).clone()))).into(),
                Ok(Err(_)) => Reply::Failed("the agent is stopping".to_owned()).into(),
                Err(_) => Reply::Situation(None).into(),
            }
        }
        Request::Trust { number } => trust::tell(keeper, number).await,
        Request::Accept { tunnel, identity } => callers::next(keeper, &tunnel, &identity).await,
        Request::Connect(name) => services::connect(keeper, &name).await,
        Request::SignHandshake { tunnel, serial, side, transcript } => {
            keys::sign(keeper, &tunnel, &serial, side, &transcript).into()
        }
        Request::Refused { tunnel, peer, address, reason } => {
            let short = |text: String, most: usize| text.chars().take(most).collect::<String>();
            let place = address.map_or_else(String::new, |address| format!(" with {}", address.ip()));
            let object = Some(format!("tunnel {tunnel}{place}"));
            let subject = Subject { spiffe_id: peer.map(|peer| short(peer, 2048)), object, ..Subject::default() };
            let (kind, reason) = (Kind::PeerRefused, Some(short(reason, 500)));
            let event = Event { time: clock::now(), kind, outcome: Outcome::Denied, actor: Actor::Agent, subject, reason };
            denials::record_peer(keeper, event).await;
            Reply::Done.into()
        }
        Request::Report(states) => {
            report::take(keeper, states);
            Reply::Done.into()
        }
    }
}

#[cfg(test)]
mod tests;
