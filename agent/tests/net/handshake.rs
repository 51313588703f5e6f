//! TLS: no resumption, nothing older, nothing that hangs.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustls::client::{ClientSessionMemoryCache, ClientSessionStore, Resumption};
use rustls::pki_types::ServerName;
use rustls::{HandshakeKind, NamedGroup};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::client::Client;
use super::fixture::{Host, Keys};

/// Counts the tickets it is given.
#[derive(Debug)]
struct Counting(ClientSessionMemoryCache, AtomicU32);

impl ClientSessionStore for Counting {
    fn set_kx_hint(&self, name: ServerName<'static>, group: NamedGroup) {
        self.0.set_kx_hint(name, group);
    }
    fn kx_hint(&self, name: &ServerName<'_>) -> Option<NamedGroup> {
        self.0.kx_hint(name)
    }
    fn set_tls12_session(&self, _: ServerName<'static>, _: rustls::client::Tls12ClientSessionValue) {}
    fn tls12_session(&self, _: &ServerName<'_>) -> Option<rustls::client::Tls12ClientSessionValue> {
        None
    }
    fn remove_tls12_session(&self, _: &ServerName<'static>) {}
    fn insert_tls13_ticket(&self, name: ServerName<'static>, value: rustls::client::Tls13ClientSessionValue) {
        self.1.fetch_add(1, Ordering::Relaxed);
        self.0.insert_tls13_ticket(name, value);
    }
    fn take_tls13_ticket(&self, name: &ServerName<'static>) -> Option<rustls::client::Tls13ClientSessionValue> {
        self.0.take_tls13_ticket(name)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_never_resumed() {
    let (host, peer) = (Host::start("a.example.org").await, Keys::new("b.example.org"));
    host.change(|situation| situation.peers.push(peer.peer(&[])));
    let tickets = Arc::new(Counting(ClientSessionMemoryCache::new(8), AtomicU32::new(0)));
    let mut client = Client::host(&peer);
    let mut config = (*client.config).clone();
    config.resumption = Resumption::store(Arc::clone(&tickets) as Arc<_>);
    client.config = Arc::new(config);
    let before = host.kept(|kept| kept.handshakes);
    for _ in 0..3 {
        let mut stream = client.connect(host.address).await.unwrap();
        stream.write_all(b"GET /api/gossip/kem-info HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        assert!(stream.read(&mut [0; 4096]).await.unwrap() > 0);
        assert_eq!(stream.get_ref().1.handshake_kind(), Some(HandshakeKind::Full));
    }
    assert_eq!(tickets.1.load(Ordering::Relaxed), 0, "a ticket was given");
    assert_eq!(host.kept(|kept| kept.handshakes) - before, 3, "each handshake was signed anew");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_does_not_finish_a_handshake_is_cut_off_and_others_get_through() {
    let host = Host::start("a.example.org").await;
    let begun = Instant::now();
    // As many as one address may have, each a byte at a time.
    let mut slow = Vec::new();
    for _ in 0..32 {
        let mut stream = Client::nobody().from("127.0.0.2").tcp(host.address).await.unwrap();
        stream.write_all(&[0x16]).await.unwrap();
        slow.push(stream);
    }
    assert_eq!(Client::nobody().get(&host, "/api/gossip/kem-info").await.status, 200);
    assert!(begun.elapsed() < Duration::from_secs(8), "others had to wait");
    for stream in &mut slow {
        let ended = tokio::time::timeout(Duration::from_secs(25), stream.read(&mut [0; 64])).await;
        assert!(matches!(ended.expect("it still hangs there"), Ok(0) | Err(_)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_does_not_finish_a_request_is_cut_off() {
    let host = Host::start("a.example.org").await;
    let mut stream = Client::nobody().connect(host.address).await.unwrap();
    stream.write_all(b"GET /api/gossip/kem-info HTTP/1.1\r\n").await.unwrap();
    let ended = async {
        let mut buffer = [0; 1024];
        loop {
            let _ = stream.write_all(b"x").await;
            if let Ok(Ok(0) | Err(_)) = tokio::time::timeout(Duration::from_millis(500), stream.read(&mut buffer)).await {
                return;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(30), ended).await.expect("it still hangs there");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_knows_no_tls_13_is_not_served() {
    let host = Host::start("a.example.org").await;
    let mut config = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS12])
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    config.resumption = Resumption::disabled();
    let error = Client::of(config).connect(host.address).await.unwrap_err();
    assert!(error.to_string().contains("ProtocolVersion"), "{error}");
}
