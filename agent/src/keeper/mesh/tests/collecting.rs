//! Tombstones that everyone has go, and nothing comes back.

use reverie_core::ipc::net::PeerState;

use super::*;
use crate::keeper::mesh::collecting::collect;

fn word_of(agent: &Agent) -> PeerState {
    PeerState {
        node: agent.host.node_id.clone(),
        state: "alive".to_owned(),
        address: None,
        last_sync: None,
        last_inbound: None,
        offset_ms: None,
        round_trip_ms: None,
        failures: 0,
        last_error: None,
        vector: Some(agent.mesh.vector()),
    }
}

fn standing(agent: &Agent) -> usize {
    agent.mesh.read().core.as_ref().unwrap().set.len()
}

#[tokio::test]
async fn tombstones_go_once_every_host_has_them_and_a_host_that_was_away_resurrects_nothing() {
    let (_directory, founder, member) = two().await;
    let clients = (0..300).map(|number| Draft::put(Collection::Clients, format!("app{number}"), &Client { display_name: None }));
    write(&founder, clients.map(Result::unwrap).collect(), Change::default()).await.unwrap();
    member.pull(&founder).await;
    let away = member.mesh.vector();
    let gone = (1..300).map(|number| Draft::withdraw(Collection::Clients, format!("app{number}"))).collect();
    write(&founder, gone, Change::default()).await.unwrap();

    assert_eq!(collect(&founder).await.unwrap(), 0, "nobody said a word");
    founder.ask(Request::Peers(vec![word_of(&member)])).await;
    assert_eq!(collect(&founder).await.unwrap(), 0, "the member does not have them yet");

    // A third host as the member was before: it stands for one that is away.
    let (mut records, _, _) = member.mesh.records(&VersionVector::default(), 4 << 20);
    member.pull(&founder).await;
    founder.ask(Request::Peers(vec![word_of(&member)])).await;
    let before = standing(&founder);
    assert_eq!(collect(&founder).await.unwrap(), 299);
    assert!(standing(&founder) < before - 290, "{before} {}", standing(&founder));
    assert!(founder.has_client("app0") && !founder.has_client("app1"));

    member.pull(&founder).await;
    assert_eq!((founder.digest(), standing(&founder)), (member.digest(), standing(&member)));
    assert!(member.has_client("app0") && !member.has_client("app1"));
    // What the one that was away had is no news to those above the floor.
    let merged = member.merge(&founder, std::mem::take(&mut records)).await;
    assert_eq!(merged.taken, 0);
    assert!(!member.has_client("app1"));
    // And it learns what it missed.
    let (missed, _, more) = founder.mesh.records(&away, 4 << 20);
    assert!(!missed.is_empty() && !more);
    assert_eq!(collect(&founder).await.unwrap(), 0, "not twice");
}
