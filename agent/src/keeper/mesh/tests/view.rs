//! Situation and view: who is a peer, and when what was held back is shown.

use super::*;
use crate::keeper::mesh::situation;

async fn situation_of(
    agent: &Agent,
    enough: impl Fn(&reverie_core::ipc::net::Situation) -> bool,
) -> reverie_core::ipc::net::Situation {
    let mut seen = 0;
    let wait = async {
        loop {
            let Reply::Situation(Some(situation)) = agent.ask(Request::Watch { seen }).await else { panic!() };
            if enough(&situation) {
                return *situation;
            }
            seen = situation.number;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), wait).await.unwrap()
}

#[tokio::test]
async fn a_change_has_a_new_number_and_what_changes_nothing_has_none() {
    let (_directory, founder, member) = two().await;
    let follower = tokio::spawn(situation::follow(Arc::clone(&founder)));
    let first = situation_of(&founder, |situation| !situation.peers.is_empty()).await;
    assert_eq!(first.peers[0].node, node("b"));
    assert_eq!(first.peers[0].addresses, ["b.example.org:7438"]);
    assert!(first.peers[0].kem_key.is_some());
    assert!(first.mesh.as_ref().unwrap().registered);
    assert!(!first.mesh.as_ref().unwrap().certificate_chain.is_empty());
    founder.pull(&member).await;
    founder.mesh.due.notify_one();
    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    assert_eq!(founder.mesh.situation.borrow().number, first.number);
    founder.put_client("app").await;
    let second = situation_of(&founder, |situation| situation.number > first.number).await;
    assert!(second.own > first.own);
    assert_ne!(second.digest, first.digest);
    follower.abort();
}

#[tokio::test]
async fn a_host_that_is_not_on_the_list_is_refused_and_its_records_are_merged_all_the_same() {
    let (directory, founder, member) = two().await;
    founder.close().await;
    let more = "[gossip]\nallowed_node_ids = [\"c.example.org\"]\n";
    let founder = Agent::configured(&directory.path().join("a"), "a", more).await;
    let follower = tokio::spawn(situation::follow(Arc::clone(&founder)));
    let situation = situation_of(&founder, |situation| situation.mesh.is_some()).await;
    assert!(situation.peers.is_empty());
    let kid = member.mesh.keys().unwrap().current.kid();
    let why = situation.refused.iter().find(|host| host.kids.contains(&kid)).map(|host| host.why.as_str());
    assert_eq!(
        why,
        Some(
            "b.example.org is not on the list of hosts that may take part; add it to [gossip] allowed_node_ids there, or to the topology in the directory"
        )
    );
    let said = crate::keeper::mesh::keys::own_record(&member, &member.mesh.keys().unwrap().current).unwrap();
    write(&member, vec![said], Change::default()).await.unwrap();
    assert_eq!(founder.pull(&member).await.taken, 1);
    follower.abort();
}

#[tokio::test]
async fn a_mesh_of_more_hosts_than_net_can_be_told_of_keeps_nobody_as_a_peer_who_was_put_out() {
    use reverie_core::ipc;
    use reverie_core::ipc::net::Peer;
    use reverie_core::mesh::crypto::{KemPublicKey, SigningPublicKey};
    let (_directory, founder, _member) = two().await;
    let mut situation = super::super::situation::build(&founder);
    let peer = |number: u32| Peer {
        node: format!("n{number:05}.example.org").parse().unwrap(),
        addresses: vec![format!("n{number:05}.example.org:7438")],
        signing_keys: vec![SigningPublicKey([4; 65])],
        kem_key: Some(KemPublicKey(Box::new([6; 1184]))),
        wire: 2,
    };
    situation.peers = (0..9000).map(peer).collect();
    assert!(ipc::encode(&situation).unwrap().len() > ipc::MAX_MESSAGE);
    let fitted = super::super::situation::fitted(&founder, situation.clone());
    assert!(ipc::encode(&fitted).unwrap().len() < ipc::MAX_MESSAGE);
    assert!(fitted.peers.len() > 3000 && situation.peers.starts_with(&fitted.peers));
    assert!(founder.alarms.stands("net, situation"));
    situation.peers.truncate(1000);
    assert_eq!(super::super::situation::fitted(&founder, situation.clone()), situation);
    assert!(!founder.alarms.stands("net, situation"));
}

#[tokio::test]
async fn the_directorys_last_good_answer_outlives_its_failure_and_a_restart() {
    use reverie_core::ipc::net::Topology;
    let (directory, founder, _member) = two().await;
    founder.close().await;
    let more = "[gossip]\nipa_topology = true\nipa_ldap_uris = [\"ldap://ipa\"]\nipa_suffix = \"dc=example,dc=org\"\n";
    let founder = Agent::configured(&directory.path().join("a"), "a", more).await;
    let admits = |agent: &Agent| agent.mesh.admission(&agent.policy().config.gossip).admits(&node("b"));
    assert!(!admits(&founder), "a directory that never answered admits nobody");
    let answer = |nodes| Request::Topology(Topology { at: clock::now(), nodes });
    let named = Ok(vec!["B.example.org".to_owned(), "not a name!".to_owned()]);
    assert_eq!(founder.ask(answer(named)).await, Reply::Done);
    assert!(admits(&founder));
    founder.ask(answer(Err("connection refused".to_owned()))).await;
    assert!(admits(&founder));
    assert!(founder.alarms.all().iter().any(|alarm| alarm.message.contains("its last answer, of")));
    let at = founder.mesh.topology().at;
    founder.close().await;
    let founder = Agent::configured(&directory.path().join("a"), "a", more).await;
    assert!(admits(&founder));
    assert_eq!(founder.mesh.topology().at, at);
}

#[tokio::test]
async fn a_client_is_waited_for_until_it_comes_or_the_time_is_over() {
    let (_directory, founder, member) = two().await;
    let wait = |timeout_ms| Request::AwaitClient { client_id: "app".to_owned(), timeout_ms };
    assert_eq!(member.ask(wait(20)).await, Reply::Client { found: false });
    let waiting = {
        let keeper = Arc::clone(&member);
        tokio::spawn(
            async move { answer(&keeper, Request::AwaitClient { client_id: "app".to_owned(), timeout_ms: 20_000 }).await },
        )
    };
    founder.put_client("app").await;
    member.pull(&founder).await;
    assert_eq!(waiting.await.unwrap(), Reply::Client { found: true });
}

#[tokio::test]
async fn a_record_from_a_fast_clock_is_held_back_and_shown_when_its_time_comes() {
    use reverie_core::mesh::record::{Record, Stamp};
    let (_directory, founder, member) = two().await;
    // The founder's clock runs ahead: what it writes is stamped beyond what is shown, by a second and a half.
    let ring = founder.mesh.keys().unwrap();
    let ahead = u64::try_from(clock::now().as_millis()).unwrap() + 31_500;
    let record = {
        let mut held = founder.mesh.change();
        let author = &mut held.core.as_mut().unwrap().author;
        let value = minicbor::to_vec(Client { display_name: None }).unwrap();
        let stamp = Stamp { wall: ahead, counter: 0 };
        author.repeat(Collection::Clients, "early", Some(value), stamp, &ring.current.signing).unwrap()
    };
    let follower = tokio::spawn(situation::follow(Arc::clone(&member)));
    let merged = member.merge(&founder, vec![Record::to_bytes(&record)]).await;
    assert_eq!(merged.taken, 1);
    assert!(!member.has_client("early"));
    let held_back = super::super::status::status(&member).held_back;
    assert_eq!(held_back.get("a.example.org"), Some(&1));
    let wait = Request::AwaitClient { client_id: "early".to_owned(), timeout_ms: 20_000 };
    assert_eq!(member.ask(wait).await, Reply::Client { found: true });
    follower.abort();
}

#[tokio::test]
async fn the_status_names_every_host_and_what_is_wrong_with_it() {
    let (_directory, founder, member) = two().await;
    founder.put_client("app").await;
    let status = super::super::status::status(&founder);
    assert_eq!((status.state.as_str(), status.admission.as_str()), ("authority", "admissions"));
    assert_eq!(status.counts["clients"], 1);
    assert_eq!(status.hosts.iter().map(|host| host.state.as_str()).collect::<Vec<_>>(), ["self", "unknown"]);
    assert_eq!(super::super::status::status(&member).state, "member");
}
