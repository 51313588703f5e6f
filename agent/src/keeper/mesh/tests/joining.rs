//! Coming in by token, and every way in which a token is of no use.

use reverie_core::ca::Role;
use reverie_core::mesh::crypto::Signer;
use reverie_core::mesh::join::request::authenticate;
use reverie_core::mesh::join::token::Token;

use super::hosts::{Hosts, Path, invite};
use super::*;
use crate::keeper::mesh::{MeshState, wrapping};

#[tokio::test]
async fn a_host_joins_by_token_and_issues_under_the_mesh() {
    let hosts = Hosts::new();
    let (founder, member) = hosts.two().await;
    assert_eq!((founder.mesh.state(), member.mesh.state()), (MeshState::Authority, MeshState::Member));
    assert_eq!(founder.digest(), member.digest());
    assert_eq!(member.mesh.id(), founder.mesh.id());
    assert_eq!(member.issuers().stored.record.membership.role, Role::Member);
    let held = |agent: &Agent| wrapping::held(&agent.state).unwrap();
    assert_eq!(held(&founder).len(), 1);
    assert_eq!(held(&member), held(&founder), "the wrapping key came with the answer");
    let intermediates =
        founder.mesh.look(|view| view.intermediates().iter().filter(|i| i.intermediate.node == node("b")).count());
    assert_eq!(intermediates, Some(1));
    let limits = member.mesh.look(|view| view.limits(&node("b"))).flatten().unwrap();
    assert_eq!(limits.dns, ["b.example.org"]);
    for kind in ["mesh-founded", "invitation-made", "host-admitted"] {
        assert!(founder.audit().contains(kind), "{kind}");
    }
    assert!(member.audit().contains("mesh-joined"));
}

#[tokio::test]
async fn a_token_used_twice_at_once_lets_one_host_in() {
    let hosts = Hosts::new();
    let founder = hosts.founded().await;
    let token = invite(&founder, "b").await.token;
    let (one, other) = (hosts.start("b", "b1").await, hosts.start("b", "b2").await);
    let others = [&founder];
    let (first, second) = tokio::join!(hosts.join(&one, &token, &others), hosts.join(&other, &token, &others));
    let failed: Vec<String> = [first, second].into_iter().filter_map(Result::err).map(|trouble| trouble.to_string()).collect();
    assert_eq!(failed.len(), 1, "{failed:?}");
    assert!(failed[0].contains("redeemed at") && failed[0].contains("by other keys"), "{failed:?}");
    let keys = founder.mesh.look(|view| view.host(&node("b")).unwrap().keys.len());
    assert_eq!(keys, Some(1));
}

#[tokio::test]
async fn a_host_that_lost_the_answer_joins_with_the_same_token_and_keys() {
    let hosts = Hosts::new();
    let founder = hosts.founded().await;
    let token = invite(&founder, "b").await.token;
    let member = hosts.start("b", "b").await;
    hosts.set_path(Path::AnswersLost);
    hosts.join(&member, &token, &[&founder]).await.unwrap_err();
    assert_eq!(member.mesh.state(), MeshState::None);
    hosts.set_path(Path::Open);
    hosts.join(&member, &token, &[&founder]).await.unwrap();
    assert_eq!(member.mesh.state(), MeshState::Member);
    let seen = hosts.seen.lock().unwrap();
    assert_eq!(seen[0].signing_key, seen[1].signing_key);
    assert_ne!(seen[0].mac, seen[1].mac, "over another connection");
}

#[tokio::test]
async fn a_redeemed_token_is_remembered_across_a_restart_of_its_issuer() {
    let hosts = Hosts::new();
    let founder = hosts.founded().await;
    let token = invite(&founder, "b").await.token;
    let member = hosts.start("b", "b").await;
    hosts.set_path(Path::AnswersLost);
    hosts.join(&member, &token, &[&founder]).await.unwrap_err();
    founder.close().await;
    let founder = hosts.start("a", "a").await;
    hosts.set_path(Path::Open);
    let thief = hosts.start("b", "thief").await;
    let told = hosts.join(&thief, &token, &[&founder]).await.unwrap_err().to_string();
    assert!(told.contains("by other keys"), "{told}");
    hosts.join(&member, &token, &[&founder]).await.unwrap();
}

#[tokio::test]
async fn a_request_taken_on_the_path_is_of_no_use_on_another_connection() {
    let hosts = Hosts::new();
    let founder = hosts.founded().await;
    let token = invite(&founder, "b").await.token;
    let member = hosts.start("b", "b").await;
    hosts.set_path(Path::TwoConnections);
    let told = hosts.join(&member, &token, &[&founder]).await.unwrap_err().to_string();
    assert!(told.contains("403") && told.contains("does not know the token"), "{told}");
    assert!(!founder.mesh.look(|view| view.members().is_in(&node("b"))).unwrap());
    // And the token is as good as before.
    hosts.set_path(Path::Open);
    hosts.join(&member, &token, &[&founder]).await.unwrap();
}

#[tokio::test]
async fn a_token_for_another_host_or_domain_or_of_yesterday_never_leaves_the_host() {
    let hosts = Hosts::new();
    let founder = hosts.founded().await;
    let token: Token = invite(&founder, "b").await.token.parse().unwrap();
    let other = hosts.start("c", "c").await;
    let told = hosts.join(&other, &token.to_line(), &[&founder]).await.unwrap_err().to_string();
    assert!(told.contains("the token is for b.example.org, this host is c.example.org"), "{told}");
    let member = hosts.start("b", "b").await;
    let foreign = Token { trust_domain: "example.com".parse().unwrap(), ..token.clone() };
    let told = hosts.join(&member, &foreign.to_line(), &[&founder]).await.unwrap_err().to_string();
    assert!(told.contains("set trust_domain"), "{told}");
    let old = Token { expires_at: clock::now(), ..token.clone() };
    let told = hosts.join(&member, &old.to_line(), &[&founder]).await.unwrap_err().to_string();
    assert!(told.contains("the token ended at"), "{told}");
    let cut = &token.to_line()[..60];
    let told = hosts.join(&member, cut, &[&founder]).await.unwrap_err().to_string();
    assert!(told.contains("cut off or mistyped"), "{told}");
    assert!(hosts.seen.lock().unwrap().is_empty());
    assert_eq!(member.mesh.state(), MeshState::None);
}

#[tokio::test]
async fn who_holds_a_token_cannot_have_it_let_another_host_in() {
    let hosts = Hosts::new();
    let founder = hosts.founded().await;
    let token: Token = invite(&founder, "b").await.token.parse().unwrap();
    let member = hosts.start("b", "b").await;
    hosts.set_path(Path::AnswersLost);
    hosts.join(&member, &token.to_line(), &[&founder]).await.unwrap_err();
    let mut request = hosts.seen.lock().unwrap()[0].clone();
    // `b` is in; the same token, rightly authenticated, for `c`, and for `a` itself.
    for name in ["c", "a"] {
        request.node = node(name);
        request.mac = authenticate(&token.secret, &request);
        let reply = founder.ask(Request::Join(request.clone())).await;
        let Reply::Refused { status: 403, message } = reply else { panic!("{reply:?}") };
        assert!(message.contains("the token is for b.example.org"), "{message}");
    }
    // The keys of a host that is in, with a token for another.
    let token: Token = invite(&founder, "c").await.token.parse().unwrap();
    (request.node, request.token_id) = (node("c"), token.id);
    request.mac = authenticate(&token.secret, &request);
    let reply = founder.ask(Request::Join(request)).await;
    let Reply::Refused { status: 409, message } = reply else { panic!("{reply:?}") };
    assert!(message.contains("those of b.example.org already"), "{message}");
    assert!(founder.audit().contains("host-refused"));
}

#[tokio::test]
async fn an_answer_that_is_replayed_is_not_taken() {
    let hosts = Hosts::new();
    let founder = hosts.founded().await;
    let token = invite(&founder, "b").await.token;
    let member = hosts.start("b", "b").await;
    hosts.set_path(Path::AnswersLost);
    hosts.join(&member, &token, &[&founder]).await.unwrap_err();
    let first = hosts.seen.lock().unwrap()[0].clone();
    let Reply::Sealable { recipient, payload: replayed } = founder.ask(Request::Join(first)).await else { panic!() };
    assert_eq!(recipient, member.mesh.keys().unwrap().current.public().1, "sealed to the joiner's key");
    // The joiner asks again; whoever is in between answers with the answer from before.
    let asked = reverie_core::api::mesh::JoinRequest { address: "a.example.org:7438".into(), token: Some(token) };
    let joining = crate::keeper::mesh::joining::join(&member, asked, reverie_core::audit::Actor::Agent);
    let answering = async {
        loop {
            if let Some(task) = member.mesh.tasks.list().first() {
                member.ask(Request::PrepareJoin { task: task.number, exporter: [200; 32] }).await;
                member.ask(Request::Report { task: task.number, outcome: Ok(replayed.clone()) }).await;
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
    };
    let (outcome, ()) = tokio::join!(joining, answering);
    let told = outcome.unwrap_err().to_string();
    assert!(told.contains("replayed"), "{told}");
    assert_eq!(member.mesh.state(), MeshState::None);
}

#[tokio::test]
async fn a_host_that_is_in_a_mesh_joins_and_founds_no_other() {
    let hosts = Hosts::new();
    let (founder, member) = hosts.two().await;
    let token = invite(&founder, "c").await.token;
    let told = hosts.join(&member, &token, &[&founder]).await.unwrap_err().to_string();
    assert!(told.contains("already in a mesh"), "{told}");
    let told = crate::keeper::mesh::initiation::init(&founder, Default::default(), reverie_core::audit::Actor::Agent).await;
    assert!(told.unwrap_err().to_string().contains("already in a mesh"));
}

#[tokio::test]
async fn secrets_of_a_token_are_in_no_audit_log() {
    let hosts = Hosts::new();
    let founder = hosts.founded().await;
    let line = invite(&founder, "b").await.token;
    let token: Token = line.parse().unwrap();
    let member = hosts.start("b", "b").await;
    hosts.join(&member, &line, &[&founder]).await.unwrap();
    let secret = data_encoding::HEXLOWER.encode(&*token.secret);
    for log in [founder.audit(), member.audit()] {
        assert!(!log.contains(&secret) && !log.contains(&line[20..60]));
    }
    assert_eq!(token.issuer_key, *founder.mesh.keys().unwrap().current.signing.public_key());
}

#[tokio::test]
async fn tokens_that_were_redeemed_do_not_count_as_open() {
    use reverie_core::mesh::join::invite::{Invite, Redeemed};
    let hosts = Hosts::new();
    let founder = hosts.founded().await;
    let now = clock::now();
    let expires_at = now.after(std::time::Duration::from_secs(600));
    let made = |number: u16, redeemed| {
        let (mut id, node) = ([0; 16], format!("n{number}.example.org").parse().unwrap());
        id[..2].copy_from_slice(&number.to_be_bytes());
        let (secret, limits) = (Zeroizing::new([0; 32]), Default::default());
        let invite = Invite { id, secret, node, made_at: now, expires_at, limits, readmission: false, redeemed };
        crate::keeper::mesh::inviting::row_of(&invite).unwrap()
    };
    let redeemed = || Some(Redeemed { applicant: [0; 32], at: now, chain: vec![] });
    let all = |writes| founder.commit(Change { writes, events: vec![] });
    all((0..1024).map(|number| made(number, redeemed())).collect()).await.unwrap();
    invite(&founder, "b").await;
    all((0..1024).map(|number| made(number, None)).collect()).await.unwrap();
    let request = reverie_core::api::mesh::InviteRequest { node_id: node("c"), ttl_seconds: 600, limits: None };
    let refused = crate::keeper::mesh::inviting::invite(&founder, request, false, reverie_core::audit::Actor::Agent).await;
    assert!(refused.unwrap_err().to_string().contains("1024 tokens are open already"));
}

#[tokio::test]
async fn a_join_by_kerberos_is_tried_at_another_authority_with_the_keys_that_the_first_may_have_taken() {
    let hosts = Hosts::new();
    let joiner = hosts.start_with("b", "b", "[gossip]\nkeytab = \"/nowhere\"\n").await;
    let mut kids = vec![];
    for address in ["a.example.org:7438", "c.example.org:7438"] {
        let asked = reverie_core::api::mesh::JoinRequest { address: address.to_owned(), token: None };
        let joining = crate::keeper::mesh::joining::join(&joiner, asked, reverie_core::audit::Actor::Agent);
        hosts.while_carrying(&joiner, &[], joining).await.unwrap_err();
        kids.push(joiner.mesh.keys().unwrap().current.kid());
    }
    assert_eq!(kids[0], kids[1]);
}
