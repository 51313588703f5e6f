use std::sync::Arc;
use std::time::Duration;

use reverie_core::audit::Actor;
use reverie_core::ipc;
use reverie_core::ipc::tunnel::{Issuer, MAX_TRUST, Reply, Request, Situation, Trust};
use tokio::sync::watch;

use super::{answer, situation};
use crate::keeper::identity::{lifecycle, revocation};
use crate::keeper::mesh::tests::Agent;
use crate::ops::channel::{Answering, Channel, detach};

const AMPLE: Duration = Duration::from_secs(10);

/// Two tunnels; what the first shows is looked at first.
fn tunnels() -> String {
    let one = |(number, name): (usize, &str)| {
        let tunnel =
            format!("[[identity]]\nname = {name:?}\nmatch = {{ uid = 0 }}\n[[tunnel]]\nname = {name:?}\nidentity = {name:?}\n");
        let ends = format!("accept = \"tcp:127.0.0.1:{}\"\nconnect = \"tls:other:7443\"\n", 7000 + number);
        format!("{tunnel}{ends}peers = [\"spiffe://example.org/svc/other\"]\n")
    };
    ["slow", "swift"].into_iter().enumerate().map(one).collect()
}

async fn until(
    situations: &mut watch::Receiver<Arc<Situation>>,
    what: &str,
    holds: impl Fn(&Situation) -> bool,
) -> Arc<Situation> {
    let found = tokio::time::timeout(AMPLE, situations.wait_for(|situation| holds(situation))).await;
    found.unwrap_or_else(|_| panic!("not in time: {what}")).unwrap().clone()
}

fn shows(situation: &Situation, name: &str) -> bool {
    situation.tunnels.iter().any(|tunnel| tunnel.declared.name.as_str() == name && tunnel.shown.is_some())
}

#[tokio::test]
async fn a_renewal_that_hangs_delays_neither_trust_nor_another_tunnel() {
    let directory = tempfile::tempdir().unwrap();
    let agent = Agent::configured(directory.path(), "a", &tunnels()).await;
    lifecycle::bring_up_to_date(&agent).await.unwrap();
    let hangs = agent.turns.of(&"slow".parse().unwrap()).lock_owned().await;
    let following = tokio::spawn(situation::follow(Arc::clone(&agent)));
    let mut situations = agent.tunnels.situation.subscribe();
    let before = until(&mut situations, "the other tunnel shows what it has", |situation| shows(situation, "swift")).await;
    assert!(!shows(&before, "slow"));

    let leaves = revocation::in_force(&agent, "swift".parse().unwrap()).await.unwrap();
    revocation::revoke_leaves(&agent, leaves, Actor::Agent).await.unwrap();
    until(&mut situations, "what is revoked is heard of", |situation| situation.trust != before.trust).await;
    drop(hangs);
    until(&mut situations, "all are there", |situation| shows(situation, "slow") && shows(situation, "swift")).await;
    following.abort();
}

#[tokio::test]
async fn trust_longer_than_a_message_reaches_the_role() {
    let directory = tempfile::tempdir().unwrap();
    let agent = Agent::configured(directory.path(), "a", "").await;
    let revoked = (0..600_000_u32).map(|number| [&[7; 12][..], &number.to_be_bytes()].concat()).collect();
    let issuer = Issuer { host: agent.host.node_id.clone(), spiffe: None, revoked, list_ends: None };
    let long = Trust { roots: vec![], issuers: [([1; 32], issuer)].into() };
    assert!(ipc::encode(&long).unwrap().len() > ipc::MAX_MESSAGE);
    let number = {
        let mut known = agent.tunnels.trust.lock().unwrap();
        known.trust = Arc::new(long.clone());
        known.number
    };
    let (ours, theirs) = reverie_sys::seqpacket::pair().unwrap();
    let keeper = Arc::clone(&agent);
    let answering = tokio::spawn(async move {
        let channel: Answering<Request, Reply> = Answering::accept(theirs, "tunnel").await.unwrap();
        let answer = |request: Result<Request, _>, _| {
            let keeper = Arc::clone(&keeper);
            async move { answer(&keeper, request.unwrap()).await }
        };
        channel.serve(8, answer).await.unwrap();
    });
    let role: Channel<Request, Reply> = Channel::connect_as(ours, "tunnel", "keeper", 8).await.unwrap();
    let (reply, beside) = role.call_for(&Request::Trust { number }, None, AMPLE).await.unwrap();
    assert_eq!(reply, Reply::Trust);
    assert!(detach::<Trust>(&beside[0], MAX_TRUST).unwrap() == long);
    drop(role);
    answering.await.unwrap();
}
