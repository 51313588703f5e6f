//! Who gets in, and as whom.

use reverie_core::ipc::net::RefusedHost;

use super::client::Client;
use super::fixture::{Host, Keys};

const PEERS_ONLY: [&str; 3] = [
    "POST /api/gossip/sync HTTP/1.1\r\ncontent-type: application/pkcs7-mime",
    "GET /api/gossip/digest HTTP/1.1",
    "POST /api/gossip/membership HTTP/1.1\r\ncontent-type: application/octet-stream",
];

async fn all_refused(client: &Client, host: &Host, status: u16, error: &str) {
    for head in PEERS_ONLY {
        let answer = client.send(host, head, b"x").await;
        assert_eq!((answer.status, answer.json()["error"].as_str()), (status, Some(error)), "{head}: {answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_leaf_used_as_a_peer_is_refused() {
    let (host, peer) = (Host::start("a.example.org").await, Keys::new("b.example.org"));
    host.change(|situation| situation.peers.push(peer.peer(&[])));
    all_refused(&Client::service_of(&peer), &host, 401, "unpinned").await;
    // One that the very host it talks to has issued, too.
    all_refused(&Client::service_of(&host.keys), &host, 401, "unpinned").await;
    host.wait_until("the audit log hears of it", || host.kept(|kept| !kept.refused.is_empty())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_without_a_certificate_is_no_peer() {
    let host = Host::start("a.example.org").await;
    all_refused(&Client::nobody(), &host, 401, "no_certificate").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_without_post_quantum_key_exchange_is_refused() {
    let (host, peer) = (Host::start("a.example.org").await, Keys::new("b.example.org"));
    host.change(|situation| situation.peers.push(peer.peer(&[])));
    host.wait_until("it is known", || host.kept(|kept| kept.peers.len() == 1)).await;
    all_refused(&Client::host_over_x25519(&peer), &host, 403, "not_post_quantum").await;
    assert_eq!(Client::host(&peer).get(&host, "/api/gossip/digest").await.status, 200);
    // Token clients may do without.
    assert_eq!(Client::host_over_x25519(&peer).get(&host, "/api/gossip/kem-info").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_is_not_admitted_is_told_so() {
    let (host, other) = (Host::start("a.example.org").await, Keys::new("b.example.org"));
    host.change(|situation| {
        situation
            .refused
            .push(RefusedHost { kids: vec![other.kid()], why: "b.example.org is neither in allowed_node_ids".into() })
    });
    host.wait_until("it is known", || host.kept(|kept| kept.metrics != Default::default())).await;
    all_refused(&Client::host(&other), &host, 403, "not_admitted").await;
}
