//! Coming into a mesh whose records do not fit into one answer.

use reverie_core::mesh::collection::Node;
use reverie_core::mesh::crypto::{KemPublicKey, SigningPublicKey};
use reverie_core::mesh::join::answer::MAX_RECORDS;

use super::hosts::{Hosts, invite, readmit};
use super::*;
use crate::keeper::mesh::MeshState;

fn bytes(agent: &Agent) -> usize {
    agent.mesh.read().core.as_ref().unwrap().set.bytes()
}

fn is_arriving(agent: &Agent) -> bool {
    agent.mesh.read().core.as_ref().unwrap().arriving.is_some()
}

/// One page of what it lacks, as an answer to it; whether there are more.
async fn page(at: &Agent, from: &Agent) -> bool {
    let (records, _, more) = from.mesh.records(&at.mesh.vector(), 256 << 10);
    let (from, vector) = (from.host.node_id.clone(), from.mesh.vector());
    let reply = at.ask(Request::Merge { from, records, vector, more: Some(more) }).await;
    let Reply::Merged(merged) = reply else { panic!("{reply:?}") };
    assert_eq!(merged.refused, Vec::<String>::new());
    more
}

async fn take_all(at: &Agent, from: &Agent) {
    while page(at, from).await {}
    assert!(!is_arriving(at));
    from.pull(at).await;
}

async fn provision(at: &Agent, clients: usize) {
    for begin in (0..clients).step_by(500) {
        let client =
            |number| Draft::put(Collection::Clients, format!("client-{number}"), &Client { display_name: None }).unwrap();
        write(at, (begin..begin + 500).map(client).collect(), Change::default()).await.unwrap();
    }
}

/// Admissions of hosts that are not there, as `by` says them.
async fn admit_many(by: &Agent, hosts: usize) {
    let mut drafts = vec![];
    for number in 0..hosts {
        let who: NodeId = format!("many-{number}.example.org").parse().unwrap();
        let mut point = [4; 65];
        point[1..9].copy_from_slice(&(number as u64).to_be_bytes());
        let signing_key = SigningPublicKey(point);
        let kid = signing_key.kid();
        let kem_key = Some(KemPublicKey(Box::new([7; 1184])));
        let admission = Admission {
            node: who.clone(),
            signing_key,
            kem_key,
            standing: Standing::Member,
            by: "token".to_owned(),
            despite: Default::default(),
        };
        drafts.push(Draft::put(Collection::Admissions, key::admission(&who, &kid), &admission).unwrap());
    }
    write(by, drafts, Change::default()).await.unwrap();
}

#[tokio::test]
async fn a_host_joins_a_mesh_of_three_thousand_clients_and_many_hosts_and_ends_with_every_record() {
    let hosts = Hosts::new();
    let founder = hosts.founded().await;
    provision(&founder, 3000).await;
    admit_many(&founder, 200).await;
    assert!(bytes(&founder) > MAX_RECORDS);
    let member = hosts.start("b", "b").await;
    hosts.join(&member, &invite(&founder, "b").await.token, &[&founder]).await.unwrap();
    assert_eq!(member.mesh.state(), MeshState::Member);
    let reached = member.mesh.look(|view| view.read::<Node>(Collection::Nodes, "a.example.org").map(|node| node.addresses));
    assert_eq!(reached.unwrap().unwrap(), ["a.example.org:7438"], "whom to ask for the rest");

    // Nothing is claimed that is not there, and nothing passed on.
    assert!(is_arriving(&member) && member.mesh.vector().0.is_empty());
    let (passed_on, _, more) = member.mesh.records(&VersionVector::default(), 1 << 20);
    assert!(passed_on.is_empty() && more, "and nobody takes that for everything");
    // What comes unasked is taken, and says nothing of what came before it.
    let newest = founder.mesh.records(&founder.mesh.vector(), 1 << 20).1;
    founder.put_client("newest").await;
    let (records, _, _) = founder.mesh.records(&newest, 1 << 20);
    member.merge(&founder, records).await;
    assert!(member.has_client("newest") && member.mesh.vector().0.is_empty());

    assert!(page(&member, &founder).await && page(&member, &founder).await);
    let so_far = member.mesh.vector();
    assert!(!so_far.0.is_empty());
    member.close().await;
    let member = hosts.start("b", "b").await;
    assert!(is_arriving(&member));
    assert_eq!(member.mesh.vector(), so_far, "a restart begins where it was");
    take_all(&member, &founder).await;
    assert_eq!(member.digest(), founder.digest());
    assert_eq!(member.mesh.vector(), founder.mesh.vector());
    assert!(member.has_client("client-0") && member.has_client("client-2999"));
}

#[tokio::test]
async fn what_is_said_of_other_hosts_crowds_nothing_out_of_an_answer() {
    let hosts = Hosts::new();
    let founder = hosts.founded().await;
    admit_many(&founder, 600).await;
    assert!(bytes(&founder) > MAX_RECORDS);
    let third = hosts.start("c", "c").await;
    hosts.join(&third, &invite(&founder, "c").await.token, &[&founder]).await.unwrap();
    assert_eq!(third.mesh.state(), MeshState::Member);
    take_all(&third, &founder).await;
    assert_eq!(third.digest(), founder.digest());
}

#[tokio::test]
async fn a_host_that_comes_back_into_a_large_mesh_is_not_taken_for_a_copy() {
    let hosts = Hosts::new();
    let (founder, member) = hosts.two().await;
    let families = |from: usize| (from..from + 20).map(|n| Draft::put(Collection::RefreshFamilies, format!("f{n}"), &n).unwrap());
    write(&member, families(0).collect(), Change::default()).await.unwrap();
    founder.pull(&member).await;
    provision(&founder, 5000).await;
    let token = readmit(&founder, "b").await.unwrap().token;
    // Cut off, it went on with its old keys; that reaches the others later.
    write(&member, families(20).collect(), Change::default()).await.unwrap();
    founder.pull(&member).await;
    let known = founder.mesh.vector().get(&node("b"));
    member.close().await;

    // Its disk is lost.
    let member = hosts.start("b", "b-again").await;
    hosts.join(&member, &token, &[&founder]).await.unwrap();
    assert!(is_arriving(&member));
    take_all(&member, &founder).await;
    assert_eq!(member.mesh.state(), MeshState::Member, "{:?}", member.alarms.all());
    assert_eq!(member.digest(), founder.digest());
    assert!(member.mesh.vector().get(&node("b")) > known);
    write(&member, families(40).collect(), Change::default()).await.unwrap();
    assert_eq!(founder.pull(&member).await.taken, 20);
    assert_eq!(member.digest(), founder.digest());
}
