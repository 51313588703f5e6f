//! What the role tells of its tunnels, as `/metrics` and `agentctl tunnel list` show it.

use std::collections::BTreeMap;
use std::sync::PoisonError;

use reverie_core::api::admin::{TunnelStatus, Tunnels};
use reverie_core::id::TunnelName;
use reverie_core::ipc::tunnel::TunnelState;

use super::{SUBJECT, callers};
use crate::keeper::Keeper;

/// Takes what is true now. A role that began anew counts from nothing.
pub(super) fn take(keeper: &Keeper, states: BTreeMap<TunnelName, TunnelState>) {
    let policy = keeper.policy();
    let mut known = keeper.tunnels.states.lock().unwrap_or_else(PoisonError::into_inner);
    for (name, now) in states {
        let Some(declared) = policy.config.tunnels.iter().find(|tunnel| tunnel.name == name) else { continue };
        let before = known.remove(&name).unwrap_or_default();
        show(&name, &now, &before);
        match &now.trouble {
            Some(why) => keeper.alarms.raise(callers::subject(&name), why.clone()),
            // Those on a socket are the keeper's, and so is their alarm.
            None if declared.accept != reverie_core::config::Accept::Unix => keeper.alarms.clear(&callers::subject(&name)),
            None => {}
        }
        known.insert(name, now);
    }
    drop(known);
    let subjects: Vec<String> = policy.config.tunnels.iter().map(|tunnel| callers::subject(&tunnel.name)).collect();
    keeper.alarms.clear_except("tunnel ", &subjects);
}

/// The role is gone: nothing is open any more.
pub(super) fn forget(keeper: &Keeper) {
    let mut known = keeper.tunnels.states.lock().unwrap_or_else(PoisonError::into_inner);
    for (name, before) in std::mem::take(&mut *known) {
        show(&name, &TunnelState { open: 0, ..before.clone() }, &before);
    }
}

/// Every declared tunnel, for administrators.
pub fn statuses(keeper: &Keeper) -> Tunnels {
    let policy = keeper.policy();
    let situation = keeper.tunnels.situation.borrow().clone();
    let known = keeper.tunnels.states.lock().unwrap_or_else(PoisonError::into_inner);
    let tunnels = policy.config.tunnels.iter().map(|declared| {
        let name = &declared.name;
        let told = known.get(name);
        let unheard = || match told {
            Some(_) => None,
            None => Some(keeper.alarms.about(SUBJECT).unwrap_or_else(|| {
                "the role that carries it has not told of it yet; `agentctl doctor`, if that stays".to_owned()
            })),
        };
        let shown = situation.tunnels.iter().find(|tunnel| tunnel.declared.name == *name).and_then(|known| known.shown.as_ref());
        let now = told.cloned().unwrap_or_default();
        TunnelStatus {
            name: name.to_string(),
            identity: declared.identity.to_string(),
            accept: declared.accept.to_string(),
            connect: declared.connect.to_string(),
            peers: declared.peers.iter().map(ToString::to_string).collect(),
            certificate: shown.map(|shown| shown.serial.clone()),
            trouble: keeper.alarms.about(&callers::subject(name)).or_else(unheard),
            open: now.open,
            established: now.accepted,
            refused: now.refused.iter().map(|(reason, count)| (reason.as_str().to_owned(), *count)).collect(),
            withdrawn: now.withdrawn,
            sent: now.sent,
            received: now.received,
        }
    });
    Tunnels { tunnels: tunnels.collect() }
}

fn show(name: &TunnelName, now: &TunnelState, before: &TunnelState) {
    let since = |now: u64, before: u64| now.checked_sub(before).unwrap_or(now);
    let name = name.to_string();
    ::metrics::gauge!("reverie_tunnel_connections", "tunnel" => name.clone()).set(f64::from(now.open));
    let counters = [
        (::metrics::counter!("reverie_tunnel_connections_total", "tunnel" => name.clone()), now.accepted, before.accepted),
        (
            ::metrics::counter!("reverie_tunnel_withdrawn_total", "tunnel" => name.clone(), "reason" => "peer"),
            now.withdrawn,
            before.withdrawn,
        ),
        (
            ::metrics::counter!("reverie_tunnel_withdrawn_total", "tunnel" => name.clone(), "reason" => "age"),
            now.outlived,
            before.outlived,
        ),
        (
            ::metrics::counter!("reverie_tunnel_bytes_total", "tunnel" => name.clone(), "direction" => "sent"),
            now.sent,
            before.sent,
        ),
        (
            ::metrics::counter!("reverie_tunnel_bytes_total", "tunnel" => name.clone(), "direction" => "received"),
            now.received,
            before.received,
        ),
    ];
    for (counter, now, before) in counters {
        counter.increment(since(now, before));
    }
    for (reason, count) in &now.refused {
        let labels = [("tunnel", name.clone()), ("reason", reason.as_str().to_owned())];
        let before = before.refused.get(reason).copied().unwrap_or(0);
        ::metrics::counter!("reverie_tunnel_refused_total", &labels).increment(since(*count, before));
    }
}
