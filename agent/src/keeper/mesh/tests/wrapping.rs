//! The cluster wrapping key: who gets it, and how it changes.

use reverie_core::audit::Actor;
use reverie_core::mesh::crypto::Decapsulator;
use reverie_core::mesh::wrapping::{NotOpened, Occasion, WrappingKey, WrappingKeys, open, seal};
use reverie_crypto::aws::{Aws, KemKey};

use super::hosts::Hosts;
use super::*;
use crate::keeper::mesh::{membership, wrapping};

fn versions(agent: &Agent) -> Vec<u64> {
    wrapping::held(&agent.state).unwrap().iter().map(|key| key.version).collect()
}

async fn say_versions(hosts: &Hosts, one: &Agent, other: &Agent) {
    for agent in [one, other] {
        crate::keeper::mesh::heads::tell(agent).await.unwrap();
    }
    hosts.sync(one, other).await;
}

#[tokio::test]
async fn a_new_version_stands_beside_the_old_until_every_live_host_has_it() {
    let hosts = Hosts::new();
    let (founder, member) = hosts.two().await;
    say_versions(&hosts, &founder, &member).await;
    assert_eq!(wrapping::rotate(&founder, Actor::Agent).await.unwrap(), 2);
    say_versions(&hosts, &founder, &member).await;
    wrapping::drop_old(&founder).await.unwrap();
    assert_eq!((versions(&founder), versions(&member)), (vec![2, 1], vec![1]), "the member was down");
    assert_eq!(wrapping::lacking(&member), Some(2));
    hosts.while_carrying(&member, &[&founder], wrapping::pull(&member, 2, 0)).await.unwrap();
    assert_eq!(versions(&member), [2, 1]);
    assert_eq!(wrapping::held(&member.state).unwrap(), wrapping::held(&founder.state).unwrap());
    say_versions(&hosts, &founder, &member).await;
    for agent in [&founder, &member] {
        wrapping::drop_old(agent).await.unwrap();
        assert_eq!(versions(agent), [2]);
    }
    hosts.sync(&founder, &member).await;
    let named = member.mesh.look(|view| view.entries(Collection::WrappingKeys).count());
    assert_eq!(named, Some(1), "its author withdrew the old one");
    for (agent, kinds) in [(&founder, ["wrapping-key-rotated", "wrapping-key-served"]), (&member, ["wrapping-key-pulled"; 2])] {
        assert!(kinds.iter().all(|kind| agent.audit().contains(kind)), "{kinds:?}");
    }
}

#[tokio::test]
async fn an_eviction_makes_a_new_version_that_the_evicted_cannot_have() {
    let hosts = Hosts::new();
    let (founder, member) = hosts.two().await;
    membership::evict(&founder, node("b"), None, Actor::Agent).await.unwrap();
    assert_eq!(versions(&founder), [2, 1]);
    let told = hosts.while_carrying(&member, &[&founder], wrapping::pull_from(&member, &node("a"))).await.unwrap_err();
    assert!(told.contains("403"), "{told}");
}

#[tokio::test]
async fn only_a_host_of_the_mesh_is_given_the_key_and_not_too_often() {
    let hosts = Hosts::new();
    let (founder, _member) = hosts.two().await;
    let by = |name: &str, caller: Option<&str>| {
        founder.ask(Request::WrappingKey { node: node(name), caller: caller.map(node), nonce: Some([1; 16]) })
    };
    let ask = |name: &str| by(name, None);
    let reply = ask("c").await;
    assert!(matches!(reply, Reply::Refused { status: 404, .. }), "{reply:?}");
    let mut last = ask("b").await;
    assert!(matches!(last, Reply::Sealable { .. }));
    for _ in 0..20 {
        last = ask("b").await;
    }
    assert!(matches!(last, Reply::Refused { status: 429, .. }), "{last:?}");
    // Whoever asks in its name, be it another member, does not keep it from the key itself.
    let another = by("b", Some("a")).await;
    assert!(matches!(another, Reply::Refused { status: 429, .. }), "{another:?}");
    let itself = by("b", Some("b")).await;
    assert!(matches!(itself, Reply::Sealable { .. }), "{itself:?}");
    assert!(founder.audit().matches("wrapping-key-served").count() < 8, "strangers fill the log");
}

#[tokio::test]
async fn a_host_that_is_not_on_the_list_is_not_given_the_key() {
    let hosts = Hosts::new();
    let directory = tempfile::tempdir().unwrap();
    let (founder, member) = hosts.two().await;
    drop((founder, member, directory));
    let hosts = Hosts::new();
    let more = "[gossip]\nallowed_node_ids = [\"a.example.org\"]\n";
    let founder = hosts.start_with("a", "a", more).await;
    crate::keeper::mesh::initiation::init(&founder, Default::default(), Actor::Agent).await.unwrap();
    let member = hosts.start("b", "b").await;
    founder.admit(&member, Standing::Member).await;
    let reply = founder.ask(Request::WrappingKey { node: node("b"), caller: None, nonce: None }).await;
    assert!(matches!(reply, Reply::Refused { status: 403, .. }), "{reply:?}");
}

#[tokio::test]
async fn the_key_opens_for_its_recipient_and_its_question_alone() {
    let hosts = Hosts::new();
    let (founder, member) = hosts.two().await;
    let mesh = founder.mesh.id().unwrap();
    let reply = founder.ask(Request::WrappingKey { node: node("b"), caller: None, nonce: Some([5; 16]) }).await;
    let Reply::Sealable { recipient, payload } = reply else { panic!("{reply:?}") };
    assert_eq!(recipient, member.mesh.keys().unwrap().current.public().1);
    let (b, c) = (node("b"), node("c"));
    let occasion = Occasion { mesh: &mesh, recipient: &b, nonce: [5; 16] };
    let answer = WrappingKeys::check(&payload, occasion).unwrap();
    // Net opens the envelope; the key is sealed once more.
    let key = wrapping::held(&founder.state).unwrap().remove(0);
    assert!(!payload.windows(32).any(|window| window == key.key));
    assert_eq!(wrapping::opened(&member, &answer.keys, occasion).unwrap()[0], key);
    let ring = member.mesh.keys().unwrap();
    let digest = key.digest();
    let opens = |with: &KemKey, occasion, digest: &[u8; 32]| open(&Aws, with, &answer.keys[0], occasion, digest);
    assert_eq!(opens(&founder.mesh.keys().unwrap().current.kem, occasion, &digest), Err(NotOpened), "another host");
    for wrong in
        [Occasion { mesh: &[0; 16], ..occasion }, Occasion { recipient: &c, ..occasion }, Occasion { nonce: [6; 16], ..occasion }]
    {
        assert_eq!(opens(&ring.current.kem, wrong, &digest), Err(NotOpened));
    }
    assert_eq!(opens(&ring.current.kem, occasion, &[0; 32]), Err(NotOpened), "not the key the mesh names");
    // Another version's number on the same bytes.
    let mut renumbered = answer.keys[0].clone();
    renumbered.version = 2;
    assert_eq!(open(&Aws, &ring.current.kem, &renumbered, occasion, &digest), Err(NotOpened));
}

#[tokio::test]
async fn a_key_that_the_mesh_does_not_name_is_not_taken() {
    let hosts = Hosts::new();
    let (founder, member) = hosts.two().await;
    let (mesh, b) = (founder.mesh.id().unwrap(), node("b"));
    let occasion = Occasion { mesh: &mesh, recipient: &b, nonce: [0; 16] };
    let to = member.mesh.keys().unwrap().current.kem.public_key().clone();
    for forged in [WrappingKey { version: 1, key: [9; 32] }, WrappingKey { version: 2, key: [9; 32] }] {
        let sealed = seal(&Aws, &forged, &to, occasion).unwrap();
        assert_eq!(wrapping::opened(&member, &[sealed], occasion).unwrap(), [], "version {}", forged.version);
    }
}

#[tokio::test]
async fn many_evictions_in_a_row_lose_no_version_that_a_live_host_lacks() {
    let hosts = Hosts::new();
    let (founder, member) = hosts.two().await;
    say_versions(&hosts, &founder, &member).await;
    for version in 2..10 {
        assert_eq!(wrapping::rotate(&founder, Actor::Agent).await.unwrap(), version);
        wrapping::drop_old(&founder).await.unwrap();
    }
    assert_eq!(versions(&founder), [9, 8, 7, 6, 5, 4, 3, 2, 1]);
    say_versions(&hosts, &founder, &member).await;
    hosts.while_carrying(&member, &[&founder], wrapping::pull(&member, 9, 0)).await.unwrap();
    assert_eq!(versions(&member), versions(&founder));
}

#[tokio::test]
async fn a_version_that_the_asker_has_not_heard_of_does_not_cost_it_the_others() {
    let hosts = Hosts::new();
    let (founder, member) = hosts.two().await;
    wrapping::rotate(&founder, Actor::Agent).await.unwrap();
    hosts.sync(&founder, &member).await;
    wrapping::rotate(&founder, Actor::Agent).await.unwrap();
    assert_eq!(wrapping::lacking(&member), Some(2));
    hosts.while_carrying(&member, &[&founder], wrapping::pull_from(&member, &node("a"))).await.unwrap();
    assert_eq!(versions(&member), [2, 1]);
}

/// A promoted member says a version that nobody has, and is put out: what the mesh then names, and what its evictor holds.
async fn after_a_forged_version(version: u64) -> (Agent, Option<u64>) {
    use reverie_core::mesh::collection::WrappingKeyVersion;
    let hosts = Hosts::new();
    let (founder, thief) = hosts.two().await;
    membership::promote(&founder, &node("b"), Actor::Agent).await.unwrap();
    hosts.sync(&founder, &thief).await;
    let said = WrappingKeyVersion { version, digest: [1; 32], made_at: clock::now() };
    let draft = Draft::put(Collection::WrappingKeys, version.to_string(), &said).unwrap();
    write(&thief, vec![draft], Change::default()).await.unwrap();
    founder.pull(&thief).await;
    assert_eq!(wrapping::lacking(&founder), Some(version));
    membership::evict(&founder, node("b"), None, Actor::Agent).await.unwrap();
    assert_eq!(wrapping::lacking(&founder), None);
    let newest = founder.mesh.look(|view| view.wrapping_key().map(|newest| newest.version)).unwrap();
    (founder, newest)
}

#[tokio::test]
async fn a_stolen_authority_that_says_the_last_of_all_versions_is_put_out_and_leaves_nothing_behind() {
    let (founder, newest) = after_a_forged_version(u64::MAX).await;
    assert_eq!(versions(&founder), [2, 1]);
    assert_eq!(newest, Some(2));
    assert_eq!(wrapping::rotate(&founder, Actor::Agent).await.unwrap(), 3);
}

#[tokio::test]
async fn a_version_that_nobody_has_is_not_said_again_for_whoever_is_put_out() {
    let (founder, newest) = after_a_forged_version(1000).await;
    assert_eq!(versions(&founder), [1001, 1]);
    assert_eq!(newest, Some(1001));
    let forged = founder.mesh.look(|view| view.get(Collection::WrappingKeys, "1000").is_some());
    assert_eq!(forged, Some(false));
}
