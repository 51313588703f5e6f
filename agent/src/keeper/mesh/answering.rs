//! Every question of net, answered. Net may be wrong or hostile: it gets typed statements and what any peer may see.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use reverie_core::audit::{Actor, Event, Kind, Outcome, Subject};
use reverie_core::id::NodeId;
use reverie_core::ipc::net::{Page, PeerState, Reply, Request, Stats, TaskKind};
use reverie_core::jwt::Purpose;
use reverie_core::mesh::view::View;

use super::merging::{self, Handed};
use super::{Keeper, MeshError, clients, clock, inviting, joining, kerberos, renewal, status, topology, wrapping};
use crate::keeper::federation;
use crate::keeper::local::denials;

/// How long net waits for a situation, at most.
const WATCH: Duration = Duration::from_secs(25);
/// For everything else.
const DEADLINE: Duration = Duration::from_secs(60);
/// Bytes of a page, whatever net asks for.
const MAX_PAGE: usize = 4 << 20;

/// Answers one question.
pub(super) async fn answer(keeper: &Arc<Keeper>, request: Request) -> Reply {
    let waits = matches!(request, Request::Watch { .. } | Request::AwaitClient { .. } | Request::WatchFederation { .. });
    match waits {
        true => wait(keeper, request).await,
        false => match tokio::time::timeout(DEADLINE, at_once(keeper, request)).await {
            Ok(reply) => reply,
            Err(_) => Reply::Failed { message: format!("the keeper took longer than {} s", DEADLINE.as_secs()) },
        },
    }
}

async fn wait(keeper: &Keeper, request: Request) -> Reply {
    match request {
        Request::Watch { seen } => {
            let mut situation = keeper.mesh.situation.subscribe();
            let next = tokio::time::timeout(WATCH, situation.wait_for(|situation| situation.number != seen)).await;
            match next {
                Ok(Ok(situation)) => Reply::Situation(Some(Box::new((**situation).clone()))),
                Ok(Err(_)) => Reply::Failed { message: "the agent is stopping".to_owned() },
                Err(_) => Reply::Situation(None),
            }
        }
        Request::AwaitClient { client_id, timeout_ms } => {
            let longest = keeper.policy().config.gossip.max_wait.0;
            clients::wait_for(keeper, &client_id, Duration::from_millis(timeout_ms.into()).min(longest)).await
        }
        Request::WatchFederation { seen } => federation::watch_endpoints(&keeper.federations, seen).await,
        _ => Reply::Done,
    }
}

async fn at_once(keeper: &Arc<Keeper>, request: Request) -> Reply {
    let mesh = &keeper.mesh;
    match request {
        Request::SignHandshake { side, transcript } => mesh.sign_handshake(side, &transcript),
        Request::SignEnvelope { digest } => mesh.sign_envelope(&digest),
        Request::OpenEnvelope { kem_kid, ciphertext, wrapped_key } => mesh.open_envelope(&kem_kid, &ciphertext, &wrapped_key),
        Request::Merge { from, records, vector, more } => {
            let reply = merging::merge(keeper, Handed { from, records, vector, more }).await;
            if let Reply::Merged(merged) = &reply
                && !merged.wanted_anew.contains(&keeper.host.node_id)
            {
                mesh.settled.end();
            }
            reply
        }
        Request::Records { to, since, limit } => {
            let limit = usize::try_from(limit).unwrap_or(MAX_PAGE).min(MAX_PAGE);
            let mut records = mesh.evidence_for(&to);
            let limit = limit.saturating_sub(records.iter().map(Vec::len).sum());
            let (lacking, _, more) = mesh.records(&since.unwrap_or_default(), limit);
            records.extend(lacking);
            Reply::Page(Page { records, more })
        }
        Request::Summary => {
            let held = mesh.read();
            Reply::Summary(held.core.as_ref().map(|core| core.set.summary()).unwrap_or_default())
        }
        Request::Join(request) => inviting::redeem(keeper, request).await,
        Request::RegisterKem(request) => kerberos::register(keeper, request).await,
        Request::WrappingKey { node, caller, nonce } => wrapping::serve(keeper, &node, caller.as_ref(), nonce).await,
        Request::Renew { node, kid, payload } => renewal::renew(keeper, node, kid, payload).await,
        // Only while we ourselves wait for it: net cannot have us join what we did not mean to.
        Request::PrepareJoin { task, exporter } => match mesh.tasks.what(task) {
            Some(TaskKind::Join { .. }) => joining::prepare(keeper, task, exporter),
            _ => no_such_task(),
        },
        Request::PrepareKerberos { task, channel_binding } => match mesh.tasks.what(task) {
            Some(TaskKind::JoinByKerberos { .. }) => kerberos::prepare(keeper, task, channel_binding).await,
            _ => no_such_task(),
        },
        Request::FinishKerberos { task, token, answer } => match mesh.tasks.what(task) {
            Some(TaskKind::JoinByKerberos { .. }) => kerberos::finish(keeper, task, token, &answer).await,
            _ => no_such_task(),
        },
        Request::Report { task, outcome } => {
            if !mesh.tasks.report(task, outcome) {
                tracing::debug!(task, "a report that nobody waits for");
            }
            mesh.due.notify_one();
            Reply::Done
        }
        Request::Fetched { trust_domain, outcome } => federation::fetched(keeper, &trust_domain, outcome).await,
        Request::Bundle => Reply::Bundle(federation::own_bundle(keeper)),
        Request::Topology(answer) => done(topology::heard(keeper, answer).await),
        Request::Refused { peer, address, reason } => {
            let short = |text: String, most: usize| text.chars().take(most).collect::<String>();
            let place = address.map_or_else(String::new, |address| format!(" at {}", address.ip()));
            let subject = Subject { object: Some(format!("{}{place}", short(peer, 260))), ..Subject::default() };
            let (kind, reason) = (Kind::PeerRefused, Some(short(reason, 500)));
            let event = Event { time: clock::now(), kind, outcome: Outcome::Denied, actor: Actor::Agent, subject, reason };
            ::metrics::counter!("reverie_mesh_peers_refused_total").increment(1);
            denials::record_peer(keeper, event).await;
            Reply::Done
        }
        Request::Peers(peers) => {
            heard_of_peers(keeper, peers);
            Reply::Done
        }
        Request::Metrics(metrics) => {
            super::network::show(metrics);
            Reply::Done
        }
        Request::Stats => Reply::Stats(stats(keeper)),
        Request::Watch { .. } | Request::AwaitClient { .. } | Request::WatchFederation { .. } => Reply::Done,
    }
}

fn no_such_task() -> Reply {
    Reply::Failed { message: "there is no such task, or no longer".to_owned() }
}

fn done(result: Result<(), MeshError>) -> Reply {
    match result {
        Ok(()) => Reply::Done,
        Err(error) => Reply::Failed { message: error.to_string() },
    }
}

fn heard_of_peers(keeper: &Keeper, peers: Vec<PeerState>) {
    let others = |view: &View<'_>| {
        let members =
            view.members().hosts().iter().filter(|(node, member)| member.standing.is_some() && **node != keeper.host.node_id);
        members.map(|(node, _)| node.clone()).collect::<BTreeSet<NodeId>>()
    };
    let others = keeper.mesh.look(others).unwrap_or_default();
    let mut known = keeper.mesh.peers();
    known.extend(peers.into_iter().map(|peer| (peer.node.clone(), peer)));
    // Whoever net may make up, it is only hosts that are in.
    known.retain(|node, _| others.contains(node));
    drop(known);
    status::note_refusal(keeper);
    super::metrics::note_lag(keeper);
}

fn stats(keeper: &Keeper) -> Stats {
    let mesh = &keeper.mesh;
    let seen = mesh.look(|view| {
        let counts = view.counts().into_iter().map(|(name, count)| (name.to_owned(), count)).collect();
        let host = view.host(&keeper.host.node_id);
        let keys = host.filter(|host| host.standing.is_some()).and_then(|host| host.keys.into_iter().next());
        (counts, keys)
    });
    let (counts, key) = seen.unwrap_or_default();
    Stats {
        crdt_generation: mesh.merged.load(Ordering::Relaxed),
        counts,
        active_signing_kid: keeper.token_keys.signing(Purpose::JwtSvid, clock::now()).map(|key| key.record.kid.to_string()),
        kem_enrolled: key.as_ref().is_some_and(|key| key.kem_key.is_some()),
        gossip_signing_enrolled: key.is_some(),
        persist_errors: mesh.persist_errors.load(Ordering::Relaxed),
        wrapping_key_pull_errors: mesh.wrapping_key_pull_errors.load(Ordering::Relaxed),
    }
}
