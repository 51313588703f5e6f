//! The mesh as this host sees it, for administrators.

use std::collections::BTreeMap;
use std::time::Duration;

use reverie_core::api::mesh::{HostStatus, MeshStatus};
use reverie_core::ca;
use reverie_core::id::NodeId;
use reverie_core::ipc::net::PeerState;
use reverie_core::mesh::collection::Standing;
use reverie_core::mesh::round::Liveness;
use reverie_core::mesh::view::{Host, View};
use reverie_core::moment::Moment;
use x509_parser::prelude::FromDer;

use super::admission::Admission;
use super::{Keeper, MeshState, clock, wrapping};

/// Subject of the alarm that others refuse this host.
const REFUSED: &str = "mesh, refused";

/// Hosts and collections as they are now.
pub fn status(keeper: &Keeper) -> MeshStatus {
    let (mesh, now) = (&keeper.mesh, clock::now());
    let policy = keeper.policy();
    let gossip = &policy.config.gossip;
    let state = mesh.state();
    let unheard = state == MeshState::Evicted && mesh.look(|view| has_left(view, &keeper.host.node_id)).unwrap_or_default();
    let admission = mesh.admission(gossip);
    let issuers = keeper.issuers();
    let intermediate_ends = ca::issuing_intermediate(&issuers.stored.record, now).map(|known| known.validity.not_after);
    let peers = mesh.peers().clone();
    let (topology_at, topology_error) = {
        let known = mesh.topology();
        (known.at, known.error.clone())
    };
    let mut status = MeshStatus {
        trust_domain: keeper.host.trust_domain.to_string(),
        node_id: keeper.host.node_id.clone(),
        state: if unheard { MeshState::Left } else { state }.as_str().to_owned(),
        advice: if unheard { Some(UNHEARD) } else { advice(state) }.map(str::to_owned),
        mesh: mesh.id().map(|id| data_encoding::HEXLOWER.encode(&id)),
        digest: None,
        records: 0,
        record_bytes: 0,
        counts: Default::default(),
        held_back: Default::default(),
        wrapping_key: wrapping::held_version(keeper),
        newest_wrapping_key: None,
        intermediate_ends,
        listen: gossip.listen.iter().map(ToString::to_string).collect(),
        admission: Admission::describe(gossip).to_owned(),
        topology_at,
        topology_error,
        hosts: vec![],
    };
    let held = mesh.read();
    let Some(core) = &held.core else { return status };
    let view = View::of(&core.set, now);
    status.digest = Some(data_encoding::HEXLOWER.encode(&core.durable.0));
    (status.records, status.record_bytes) = (core.set.len() as u64, core.set.bytes() as u64);
    status.counts = view.counts().into_iter().map(|(name, count)| (name.to_owned(), count)).collect();
    status.held_back = view.held_back().into_iter().map(|(node, count)| (node.to_string(), count)).collect();
    status.newest_wrapping_key = view.wrapping_key().map(|key| key.version);
    if let Some(why) = refused(state, &view, &peers, lately(keeper)) {
        (status.state, status.advice) = ("refused".to_owned(), Some(why));
    }
    let ends = intermediate_ends_of(&view);
    status.hosts = view
        .hosts()
        .map(|host| {
            let peer = peers.get(&host.node);
            let ours = host.node == core.node;
            let in_sync = peer.filter(|peer| peer.acknowledged.is_some()).map(|peer| peer.in_sync);
            let ends = match ours {
                true => intermediate_ends,
                false => ends.iter().filter(|(node, _)| *node == host.node).map(|(_, ends)| *ends).max(),
            };
            let evidence = view.evidence().get(&host.node).map(|evidence| {
                format!("two histories from epoch {}, record {}", evidence.position.epoch, evidence.position.seq)
            });
            let mut shown = host_status(host, peer, ours, &admission, in_sync);
            shown.intermediate_ends = ends;
            shown.evidence.extend(evidence);
            shown
        })
        .collect();
    status
}

/// Who lets this host take no part though our records do not say that it is out: a host that is out hears nothing more. An
/// authority, or anyone while nobody else takes us in. For people; nothing follows from it, since it may be they who are behind.
fn refused(state: MeshState, view: &View<'_>, peers: &BTreeMap<NodeId, PeerState>, lately: Moment) -> Option<String> {
    let refusal = |peer: &PeerState| Some((peer.node.clone(), peer.refuses.clone()?));
    let by_authority = view.authorities().into_iter().filter_map(|node| peers.get(node)).find_map(refusal);
    let takes_us_in = |peer: &PeerState| peer.refuses.is_none() && peer.failures == 0 && peer.last_sync >= Some(lately);
    let is_taken_in = || peers.values().any(takes_us_in);
    let (by, why) = by_authority.or_else(|| peers.values().find_map(refusal).filter(|_| !is_taken_in()))?;
    let out = matches!(state, MeshState::Member | MeshState::Authority);
    out.then(|| format!("{by} lets this host take no part: {why}"))
}

/// Since when whoever takes this host in would have exchanged something with it: several looks at a random peer, and ten seconds.
fn lately(keeper: &Keeper) -> Moment {
    let looks = Duration::from_millis(keeper.policy().config.gossip.anti_entropy_ms.into()).saturating_mul(3);
    clock::now().before(looks.max(Duration::from_secs(10)))
}

/// Raises or clears the alarm on that.
pub(super) fn note_refusal(keeper: &Keeper) {
    let state = keeper.mesh.state();
    let peers = keeper.mesh.peers().clone();
    match keeper.mesh.look(|view| refused(state, view, &peers, lately(keeper))).flatten() {
        Some(why) => keeper.alarms.raise(REFUSED, why),
        None => keeper.alarms.clear(REFUSED),
    }
}

/// For a host that said it leaves, and was heard by nobody.
const UNHEARD: &str = "this host has left, but nobody could be told yet; `agentctl mesh leave` again when a peer can be reached";

/// Whether a host is out by its own word.
pub(super) fn has_left(view: &View<'_>, node: &NodeId) -> bool {
    view.members()
        .get(node)
        .is_some_and(|member| member.standing.is_none() && member.evicted.as_ref().is_some_and(|out| out.left && out.by == *node))
}

fn advice(state: MeshState) -> Option<&'static str> {
    match state {
        MeshState::Cloned => Some(
            "this host was copied or restored from a snapshot, and writes no records; make sure that the other copy is gone, then \
             `agentctl mesh resume`",
        ),
        MeshState::Evicted => Some("an authority put this host out; `agentctl mesh readmit` there lets it in again"),
        MeshState::Joining => Some("joining has begun and not ended; run `agentctl mesh join` again with a new token"),
        MeshState::None | MeshState::Left | MeshState::Member | MeshState::Authority => None,
    }
}

fn host_status(host: Host, peer: Option<&PeerState>, ours: bool, admission: &Admission, in_sync: Option<bool>) -> HostStatus {
    let state = match (host.standing, &host.evicted) {
        (None, Some(evicted)) if evicted.left => "left",
        (None, _) => "evicted",
        _ if ours => "self",
        _ if !admission.admits(&host.node) => "not-allowed",
        _ if host.keys.first().is_none_or(|key| key.kem_key.is_none()) => "no-key",
        _ => peer.map_or(Liveness::Unknown, |peer| peer.state).as_str(),
    };
    let standing: Option<Standing> = host.standing;
    HostStatus {
        standing,
        state: state.to_owned(),
        addresses: host.record.as_ref().map(|record| record.addresses.clone()).unwrap_or_default(),
        wire: host.record.as_ref().map(|record| record.wire),
        agent_version: host.record.as_ref().map(|record| record.agent_version.clone()),
        signing_kid: host.keys.first().map(|key| key.signing_key.kid().to_string()),
        last_sync: peer.and_then(|peer| peer.last_sync),
        in_sync: if ours { Some(true) } else { in_sync },
        clock_offset_ms: peer.and_then(|peer| peer.offset_ms),
        round_trip_ms: peer.and_then(|peer| peer.round_trip_ms),
        failures: peer.map_or(0, |peer| peer.failures),
        last_error: peer.and_then(|peer| peer.last_error.clone()),
        intermediate_ends: None,
        wrapping_key: host.record.and_then(|record| record.wrapping_key),
        evidence: host
            .evicted
            .filter(|_| standing.is_none())
            .map(|evicted| format!("out by {}: {}", evicted.by, evicted.reason))
            .into_iter()
            .collect(),
        node_id: host.node,
    }
}

fn intermediate_ends_of(view: &View<'_>) -> Vec<(NodeId, Moment)> {
    let ends = view.intermediates().into_iter().filter_map(|known| {
        let (_, certificate) = x509_parser::certificate::X509Certificate::from_der(&known.intermediate.certificate).ok()?;
        Some((known.intermediate.node, Moment::from_secs(certificate.validity().not_after.timestamp())))
    });
    ends.collect()
}
