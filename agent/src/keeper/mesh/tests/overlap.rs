//! Rotation of a host's own keys: others follow, and nobody is left behind.

use reverie_core::mesh::crypto::Decapsulator;

use super::hosts::{Hosts, invite};
use super::*;
use crate::keeper::mesh::{keys, overlap, renewal, situation, wrapping};

fn peer_keys(at: &Agent, name: &str) -> Vec<String> {
    let situation = situation::build(at);
    let peer = situation.peers.into_iter().find(|peer| peer.node == node(name)).unwrap();
    peer.signing_keys.iter().map(|key| key.kid().to_string()).collect()
}

#[tokio::test]
async fn a_host_speaks_with_its_old_keys_until_every_peer_knows_the_new_ones() {
    let hosts = Hosts::new();
    let (founder, member) = hosts.two().await;
    let old = member.mesh.keys().unwrap().current.kid();
    keys::rotate(&member, Change::default()).await.unwrap();
    let ring = member.mesh.keys().unwrap();
    let new = ring.current.kid();
    assert!(ring.is_rotating() && ring.speaking.kid() == old && new != old);
    assert!(!overlap::end_if_known(&member).await.unwrap(), "the founder was down");
    assert_eq!(peer_keys(&founder, "b"), [old.to_string()]);
    hosts.sync(&founder, &member).await;
    assert_eq!(peer_keys(&founder, "b"), [old.to_string(), new.to_string()], "both are taken, the one in use first");
    assert!(overlap::end_if_known(&member).await.unwrap());
    assert!(!member.mesh.keys().unwrap().is_rotating());
    assert_eq!(situation::build(&member).mesh.unwrap().signing_key.kid(), new);
    hosts.sync(&founder, &member).await;
    assert_eq!(peer_keys(&founder, "b"), [new.to_string()], "the old one is over");
    assert_eq!(founder.digest(), member.digest());
}

#[tokio::test]
async fn a_host_is_renewed_and_served_while_its_keys_rotate() {
    let hosts = Hosts::new();
    let (founder, member) = hosts.two().await;
    keys::rotate(&member, Change::default()).await.unwrap();
    for step in ["nobody knows", "the founder knows", "over"] {
        hosts.while_carrying(&member, &[&founder], renewal::ask_once(&member)).await.expect(step);
        hosts.while_carrying(&member, &[&founder], wrapping::pull_from(&member, &node("a"))).await.expect(step);
        hosts.sync(&founder, &member).await;
        overlap::end_if_known(&member).await.unwrap();
    }
}

#[tokio::test]
async fn an_overlap_outlives_a_restart_and_what_was_sealed_to_the_old_key_opens() {
    let hosts = Hosts::new();
    let (_founder, member) = hosts.two().await;
    let old = member.mesh.keys().unwrap().current.kem.public_key().kid();
    keys::rotate(&member, Change::default()).await.unwrap();
    let new = member.mesh.keys().unwrap().current.kid();
    member.close().await;
    let member = hosts.start("b", "b").await;
    let ring = member.mesh.keys().unwrap();
    assert!(ring.is_rotating() && ring.current.kid() == new);
    assert!(ring.kem(&old).is_some());
}

#[tokio::test]
async fn an_authority_lets_hosts_in_while_its_keys_rotate() {
    let hosts = Hosts::new();
    let founder = hosts.founded().await;
    let other = hosts.start("c", "c").await;
    hosts.join(&other, &invite(&founder, "c").await.token, &[&founder]).await.unwrap();
    keys::rotate(&founder, Change::default()).await.unwrap();
    assert!(founder.mesh.keys().unwrap().is_rotating());
    let member = hosts.start("b", "b").await;
    hosts.join(&member, &invite(&founder, "b").await.token, &[&founder]).await.unwrap();
    assert_eq!(member.mesh.state(), crate::keeper::mesh::MeshState::Member);
}
