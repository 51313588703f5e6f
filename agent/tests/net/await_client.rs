//! Waiting for a client.

use std::time::{Duration, Instant};

use super::client::Client;
use super::fixture::Host;

#[tokio::test(flavor = "multi_thread")]
async fn waiters_are_capped_for_an_address_and_in_all() {
    let host = Host::start("a.example.org").await;
    let path = "/api/gossip/await-client?client_id=app&timeout_ms=999999999";
    let wait = |from: &str| {
        let (client, address) = (Client::nobody().from(from), host.address);
        tokio::spawn(async move { client.try_send(address, &format!("GET {path} HTTP/1.1"), b"").await.unwrap() })
    };
    let first: Vec<_> = (0..2).map(|_| wait("127.0.0.2")).collect();
    host.wait_until("they wait", || host.kept(|kept| kept.handshakes >= 2)).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let third = Client::nobody().from("127.0.0.2").get(&host, path).await;
    assert_eq!(third.status, 429, "{third:?}");
    let begun = Instant::now();
    let others: Vec<_> = ["127.0.0.3", "127.0.0.4"].map(wait).into();
    for waiter in first.into_iter().chain(others) {
        let answer = waiter.await.unwrap();
        assert_eq!((answer.status, answer.json()["found"].as_bool()), (408, Some(false)), "{answer:?}");
    }
    assert!(begun.elapsed() < Duration::from_secs(10), "the wait is cut to what is configured");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_comes_ends_the_wait() {
    let host = Host::start("a.example.org").await;
    let (client, address) = (Client::nobody(), host.address);
    let waiter = tokio::spawn(async move {
        client.try_send(address, "GET /api/gossip/await-client?client_id=my%20app HTTP/1.1", b"").await.unwrap()
    });
    host.kept(|kept| kept.clients.push("my app".into()));
    let answer = waiter.await.unwrap();
    assert_eq!((answer.status, answer.json()["client_id"].as_str()), (200, Some("my app")));
    for path in ["/api/gossip/await-client", "/api/gossip/await-client?client_id=&timeout_ms=1"] {
        assert_eq!(Client::nobody().get(&host, path).await.status, 400, "{path}");
    }
    assert_eq!(Client::nobody().get(&host, "/api/gossip/await-client?client_id=x&timeout_ms=soon").await.status, 400);
}
