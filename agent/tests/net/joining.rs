//! Becoming a member, and what a member pulls.

use reverie_core::ipc::net::TaskKind;
use reverie_core::mesh::crypto::Decapsulator;

use super::client::Client;
use super::fixture::{Host, Keys};

#[tokio::test(flavor = "multi_thread")]
async fn a_host_joins_by_a_token_bound_to_the_connection() {
    let issuer = Host::start("a.example.org").await;
    let joiner = Host::start_with("b.example.org", |situation| situation.mesh = None).await;
    let (address, server_key) = (issuer.address.to_string(), issuer.keys.public());
    let outcome = joiner.task(TaskKind::Join { address: address.clone(), server_key }).await;
    assert_eq!(outcome, Ok(b"welcome".to_vec()));
    assert_eq!(issuer.kept(|kept| kept.joined[0].node.clone()), joiner.keys.node);

    // Another server than the token names gets no request at all.
    let other_key = Keys::new("x.example.org").public();
    let error = joiner.task(TaskKind::Join { address, server_key: other_key }).await.unwrap_err();
    assert!(error.contains("another key than the one that is pinned"), "{error}");
    assert_eq!(issuer.kept(|kept| kept.joined.len()), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_join_request_taken_on_the_path_is_of_no_use_on_another_connection() {
    let issuer = Host::start("a.example.org").await;
    let keys = Keys::new("b.example.org");
    let mut request = reverie_core::mesh::join::request::JoinRequest {
        node: keys.node.clone(),
        token_id: [1; 16],
        signing_key: keys.public(),
        kem_key: keys.kem.public_key().clone(),
        csr: vec![],
        mac: [0; 32],
        // Of the connection that it was made for.
        exporter: [9; 32],
    };
    request.mac = reverie_core::mesh::join::request::authenticate(&super::fixture::TOKEN, &request);
    let body = reverie_core::mesh::join::request::to_body(&request);
    let head = "POST /api/mesh/join HTTP/1.1\r\ncontent-type: application/json";
    let answer = Client::nobody().send(&issuer, head, &body).await;
    assert_eq!(answer.status, 403, "{answer:?}");
    assert_eq!(Client::nobody().send(&issuer, head, b"{}").await.status, 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_registers_by_kerberos_and_then_gets_what_a_joiner_gets() {
    let issuer = Host::start("localhost").await;
    let joiner = Host::start_with("b.example.org", |situation| situation.mesh = None).await;
    // The keepers know each other's keys by what Kerberos proved.
    issuer.change(|situation| situation.peers.push(joiner.keys.peer(&[])));
    joiner.change(|situation| situation.peers.push(issuer.keys.peer(&[])));
    let address = format!("localhost:{}", issuer.address.port());
    let outcome = joiner.task(TaskKind::JoinByKerberos { address }).await;
    assert_eq!(outcome, Ok(b"renewed please".to_vec()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_renews_and_pulls_the_wrapping_key() {
    let (a, b) = (Host::start("a.example.org").await, Host::start("b.example.org").await);
    a.meet(&b);
    let authority = b.keys.node.clone();
    assert_eq!(a.task(TaskKind::Renew { authority, payload: b"please".to_vec() }).await, Ok(b"renewed please".to_vec()));
    let from = b.keys.node.clone();
    assert_eq!(a.task(TaskKind::PullWrappingKey { from, nonce: [3; 16] }).await, Ok(b"the wrapping key".to_vec()));
    let error = a.task(TaskKind::Renew { authority: "c.example.org".parse().unwrap(), payload: vec![] }).await.unwrap_err();
    assert!(error.contains("is no peer of this host"), "{error}");
    assert_eq!(a.task(TaskKind::RetryNow).await, Ok(vec![]));
    assert_eq!(a.task(TaskKind::Disconnect { kids: vec![b.keys.kid()] }).await, Ok(vec![]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewal_by_a_key_that_is_not_pinned_is_refused() {
    let (host, stranger) = (Host::start("a.example.org").await, Keys::new("b.example.org"));
    let sealed =
        reverie_core::mesh::envelope::seal(&reverie_crypto::aws::Aws, &stranger.signing, host.keys.kem.public_key(), b"x")
            .unwrap();
    let head = "POST /api/mesh/join HTTP/1.1\r\ncontent-type: application/pkcs7-mime";
    let answer = Client::nobody().send(&host, head, &sealed).await;
    assert_eq!((answer.status, answer.json()["error"].as_str()), (401, Some("unpinned")));
}
