//! Renewal, eviction, readmission, promotion, leaving.

use std::time::Duration;

use reverie_core::audit::Actor;
use reverie_core::ca::Role;
use reverie_core::ipc::net::PeerState;
use reverie_core::mesh::renewal::{Attempts, Wanted};

use super::hosts::{Hosts, invite, readmit};
use super::*;
use crate::keeper::identity::membership as issuing;
use crate::keeper::mesh::{MeshState, keys, membership, renewal, status, succession, trust, wrapping};

async fn renewal_of(member: &Agent, authority: &str) -> Request {
    let csr = issuing::certificate_request(member).await.unwrap();
    let payload = renewal::request(member, &node(authority), member.mesh.id(), Wanted::Intermediate, csr).unwrap();
    Request::Renew { node: member.host.node_id.clone(), kid: member.mesh.keys().unwrap().speaking.kid(), payload }
}

fn refused(reply: Reply) -> (u16, String) {
    match reply {
        Reply::Refused { status, message } => (status, message),
        other => panic!("{other:?}"),
    }
}

async fn evict(at: &Agent, name: &str) {
    membership::evict(at, node(name), Some("lost".to_owned()), Actor::Agent).await.unwrap();
}

#[tokio::test]
async fn an_authority_renews_a_member_by_its_key_alone_and_once_for_each_request() {
    let hosts = Hosts::new();
    let (founder, member) = hosts.two().await;
    let request = renewal_of(&member, "a").await;
    assert!(matches!(founder.ask(request.clone()).await, Reply::Sealable { .. }));
    assert_eq!(refused(founder.ask(request).await).0, 409, "a replay");
    let Request::Renew { kid, mut payload, node: who } = renewal_of(&member, "a").await else { panic!() };
    *payload.last_mut().unwrap() ^= 1;
    assert_eq!(refused(founder.ask(Request::Renew { node: who, kid, payload }).await).0, 401, "a forged proof");
    let Request::Renew { kid, payload, .. } = renewal_of(&member, "a").await else { panic!() };
    let reply = founder.ask(Request::Renew { node: node("a"), kid, payload }).await;
    assert_eq!(refused(reply).0, 401, "in another's name");
    let stranger = hosts.start("c", "c").await;
    founding::prepare(&stranger, Change::default()).await.unwrap();
    let csr = issuing::certificate_request(&stranger).await.unwrap();
    let payload = renewal::request(&stranger, &node("a"), founder.mesh.id(), Wanted::Membership, csr).unwrap();
    let kid = stranger.mesh.keys().unwrap().current.kid();
    let reply = founder.ask(Request::Renew { node: node("c"), kid, payload }).await;
    assert_eq!(refused(reply).0, 401, "one that nobody admitted");
}

#[tokio::test]
async fn a_member_gets_its_next_intermediate_from_an_authority() {
    let hosts = Hosts::new();
    let (founder, member) = hosts.two().await;
    let before = member.issuers().stored.record.intermediates.len();
    hosts.while_carrying(&member, &[&founder], renewal::ask_once(&member)).await.unwrap();
    assert_eq!(member.issuers().stored.record.intermediates.len(), before + 1);
    assert!(member.audit().contains("intermediate-renewed"));
}

#[tokio::test]
async fn the_alarm_that_nobody_renews_ends_once_an_intermediate_came_otherwise() {
    let hosts = Hosts::new();
    let (_founder, member) = hosts.two().await;
    // It asked while it joined, in vain; then came the answer to its joining.
    *member.mesh.affairs.renewal() = Attempts { failed: 1, last: Some(clock::now()) };
    member.alarms.raise("mesh, renewal", "no authority renews this host's intermediate (there is none)".to_owned());
    let ended = async {
        while !member.alarms.all().is_empty() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::select! {
        () = renewal::follow(Arc::clone(&member.keeper)) => {}
        ended = tokio::time::timeout(Duration::from_secs(5), ended) => ended.unwrap(),
    }
}

#[tokio::test]
async fn a_member_cannot_bring_in_put_out_or_renew_and_says_who_can() {
    let hosts = Hosts::new();
    let (founder, member) = hosts.two().await;
    let told = readmit(&member, "a").await.unwrap_err().to_string();
    assert!(told.contains("takes an authority") && told.contains("a.example.org"), "{told}");
    let told = membership::evict(&member, node("a"), None, Actor::Agent).await.unwrap_err().to_string();
    assert!(told.contains("takes an authority"), "{told}");
    let told = membership::promote(&member, &node("b"), Actor::Agent).await.unwrap_err().to_string();
    assert!(told.contains("takes an authority"), "{told}");
    let reply = member.ask(renewal_of(&founder, "b").await).await;
    let Reply::Refused { status: 503, message } = reply else { panic!("{reply:?}") };
    assert!(message.contains("do it on an authority: a.example.org (a.example.org:7438)"), "{message}");
    // What a member forges about admissions, nobody takes at all.
    let (signing_key, kem_key) = member.mesh.keys().unwrap().current.public();
    let name = key::admission(&node("b"), &signing_key.kid());
    let admission = Admission {
        node: node("b"),
        signing_key,
        kem_key: Some(kem_key),
        standing: Standing::Authority,
        by: "promotion".to_owned(),
        despite: Default::default(),
    };
    let forged = Draft::put(Collection::Admissions, name, &admission).unwrap();
    let told = write(&member, vec![forged.clone()], Change::default()).await.unwrap_err().to_string();
    assert!(told.contains("only an authority of the mesh writes such records in admissions"), "{told}");
    let merged = founder.merge(&member, vec![member.forge(forged)]).await;
    assert_eq!((merged.taken, merged.refused.len()), (0, 1));
    assert_eq!(founder.mesh.look(|view| view.members().is_authority(&node("b"))), Some(false));
    assert_eq!(member.mesh.state(), MeshState::Member);
}

#[tokio::test]
async fn a_host_that_was_put_out_gets_nothing_more_and_cannot_undo_it() {
    let hosts = Hosts::new();
    let (founder, member) = hosts.two().await;
    let (before, kid) = (founder.digest(), member.mesh.keys().unwrap().current.kid());
    evict(&founder, "b").await;
    assert_ne!(before, founder.digest());
    assert_eq!(refused(founder.ask(renewal_of(&member, "a").await).await).0, 403);
    assert_eq!(refused(founder.ask(Request::WrappingKey { node: node("b"), caller: None, nonce: None }).await).0, 403);
    // It writes on, before it hears of it: void.
    let seen = |at: &Agent| at.mesh.look(|view| view.get(Collection::Lockouts, "late/b.example.org").is_some()).unwrap();
    let late = Draft { collection: Collection::Lockouts, key: "late/b.example.org".to_owned(), value: Some(vec![0xa0]) };
    write(&member, vec![late], Change::default()).await.unwrap();
    founder.pull(&member).await;
    assert!(!seen(&founder) && seen(&member));
    let revoked = founder.mesh.look(|view| view.revocations().len()).unwrap();
    assert_eq!(revoked, 1, "its intermediate");
    assert_eq!(
        founder.mesh.look(|view| view.intermediates().iter().filter(|i| i.intermediate.node == node("b")).count()),
        Some(0)
    );
    let told = membership::evict(&founder, node("b"), None, Actor::Agent).await.unwrap_err().to_string();
    assert!(told.contains("out of the mesh already"), "{told}");
    let disconnects = founder.mesh.tasks.list();
    assert!(disconnects.iter().any(|task| format!("{:?}", task.what).contains(&kid.to_string())), "{disconnects:?}");
    member.pull(&founder).await;
    assert_eq!(member.mesh.state(), MeshState::Evicted);
    assert!(write(&member, vec![], Change::default()).await.is_err());
    assert!(founder.audit().contains("host-evicted"));
}

#[tokio::test]
async fn what_an_authority_said_for_the_mesh_outlives_it() {
    let hosts = Hosts::new();
    let (founder, other) = hosts.two().await;
    membership::promote(&founder, &node("b"), Actor::Agent).await.unwrap();
    hosts.sync(&founder, &other).await;
    other.put_client("by the other").await;
    let limits = reverie_core::mesh::collection::IssuingLimits { dns: vec!["a.example.org".into()], ..Default::default() };
    membership::set_limits(&other, &node("a"), limits.clone(), Actor::Agent).await.unwrap();
    hosts.sync(&founder, &other).await;
    evict(&founder, "b").await;
    assert!(founder.has_client("by the other"));
    assert_eq!(founder.mesh.look(|view| view.limits(&node("a"))).flatten(), Some(limits));
    // Whoever stole it writes on, before it hears of it.
    other.put_client("forged").await;
    founder.pull(&other).await;
    assert!(founder.has_client("by the other") && !founder.has_client("forged"));
}

#[tokio::test]
async fn what_an_authority_that_left_had_said_is_said_again_by_another() {
    let hosts = Hosts::new();
    let (founder, other) = hosts.two().await;
    membership::promote(&founder, &node("b"), Actor::Agent).await.unwrap();
    hosts.sync(&founder, &other).await;
    other.put_client("by the other").await;
    let leaving = membership::leave(&other, Actor::Agent);
    let hearing = async {
        while other.mesh.state() != MeshState::Evicted {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        hosts.sync(&founder, &other).await;
    };
    tokio::join!(leaving, hearing).0.unwrap();
    assert!(founder.has_client("by the other"));
    let author = |at: &Agent| at.mesh.look(|view| view.get(Collection::Clients, "by the other").unwrap().author.clone());
    let mut duties = succession::Duties::default();
    duties.once(&founder).await.unwrap();
    let records = founder.mesh.vector().get(&node("a"));
    duties.once(&founder).await.unwrap();
    assert_eq!(founder.mesh.vector().get(&node("a")), records, "once is enough");
    assert!(founder.mesh.look(|view| view.estate_of(&node("b")).is_empty()).unwrap());
    assert!(author(&founder).is_some());
}

#[tokio::test]
async fn an_authority_confirms_the_next_key_of_a_host_and_a_second_one_raises_an_alarm() {
    let hosts = Hosts::new();
    let (founder, member) = hosts.two().await;
    member.close().await;
    hosts.copy("b", "copy");
    let (member, copy) = (hosts.start("b", "b").await, hosts.start("b", "copy").await);
    keys::rotate(&member, Change::default()).await.unwrap();
    keys::rotate(&copy, Change::default()).await.unwrap();
    founder.pull(&member).await;
    succession::Duties::default().once(&founder).await.unwrap();
    let confirmed = |at: &Agent| at.mesh.look(|view| view.members().rotations()[0].confirmed).unwrap();
    assert!(confirmed(&founder));
    founder.pull(&copy).await;
    let kid = member.mesh.keys().unwrap().current.kid();
    let keys = founder.mesh.look(|view| view.members().get(&node("b")).unwrap().keys.clone()).unwrap();
    assert_eq!(keys.iter().map(|key| key.signing_key.kid()).collect::<Vec<_>>(), [kid]);
    assert!(founder.audit().contains("two keys follow one of b.example.org"));
    // It stands as long as what it is about.
    let alarmed = |at: &Agent| at.alarms.stands("mesh, keys of b.example.org");
    assert!(alarmed(&founder));
    founder.close().await;
    let founder = hosts.start("a", "a").await;
    super::super::show_suspects(&founder);
    assert!(alarmed(&founder));
    evict(&founder, "b").await;
    super::super::show_suspects(&founder);
    assert!(!alarmed(&founder));
}

#[tokio::test]
async fn a_host_that_is_not_on_the_list_is_not_put_out_by_the_advice_that_helps_it() {
    let hosts = Hosts::new();
    let (founder, member) = hosts.two().await;
    founder.close().await;
    let founder = hosts.start_with("a", "a", "[gossip]\nallowed_node_ids = [\"a.example.org\"]\n").await;
    let told = readmit(&founder, "b").await.unwrap_err().to_string();
    assert!(told.contains("not on the list") && told.contains("allowed_node_ids"), "{told}");
    assert_eq!(founder.mesh.look(|view| view.members().is_in(&node("b"))), Some(true));
    // And it is told what helps.
    let why = reverie_core::mesh::membership::not_listed(&node("b"));
    let state = PeerState { refuses: Some(why), ..PeerState::new(node("a")) };
    member.ask(Request::Peers(vec![state])).await;
    let advice = status::status(&member).advice.unwrap();
    assert!(advice.contains("allowed_node_ids") && !advice.contains("readmit"), "{advice}");
}

#[tokio::test]
async fn a_host_is_not_put_out_for_a_token_that_cannot_be_made() {
    let hosts = Hosts::new();
    let (founder, _member) = hosts.two().await;
    let now = clock::now();
    let writes = (0..1024u16).map(|number| {
        let (mut id, node) = ([0; 16], format!("n{number}.example.org").parse().unwrap());
        id[..2].copy_from_slice(&number.to_be_bytes());
        let expires_at = now.after(Duration::from_secs(600));
        let (secret, limits) = (zeroize::Zeroizing::new([0; 32]), Default::default());
        let made = reverie_core::mesh::join::invite::Invite {
            id,
            secret,
            node,
            made_at: now,
            expires_at,
            limits,
            readmission: false,
            redeemed: None,
        };
        crate::keeper::mesh::inviting::row_of(&made).unwrap()
    });
    founder.commit(Change { writes: writes.collect(), events: vec![] }).await.unwrap();
    let told = readmit(&founder, "b").await.unwrap_err().to_string();
    assert!(told.contains("1024 tokens are open already"), "{told}");
    assert_eq!(founder.mesh.look(|view| view.members().is_in(&node("b"))), Some(true));
}

/// As much in scopes as one host may say.
async fn fill_scopes(at: &Agent) {
    let share = Collection::Scopes.drawer("s", "a.example.org").share();
    let scope = |number| Draft { collection: Collection::Scopes, key: format!("s{number}"), value: Some(vec![0xa0]) };
    write(at, (0..share).map(scope).collect(), Change::default()).await.unwrap();
}

fn says(at: &Agent, scope: &str) -> bool {
    at.mesh.look(|view| view.get(Collection::Scopes, scope).is_some()).unwrap()
}

async fn say_scope(at: &Agent, scope: &str) {
    let scope = Draft { collection: Collection::Scopes, key: scope.to_owned(), value: Some(vec![0xa0]) };
    write(at, vec![scope], Change::default()).await.unwrap();
}

#[tokio::test]
async fn what_an_authority_said_for_the_mesh_outlives_it_also_where_nobody_has_room_for_it() {
    let hosts = Hosts::new();
    let (founder, other) = hosts.two().await;
    membership::promote(&founder, &node("b"), Actor::Agent).await.unwrap();
    hosts.sync(&founder, &other).await;
    say_scope(&other, "by the other").await;
    hosts.sync(&founder, &other).await;
    fill_scopes(&founder).await;
    evict(&founder, "b").await;
    assert!(says(&founder, "by the other"));
    assert!(founder.audit().contains("1 of its records is upheld, since there is no room to say it again"));
    // It is not forgotten: whoever has room says it again.
    let mut duties = succession::Duties::default();
    duties.once(&founder).await.unwrap();
    assert!(says(&founder, "by the other"));
    write(&founder, vec![Draft::withdraw(Collection::Scopes, "by the other")], Change::default()).await.unwrap_err();
    assert_eq!(founder.mesh.look(|view| view.estate_of(&node("b")).len()), Some(1));
}

#[tokio::test]
async fn one_duty_that_there_is_no_room_for_holds_up_no_other() {
    let hosts = Hosts::new();
    let (founder, other) = hosts.two().await;
    membership::promote(&founder, &node("b"), Actor::Agent).await.unwrap();
    hosts.sync(&founder, &other).await;
    say_scope(&other, "by the other").await;
    other.put_client("by the other").await;
    fill_scopes(&founder).await;
    let leaving = membership::leave(&other, Actor::Agent);
    let hearing = async {
        while other.mesh.state() != MeshState::Evicted {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        hosts.sync(&founder, &other).await;
    };
    tokio::join!(leaving, hearing).0.unwrap();
    succession::Duties::default().once(&founder).await.unwrap();
    let left = founder.mesh.look(|view| view.estate_of(&node("b")));
    let left: Vec<Collection> = left.unwrap().into_iter().map(|again| again.collection).collect();
    assert_eq!(left, [Collection::Scopes]);
    assert!(says(&founder, "by the other") && founder.has_client("by the other"));
}

#[tokio::test]
async fn a_refusal_that_is_not_about_leaving_is_no_word_that_the_goodbye_was_heard() {
    let hosts = Hosts::new();
    let (_founder, member) = hosts.two().await;
    let refusing = |why: &str| PeerState { refuses: Some(why.to_owned()), ..PeerState::new(node("a")) };
    member.ask(Request::Peers(vec![refusing(&reverie_core::mesh::membership::not_listed(&node("b")))])).await;
    let mut leaving = std::pin::pin!(membership::leave(&member, Actor::Agent));
    let waited = tokio::time::timeout(Duration::from_secs(2), &mut leaving).await;
    assert!(waited.is_err(), "{waited:?}");
    assert!(!wrapping::held(&member.state).unwrap().is_empty());
    member.ask(Request::Peers(vec![refusing(&reverie_core::mesh::membership::out(&node("b"), true))])).await;
    leaving.await.unwrap();
}

#[tokio::test]
async fn a_host_that_left_unheard_says_that_it_left() {
    let hosts = Hosts::new();
    let (_founder, member) = hosts.two().await;
    // Nobody carries its word to anyone.
    let leaving = membership::leave(&member, Actor::Agent);
    let said = async {
        while member.mesh.state() != MeshState::Evicted {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::select! {
        left = leaving => panic!("{left:?}"),
        () = said => {}
    }
    let status = status::status(&member);
    assert_eq!(status.state, "left");
    assert!(status.advice.unwrap().contains("agentctl mesh leave"));
}

#[tokio::test]
async fn a_host_that_lost_its_disk_comes_back_by_readmission_only() {
    let hosts = Hosts::new();
    let (founder, old) = hosts.two().await;
    let new = hosts.start("b", "new").await;
    let request = reverie_core::api::mesh::InviteRequest { node_id: node("b"), ttl_seconds: 60, limits: None };
    let told = crate::keeper::mesh::inviting::invite(&founder, request, false, Actor::Agent).await.unwrap_err().to_string();
    assert!(told.contains("agentctl mesh readmit b.example.org"), "{told}");
    let token = readmit(&founder, "b").await.unwrap().token;
    assert_eq!(founder.mesh.look(|view| view.members().is_in(&node("b"))), Some(false), "the old keys end at once");
    hosts.join(&new, &token, &[&founder]).await.unwrap();
    hosts.sync(&founder, &new).await;
    assert_eq!(new.mesh.state(), MeshState::Member);
    assert_eq!(founder.digest(), new.digest());
    // Who has the old disk is out for good.
    let late = Draft { collection: Collection::Lockouts, key: "old/b.example.org".to_owned(), value: Some(vec![0xa0]) };
    write(&old, vec![late], Change::default()).await.unwrap();
    founder.pull(&old).await;
    assert!(founder.mesh.look(|view| view.get(Collection::Lockouts, "old/b.example.org").is_none()).unwrap());
    assert_eq!(refused(founder.ask(renewal_of(&old, "a").await).await).0, 401);
}

#[tokio::test]
async fn a_token_of_before_an_eviction_lets_nobody_in_after_it() {
    let hosts = Hosts::new();
    let founder = hosts.founded().await;
    let token = invite(&founder, "b").await.token;
    let member = hosts.start("b", "b").await;
    hosts.join(&member, &token, &[&founder]).await.unwrap();
    hosts.sync(&founder, &member).await;
    evict(&founder, "b").await;
    let request = hosts.seen.lock().unwrap()[0].clone();
    assert_eq!(refused(founder.ask(Request::Join(request)).await).0, 403, "the answer is not given again");
    let other = hosts.start("b", "other").await;
    let told = hosts.join(&other, &token, &[&founder]).await.unwrap_err().to_string();
    assert!(told.contains("by other keys"), "{told}");
}

#[tokio::test]
async fn a_promoted_member_makes_a_root_that_the_others_trust_and_admits_hosts_itself() {
    let hosts = Hosts::new();
    let (founder, member) = hosts.two().await;
    membership::promote(&founder, &node("b"), Actor::Agent).await.unwrap();
    hosts.sync(&founder, &member).await;
    assert_eq!(member.mesh.state(), MeshState::Authority);
    issuing::promote(&member, Actor::Agent).await.unwrap();
    trust::once(&member, &mut None).await.unwrap();
    assert_eq!(member.issuers().stored.record.membership.role, Role::Own);
    hosts.sync(&founder, &member).await;
    let holders = founder.mesh.look(|view| view.bundle().iter().map(|root| root.holder.clone()).collect::<Vec<_>>()).unwrap();
    assert!(holders.contains(&node("a")) && holders.contains(&node("b")), "{holders:?}");
    // The first authority is lost; the second puts it out and goes on.
    membership::evict(&member, node("a"), None, Actor::Agent).await.unwrap();
    assert_eq!(member.mesh.look(|view| view.bundle().iter().all(|root| *root.holder == node("b"))), Some(true));
    let token = invite(&member, "c").await;
    assert_eq!(token.addresses, ["b.example.org:7438"]);
}

#[tokio::test]
async fn a_host_that_leaves_says_so_and_is_its_own_root_again() {
    let hosts = Hosts::new();
    let (founder, member) = hosts.two().await;
    let leaving = membership::leave(&member, Actor::Agent);
    let hearing = async {
        while member.mesh.state() != MeshState::Evicted {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        hosts.sync(&founder, &member).await;
    };
    let (left, ()) = tokio::join!(leaving, hearing);
    left.unwrap();
    assert_eq!(member.mesh.state(), MeshState::Left);
    assert_eq!(member.issuers().stored.record.membership.role, Role::Own);
    assert!(wrapping::held(&member.state).unwrap().is_empty());
    let out = founder.mesh.look(|view| view.host(&node("b")).unwrap()).unwrap();
    assert!(out.standing.is_none() && out.evicted.unwrap().left);
    let told = membership::leave(&member, Actor::Agent).await.unwrap_err().to_string();
    assert!(told.contains("in no mesh"), "{told}");
    membership::leave(&founder, Actor::Agent).await.expect("the last one leaves without a word");
}

#[tokio::test]
async fn the_last_authority_does_not_leave_others_behind() {
    let hosts = Hosts::new();
    let (founder, _member) = hosts.two().await;
    let told = membership::leave(&founder, Actor::Agent).await.unwrap_err().to_string();
    assert!(told.contains("the last authority") && told.contains("agentctl mesh promote b.example.org"), "{told}");
    assert_eq!(founder.mesh.state(), MeshState::Authority);
}

#[tokio::test]
async fn what_a_host_may_issue_is_said_by_authorities() {
    let hosts = Hosts::new();
    let (founder, member) = hosts.two().await;
    let limits = reverie_core::mesh::collection::IssuingLimits {
        dns: vec!["b.example.org".into(), "web.example.org".into()],
        spiffe: vec!["/svc/web".into()],
        ..Default::default()
    };
    assert!(membership::set_limits(&member, &node("b"), limits.clone(), Actor::Agent).await.is_err());
    membership::set_limits(&founder, &node("b"), limits.clone(), Actor::Agent).await.unwrap();
    hosts.sync(&founder, &member).await;
    assert_eq!(member.mesh.look(|view| view.limits(&node("b"))).flatten(), Some(limits));
    let wrong = reverie_core::mesh::collection::IssuingLimits { spiffe: vec!["svc".into()], ..Default::default() };
    assert!(membership::set_limits(&founder, &node("b"), wrong, Actor::Agent).await.is_err());
}
