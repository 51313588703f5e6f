//! Tombstones that everyone has go, and nothing comes back.

use reverie_core::ipc::net::PeerState;

use super::*;
use crate::keeper::mesh::collecting::collect;

/// What `at` knows of a host that it agrees with.
fn word_of(agent: &Agent, at: &Agent) -> PeerState {
    let epoch = at.mesh.read().core.as_ref().unwrap().author.position().epoch;
    let mut state = PeerState { agreed_in: Some(epoch), ..PeerState::new(agent.host.node_id.clone()) };
    state.compare(&agent.mesh.vector(), &at.host.node_id, &at.mesh.vector());
    state
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
    founder.ask(Request::Peers(vec![word_of(&member, &founder)])).await;
    assert_eq!(collect(&founder).await.unwrap(), 0, "the member does not have them yet");

    // A third host as the member was before: it stands for one that is away.
    let (mut records, _, _) = member.mesh.records(&VersionVector::default(), 4 << 20);
    member.pull(&founder).await;
    founder.ask(Request::Peers(vec![word_of(&member, &founder)])).await;
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

#[tokio::test]
async fn what_one_authority_said_and_another_deleted_stays_deleted_when_tombstones_go() {
    let directory = tempfile::tempdir().unwrap();
    let (first, second) =
        (Agent::open(&directory.path().join("a"), "a").await, Agent::open(&directory.path().join("b"), "b").await);
    first.found().await;
    first.admit(&second, Standing::Authority).await;
    second.put_client("of-the-second").await;
    first.pull(&second).await;
    let clients = (0..300).map(|number| Draft::put(Collection::Clients, format!("app{number}"), &Client { display_name: None }));
    write(&first, clients.map(Result::unwrap).collect(), Change::default()).await.unwrap();
    let gone = (0..300).map(|number| Draft::withdraw(Collection::Clients, format!("app{number}")));
    let gone = gone.chain([Draft::withdraw(Collection::Clients, "of-the-second")]).collect();
    write(&first, gone, Change::default()).await.unwrap();
    assert!(!first.has_client("of-the-second"));

    second.pull(&first).await;
    first.ask(Request::Peers(vec![word_of(&second, &first)])).await;
    assert_eq!(collect(&first).await.unwrap(), 300);
    second.pull(&first).await;
    assert_eq!(first.digest(), second.digest());
    assert!(!first.has_client("of-the-second") && !second.has_client("of-the-second"));

    // Its own deletion lets the other's go.
    write(&second, vec![Draft::withdraw(Collection::Clients, "of-the-second")], Change::default()).await.unwrap();
    first.pull(&second).await;
    assert!(!first.has_client("of-the-second"));
}

#[tokio::test]
async fn nothing_is_collected_until_a_resumed_host_agreed_with_every_host_that_is_in() {
    let (_directory, founder, member) = two().await;
    let clients = (0..256).map(|number| Draft::put(Collection::Clients, format!("app{number}"), &Client { display_name: None }));
    write(&founder, clients.map(Result::unwrap).collect(), Change::default()).await.unwrap();
    let gone = (0..256).map(|number| Draft::withdraw(Collection::Clients, format!("app{number}"))).collect();
    write(&founder, gone, Change::default()).await.unwrap();
    member.pull(&founder).await;
    let before = word_of(&member, &founder);
    founding::resume(&founder, Change::default()).await.unwrap();
    // Net still tells what it knew; the peer may have records of ours that we lost.
    founder.ask(Request::Peers(vec![before])).await;
    assert_eq!(collect(&founder).await.unwrap(), 0);
    founder.ask(Request::Peers(vec![word_of(&member, &founder)])).await;
    assert_eq!(collect(&founder).await.unwrap(), 256);
}
