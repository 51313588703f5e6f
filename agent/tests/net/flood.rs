//! One that asks for too much, and others beside it.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::client::{Client, read_answer};
use super::fixture::{Host, Keys};

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_from_one_address_is_limited_and_others_get_through() {
    let host = Host::start_with("a.example.org", |situation| situation.settings.rate_per_second = 5).await;
    let flooding = Client::nobody().from("127.0.0.2");
    let mut stream = flooding.connect(host.address).await.unwrap();
    for _ in 0..40 {
        stream.write_all(b"GET /api/gossip/kem-info HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    }
    stream.write_all(b"GET /api/gossip/kem-info HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
    let all = read_answer(&mut stream).await.unwrap();
    let text = format!("{}{}", all.head, String::from_utf8_lossy(&all.body).to_ascii_lowercase());
    assert!(text.matches("http/1.1 429").count() > 20, "{text}");
    assert!(text.contains("retry-after"), "{text}");

    assert_eq!(Client::nobody().from("127.0.0.3").get(&host, "/api/gossip/kem-info").await.status, 200);
    // A peer behind the very same address is known, and not slowed.
    let peer = Keys::new("b.example.org");
    host.change(|situation| situation.peers.push(peer.peer(&[])));
    host.wait_until("it is known", || host.kept(|kept| kept.peers.len() == 1)).await;
    let mut stream = Client::host(&peer).from("127.0.0.4").connect(host.address).await.unwrap();
    for _ in 0..40 {
        stream.write_all(b"GET /api/gossip/kem-info HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    }
    stream.write_all(b"GET /api/gossip/kem-info HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
    let all = read_answer(&mut stream).await.unwrap();
    assert!(!String::from_utf8_lossy(&all.body).contains("429"), "a peer was slowed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_connection_for_each_request_is_no_way_around_the_limit() {
    let host = Host::start_with("a.example.org", |situation| situation.settings.rate_per_second = 1).await;
    let begun = Instant::now();
    let (client, mut granted) = (Client::nobody().from("127.0.0.2"), 0);
    for _ in 0..30 {
        let answer = client.try_send(host.address, "GET /api/gossip/kem-info HTTP/1.1", b"").await;
        granted += u64::from(answer.is_ok_and(|answer| answer.status == 200));
    }
    // Two at once, and one for each second that this takes.
    let most = 3 + begun.elapsed().as_secs();
    assert!((1..=most).contains(&granted), "{granted} of 30, at most {most}");
    assert_eq!(Client::nobody().from("127.0.0.3").get(&host, "/api/gossip/kem-info").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_with_too_many_connections_gets_no_more_and_others_do() {
    let host = Host::start_with("a.example.org", |situation| situation.settings.max_connections = 64).await;
    let mut held = Vec::new();
    for _ in 0..40 {
        if let Ok(stream) = Client::nobody().from("127.0.0.2").connect(host.address).await {
            held.push(stream);
        }
    }
    assert!((4..=8).contains(&held.len()), "{} connections", held.len());
    assert_eq!(Client::nobody().from("127.0.0.3").get(&host, "/api/gossip/kem-info").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_was_met_before_comes_in_beside_a_flood_from_many_addresses() {
    let (host, peer) = (Host::start("a.example.org").await, Keys::new("b.example.org"));
    host.change(|situation| situation.peers.push(peer.peer(&[])));
    host.wait_until("it is known", || host.kept(|kept| kept.peers.len() == 1)).await;
    let peer = Client::host(&peer).from("127.0.0.99");
    assert_eq!(peer.get(&host, "/api/gossip/kem-info").await.status, 200);
    // Nine addresses, with all that each may have: half of them say nothing at all, the others begin a handshake.
    let mut held = Vec::new();
    for number in 0..9 * 32 {
        let stranger = Client::nobody().from(&format!("127.0.1.{}", number / 32 + 1));
        let mut stream = stranger.tcp(host.address).await.unwrap();
        if number % 2 == 0 {
            stream.write_all(&[0x16]).await.unwrap();
        }
        held.push(stream);
    }
    let begun = Instant::now();
    assert_eq!(peer.get(&host, "/api/gossip/kem-info").await.status, 200);
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_mesh_of_more_hosts_than_connections_the_idlest_one_makes_room() {
    let host = Host::start_with("a.example.org", |situation| situation.settings.max_connections = 16).await;
    let peers: Vec<Keys> = (0..20).map(|number| Keys::new(&format!("p{number}.example.org"))).collect();
    host.change(|situation| situation.peers.extend(peers.iter().map(|keys| keys.peer(&[]))));
    host.wait_until("they are known", || host.kept(|kept| kept.peers.len() == 20)).await;
    let mut held = Vec::new();
    for keys in &peers {
        let mut stream = Client::host(keys).connect(host.address).await.unwrap();
        stream.write_all(b"GET /api/gossip/kem-info HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        let mut first = [0; 12];
        stream.read_exact(&mut first).await.expect("it was shed");
        assert_eq!(&first, b"HTTP/1.1 200");
        held.push(stream);
    }
    // The first ones were closed, and not the last.
    let ended = async |stream: &mut tokio_rustls::client::TlsStream<tokio::net::TcpStream>| {
        let read = async { while stream.read(&mut [0; 4096]).await.is_ok_and(|count| count > 0) {} };
        tokio::time::timeout(Duration::from_millis(500), read).await.is_ok()
    };
    assert!(ended(&mut held[0]).await && ended(&mut held[3]).await);
    assert!(!ended(&mut held[4]).await && !ended(&mut held[19]).await);
    // One peer does not take everybody's.
    for _ in 0..16 {
        let mut stream = Client::host(&peers[19]).connect(host.address).await.unwrap();
        stream.write_all(b"GET /api/gossip/kem-info HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        stream.read_exact(&mut [0; 12]).await.expect("it was shed");
        held.push(stream);
    }
    assert!(!ended(&mut held[10]).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_too_large_is_refused_before_it_is_read() {
    let (host, peer) = (Host::start("a.example.org").await, Keys::new("b.example.org"));
    host.change(|situation| situation.peers.push(peer.peer(&[])));
    host.wait_until("it is known", || host.kept(|kept| kept.peers.len() == 1)).await;
    let begun = Instant::now();
    let heads = [
        "POST /api/gossip/sync HTTP/1.1\r\ncontent-type: application/pkcs7-mime\r\ncontent-length: 1000000000",
        "POST /api/gossip/membership HTTP/1.1\r\ncontent-type: application/octet-stream\r\ncontent-length: 1201",
        "POST /api/mesh/join HTTP/1.1\r\ncontent-type: application/json\r\ncontent-length: 1000000000",
    ];
    for head in heads {
        // The body never comes.
        let answer = Client::host(&peer).send(&host, head, b"").await;
        assert_eq!((answer.status, answer.json()["error"].as_str()), (413, Some("too_large")), "{head}");
    }
    assert!(begun.elapsed() < Duration::from_secs(9), "it waited for the body");

    // One that does not say how long it is, is cut off at the limit.
    let mut stream = Client::host(&peer).connect(host.address).await.unwrap();
    let head =
        "POST /api/gossip/sync HTTP/1.1\r\nhost: x\r\ncontent-type: application/pkcs7-mime\r\ntransfer-encoding: chunked\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let chunk = [b"10000\r\n".to_vec(), vec![0; 0x10000], b"\r\n".to_vec()].concat();
    for _ in 0..100 {
        if stream.write_all(&chunk).await.is_err() {
            break;
        }
    }
    if let Ok(answer) = read_answer(&mut stream).await {
        assert_eq!(answer.status, 413);
    }
    assert_eq!(host.kept(|kept| kept.merges), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_is_too_large_is_refused() {
    let host = Host::start("a.example.org").await;
    let head = format!("GET /api/gossip/kem-info HTTP/1.1\r\nx: {}", "y".repeat(64 * 1024));
    match Client::nobody().try_send(host.address, &head, b"").await {
        Ok(answer) => assert_eq!(answer.status, 431, "{answer:?}"),
        Err(error) => assert!(error.to_string().contains("pipe") || error.to_string().contains("reset"), "{error}"),
    }
    assert_eq!(Client::nobody().get(&host, "/api/gossip/kem-info").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_has_two_exchanges_in_work_and_others_have_theirs() {
    let (host, greedy, other) = (Host::start("a.example.org").await, Keys::new("b.example.org"), Keys::new("c.example.org"));
    host.change(|situation| situation.peers.extend([greedy.peer(&[]), other.peer(&[])]));
    host.wait_until("they are known", || host.kept(|kept| kept.peers.len() == 2)).await;
    let head =
        "POST /api/gossip/sync HTTP/1.1\r\ncontent-type: application/pkcs7-mime\r\nhost: x\r\ncontent-length: 1000000\r\n\r\n";
    let mut held = Vec::new();
    for _ in 0..2 {
        let mut stream = Client::host(&greedy).connect(host.address).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        held.push(stream);
    }
    let sync = "POST /api/gossip/sync HTTP/1.1\r\ncontent-type: application/pkcs7-mime";
    soon(async || {
        let answer = Client::host(&greedy).send(&host, sync, b"x").await;
        if answer.status != 503 {
            // This one may have come before those that hold, and have taken the place of one of them.
            let mut stream = Client::host(&greedy).connect(host.address).await.unwrap();
            stream.write_all(head.as_bytes()).await.unwrap();
            held.push(stream);
        }
        answer.status == 503 && answer.head.to_ascii_lowercase().contains("retry-after")
    })
    .await;
    assert_eq!(Client::host(&other).send(&host, sync, b"x").await.status, 400);
    drop(held);
    soon(async || Client::host(&greedy).send(&host, sync, b"x").await.status == 400).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_hands_over_a_forged_record_is_left_alone() {
    let (a, b) = (Host::start("a.example.org").await, Host::start("b.example.org").await);
    b.write("forged");
    a.meet(&b);
    a.wait_until("it is noticed", || a.kept(|kept| kept.merges > 0)).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    // One for each way it may have come, and none after that, though both look at each other several times a second.
    let merges = a.kept(|kept| kept.merges);
    assert!(merges <= 2, "{merges} messages were verified");
    assert!(a.kept(|kept| kept.records.is_empty()));
}

async fn soon(mut holds: impl AsyncFnMut() -> bool) {
    let wait = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(super::fixture::AMPLE, wait).await.expect("not in time");
}
