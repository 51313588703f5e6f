//! Two hosts that keep each other up to date.

use reverie_core::ipc::net::RefusedHost;

use super::client::Client;
use super::fixture::{AMPLE, Host};

#[tokio::test(flavor = "multi_thread")]
async fn two_hosts_take_each_others_records() {
    let (a, b) = (Host::start("a.example.org").await, Host::start("b.example.org").await);
    a.write("by a, before they met");
    b.write("by b, before they met");
    a.meet(&b);
    let agree = || a.kept(|kept| kept.digest()) == b.kept(|kept| kept.digest());
    a.write("by a");
    b.write("by b");
    a.wait_until("they agree", || agree() && a.kept(|kept| kept.records.len() == 4)).await;
    // The offset and the round trip are known, and the keeper is told.
    a.wait_until("the keeper hears of the peer", || {
        a.kept(|kept| kept.peers.first().is_some_and(|peer| peer.last_sync.is_some() && peer.offset_ms.is_some()))
    })
    .await;
    let peer = a.kept(|kept| kept.peers[0].clone());
    assert!(peer.offset_ms.unwrap().abs() < 10_000, "{peer:?}");
    a.wait_until("the counters come", || a.kept(|kept| kept.metrics.exchanges > 0 && !kept.metrics.requests.is_empty())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_was_put_out_loses_its_open_connection_at_once() {
    let (a, b) = (Host::start("a.example.org").await, Host::start("b.example.org").await);
    a.meet(&b);
    let mut stream = Client::host(&b.keys).connect(a.address).await.unwrap();
    // Past the handshake on both sides.
    tokio::io::AsyncWriteExt::write_all(&mut stream, b"GET /api/gossip/digest HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let mut buffer = [0; 1024];
    assert!(tokio::io::AsyncReadExt::read(&mut stream, &mut buffer).await.unwrap() > 0);
    a.change(|situation| {
        situation.peers.clear();
        situation.refused = vec![RefusedHost { kids: vec![b.keys.kid()], why: "b.example.org was put out of the mesh".into() }];
    });
    let closed = async { while !matches!(tokio::io::AsyncReadExt::read(&mut stream, &mut buffer).await, Ok(0) | Err(_)) {} };
    tokio::time::timeout(std::time::Duration::from_secs(5), closed).await.expect("the connection is still open");

    let answer = Client::host(&b.keys).get(&a, "/api/gossip/digest").await;
    assert_eq!((answer.status, answer.json()["error"].as_str()), (403, Some("not_admitted")));
    assert!(answer.json()["message"].as_str().unwrap().contains("put out of the mesh"));
    // And the other way: b's kept connection to a is gone, and it is told why.
    b.write("by b");
    b.wait_until("b hears why", || {
        b.kept(|kept| {
            let error = kept.peers.first().and_then(|peer| peer.last_error.clone()).unwrap_or_default();
            error.contains("403") && error.contains("put out of the mesh")
        })
    })
    .await;
    assert!(a.kept(|kept| kept.records.is_empty()));
    a.wait_until("the audit log hears of it", || {
        a.kept(|kept| kept.refused.iter().any(|(_, reason)| reason.contains("put out of the mesh")))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_with_another_key_than_the_pinned_one_gets_nothing() {
    let (a, impostor) = (Host::start("a.example.org").await, Host::start("b.example.org").await);
    a.write("secret");
    let b = super::fixture::Keys::new("b.example.org");
    a.change(|situation| situation.peers.push(b.peer(&[impostor.address])));
    a.wait_until("a notices", || {
        a.kept(|kept| {
            kept.peers.first().is_some_and(|peer| peer.last_error.as_deref().unwrap_or_default().contains("another key"))
        })
    })
    .await;
    assert_eq!(impostor.kept(|kept| kept.merges), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn net_ends_with_its_keeper() {
    let host = Host::start("a.example.org").await;
    let address = host.address;
    drop(host);
    let gone = async {
        while tokio::net::TcpStream::connect(address).await.is_ok() {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(AMPLE, gone).await.expect("net goes on without its keeper");
}
