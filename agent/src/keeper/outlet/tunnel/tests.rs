use std::sync::Arc;
use std::time::Duration;

use reverie_core::audit::Actor;
use reverie_core::ipc::tunnel::Situation;
use tokio::sync::watch;

use super::situation;
use crate::keeper::identity::{lifecycle, revocation};
use crate::keeper::mesh::tests::Agent;

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
