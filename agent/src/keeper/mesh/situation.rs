//! What net works from: made anew from the view, the configuration and the admission when one of them changes.

use std::sync::Arc;
use std::time::Duration;

use reverie_core::config::Gossip;
use reverie_core::ipc;
use reverie_core::ipc::net::{MeshIdentity, NetSettings, Peer, RefusedHost, Situation, TopologySettings, Waiters};
use reverie_core::mesh::collection::Collection;
use reverie_core::mesh::crypto::Kid;
use reverie_core::mesh::membership;
use reverie_core::mesh::message::WIRE;
use reverie_core::mesh::round::RoundSettings;
use reverie_core::mesh::view::{Host as Member, View};

use super::admission::Admission;
use super::rows::Phase;
use super::{Keeper, certificate, clock, topology};

/// So long further changes are waited for, before net is told.
const DEBOUNCE: Duration = Duration::from_millis(2);
/// Subject of the alarm that net cannot be told the situation.
const SUBJECT: &str = "net, situation";
/// So many hosts fit in any case: one has less than 4 KiB.
const ALWAYS_FIT: usize = 1000;
/// Bytes of a message about it.
const MARGIN: usize = 64 << 10;
/// At least so often is looked: the clock may jump, and certificates age.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// Before anything is known; nobody waits for it yet.
pub(super) fn none() -> Situation {
    Situation {
        number: 1,
        mesh: None,
        settings: settings(&Gossip::default(), "info", None),
        peers: vec![],
        refused: vec![],
        digest: [0; 32],
        vector: Default::default(),
        own: Default::default(),
        tasks: vec![],
    }
}

/// Has the situation follow. Never ends.
pub async fn follow(keeper: Arc<Keeper>) {
    let (mut policies, mut trust) = (keeper.watch_policy(), keeper.watch_issuers());
    loop {
        policies.mark_unchanged();
        trust.mark_unchanged();
        if let Err(error) = certificate::bring_up_to_date(&keeper).await {
            keeper.alarms.raise(certificate::SUBJECT, error.to_string());
        }
        renew(&keeper);
        let now = clock::now();
        let due = keeper.mesh.look(|view| view.next_due()).flatten();
        let wait = due.map_or(LOOK_EVERY, |due| due.since(now)).clamp(Duration::from_millis(1), LOOK_EVERY);
        tokio::select! {
            () = keeper.mesh.due.notified() => {}
            changed = policies.changed() => {
                if changed.is_err() {
                    return;
                }
                topology::read_files(&keeper).await;
                // Our addresses may be others.
                keeper.mesh.own_due.notify_one();
            }
            changed = trust.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(wait) => {
                // What was held back enters the view when its time has come.
                if due.is_some_and(|due| due <= clock::now()) {
                    keeper.mesh.changes.send_modify(|number| *number += 1);
                }
            }
        }
        tokio::time::sleep(DEBOUNCE).await;
    }
}

/// Tells net, if anything is different.
fn renew(keeper: &Keeper) {
    let next = fitted(keeper, build(keeper));
    keeper.mesh.situation.send_if_modified(|current| {
        let next = Situation { number: current.number, ..next };
        if **current == next {
            return false;
        }
        *current = Arc::new(Situation { number: next.number + 1, ..next });
        true
    });
}

/// What is too long for the channel would never come, and net would go on with whom it knew, those put out since included: it is
/// told of fewer. Whom it is not told of is a stranger to it.
pub(super) fn fitted(keeper: &Keeper, mut situation: Situation) -> Situation {
    if situation.peers.len() + situation.refused.len() <= ALWAYS_FIT {
        keeper.alarms.clear(SUBJECT);
        return situation;
    }
    let (all, most) = (situation.peers.len(), ipc::MAX_MESSAGE - MARGIN);
    loop {
        let bytes = ipc::encode(&situation).map_or(usize::MAX, |bytes| bytes.len());
        if bytes <= most {
            break;
        }
        // Why someone is refused is only for people.
        match situation.refused.is_empty() {
            false => situation.refused.clear(),
            true => situation.peers.truncate((situation.peers.len() as u64 * most as u64 / bytes as u64 * 9 / 10) as usize),
        }
    }
    match all - situation.peers.len() {
        0 => keeper.alarms.clear(SUBJECT),
        left_out => keeper.alarms.raise(
            SUBJECT,
            format!(
                "{all} hosts are more than the role net can be told of: it speaks with all but the last {left_out} of them by name; see \
                 who fills the mesh (agentctl mesh peers), and put out who is not needed"
            ),
        ),
    }
    situation
}

pub(super) fn build(keeper: &Keeper) -> Situation {
    let policy = keeper.policy();
    let gossip = &policy.config.gossip;
    let mesh = &keeper.mesh;
    let (now, node) = (clock::now(), &keeper.host.node_id);
    let admission = mesh.admission(gossip);
    let certificate_chain = mesh.certificate_chain();
    let held = mesh.read();
    let mut situation = Situation {
        number: 0,
        mesh: None,
        settings: settings(gossip, policy.config.log.level.as_str(), mesh.topology_settings(gossip)),
        peers: vec![],
        refused: vec![],
        digest: [0; 32],
        vector: Default::default(),
        own: Default::default(),
        tasks: mesh.tasks.list(),
    };
    let (Some(ring), Some(core)) = (&held.keys, &held.core) else { return situation };
    if !matches!(held.phase, Phase::In | Phase::Cloned) {
        return situation;
    }
    let view = View::of(&core.set, now);
    let (signing_key, kem_key) = ring.speaking.public();
    situation.mesh = Some(MeshIdentity {
        mesh: core.mesh,
        node: node.clone(),
        signing_key,
        kem_key,
        certificate_chain,
        registered: view.get(Collection::Nodes, node.as_str()).is_some(),
        epoch: core.author.position().epoch,
    });
    (situation.digest, situation.vector) = core.durable.clone();
    situation.own = core.own();
    for host in view.hosts().filter(|host| host.node != *node) {
        match why_refused(&host, &admission) {
            None => situation.peers.push(peer(host, gossip.newest_wire)),
            Some(why) => situation.refused.push(RefusedHost { kids: kids(&view, &host), why }),
        }
    }
    situation
}

/// Every key it ever had.
fn kids(view: &View<'_>, host: &Member) -> Vec<Kid> {
    view.members().get(&host.node).map(|member| member.kids.clone()).unwrap_or_default()
}

fn why_refused(host: &Member, admission: &Admission) -> Option<String> {
    match (host.standing, &host.evicted) {
        (None, evicted) => Some(membership::out(&host.node, evicted.as_ref().is_some_and(|evicted| evicted.left))),
        (Some(_), _) if !admission.admits(&host.node) => Some(membership::not_listed(&host.node)),
        (Some(_), _) => None,
    }
}

fn peer(host: Member, newest_wire: u16) -> Peer {
    let current = host.keys.first();
    Peer {
        kem_key: current.and_then(|key| key.kem_key.clone()),
        signing_keys: host.keys.iter().map(|key| key.signing_key.clone()).collect(),
        addresses: host.record.as_ref().map(|record| record.addresses.clone()).unwrap_or_default(),
        wire: host.record.as_ref().map_or(*WIRE.start(), |record| record.wire.clamp(*WIRE.start(), newest_wire)),
        node: host.node,
    }
}

fn settings(gossip: &Gossip, log_level: &str, topology: Option<TopologySettings>) -> NetSettings {
    NetSettings {
        listen: gossip.listen.clone(),
        max_message: gossip.max_message_bytes,
        newest_wire: gossip.newest_wire,
        public_stats: gossip.public_stats,
        max_connections: gossip.max_connections,
        max_waiters: Waiters { total: gossip.max_waiters, per_address: gossip.max_waiters_per_address },
        max_wait_ms: u32::try_from(gossip.max_wait.0.as_millis()).unwrap_or(u32::MAX),
        rate_per_second: gossip.rate_per_second,
        allowed: gossip.allowed_node_ids.clone(),
        topology,
        log_level: log_level.to_owned(),
        round: RoundSettings {
            slide_ms: gossip.slide_ms,
            slide_max_ms: gossip.slide_max_ms,
            anti_entropy_ms: gossip.anti_entropy_ms,
            fan_out_all: gossip.fan_out_all,
            back_off_max_ms: gossip.back_off_max_ms,
            exchange_ms: gossip.exchange_ms,
        },
    }
}
