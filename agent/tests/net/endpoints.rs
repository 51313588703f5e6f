//! Every other endpoint with its status codes.

use super::client::Client;
use super::fixture::{Host, Keys};

#[tokio::test(flavor = "multi_thread")]
async fn paths_methods_and_media_types_that_are_not_ours_are_refused_with_a_sentence() {
    let (host, peer) = (Host::start("a.example.org").await, Keys::new("b.example.org"));
    host.change(|situation| situation.peers.push(peer.peer(&[])));
    host.wait_until("it is known", || host.kept(|kept| kept.peers.len() == 1)).await;
    let client = Client::host(&peer);
    assert_eq!(client.get(&host, "/").await.status, 404);
    for path in ["/api/gossip/sync", "/api/gossip/register-kem", "/api/gossip/membership", "/api/mesh/join"] {
        let answer = client.get(&host, path).await;
        assert!(answer.status == 405 && answer.head.contains("allow: post"), "{path}: {answer:?}");
    }
    for path in ["kem-info", "wrapping-key", "stats", "await-client", "digest"] {
        let answer = client.send(&host, &format!("POST /api/gossip/{path} HTTP/1.1"), b"").await;
        assert!(answer.status == 405 && answer.head.contains("allow: get"), "{path}: {answer:?}");
    }
    for path in ["/api/gossip/sync", "/api/gossip/membership", "/api/mesh/join"] {
        let answer = client.send(&host, &format!("POST {path} HTTP/1.1\r\ncontent-type: text/plain"), b"x").await;
        assert_eq!(answer.status, 415, "{path}: {answer:?}");
        assert!(answer.json()["message"].as_str().unwrap().contains("Content-Type"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn kem_info_is_404_until_the_host_has_a_record_of_its_own() {
    let host = Host::start_with("a.example.org", |situation| situation.mesh.as_mut().unwrap().registered = false).await;
    let answer = Client::nobody().get(&host, "/api/gossip/kem-info").await;
    assert_eq!((answer.status, answer.json()), (404, serde_json::json!({"registered": false})));
    host.change(|situation| situation.mesh.as_mut().unwrap().registered = true);
    let wait = async {
        loop {
            let answer = Client::nobody().get(&host, "/api/gossip/kem-info").await;
            if answer.status == 200 {
                return answer.json();
            }
        }
    };
    let info = tokio::time::timeout(super::fixture::AMPLE, wait).await.unwrap();
    assert_eq!((info["registered"].as_bool(), info["node_id"].as_str()), (Some(true), Some("a.example.org")));
    let spki = data_encoding::BASE64URL_NOPAD.decode(info["kem_public_key"].as_str().unwrap().as_bytes()).unwrap();
    use reverie_core::mesh::crypto::Decapsulator;
    assert_eq!(spki[spki.len() - 1184..], host.keys.kem.public_key().0[..]);
}

#[tokio::test(flavor = "multi_thread")]
async fn stats_has_every_field_and_can_be_kept_to_peers() {
    let host = Host::start("a.example.org").await;
    let stats = Client::nobody().get(&host, "/api/gossip/stats").await.json();
    assert_eq!(stats["node_id"], "a.example.org");
    assert_eq!((&stats["crdt_generation"], &stats["counts"]["clients"]), (&3.into(), &2.into()));
    assert_eq!((&stats["active_signing_kid"], &stats["kem_enrolled"]), (&"kid".into(), &true.into()));
    assert_eq!(stats["gossip_signing_enrolled"], true);
    assert!(stats["peers"]["configured"].is_array() && stats["peers"]["topology_discovered"].is_array());
    let gossip = &stats["gossip"];
    assert!(gossip["started_at"].as_i64().unwrap() > 1_700_000_000);
    assert!(gossip["rounds_completed"].is_u64() && gossip["peer_last_sync"].is_object());
    assert!(gossip["last_round_at"].is_null());
    assert_eq!((&gossip["persist_errors"], &gossip["wrapping_key_pull_errors"]), (&0.into(), &1.into()));

    let peer = Keys::new("b.example.org");
    host.change(|situation| {
        situation.settings.public_stats = false;
        situation.peers.push(peer.peer(&[]));
    });
    host.wait_until("it is known", || host.kept(|kept| kept.peers.len() == 1)).await;
    assert_eq!(Client::nobody().get(&host, "/api/gossip/stats").await.status, 401);
    assert_eq!(Client::host(&peer).get(&host, "/api/gossip/stats").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_wrapping_key_goes_sealed_to_whoever_is_known_and_admitted() {
    let (host, peer) = (Host::start("a.example.org").await, Keys::new("b.example.org"));
    host.change(|situation| situation.peers.push(peer.peer(&[])));
    host.wait_until("it is known", || host.kept(|kept| kept.peers.len() == 1)).await;
    let ask =
        async |headers: &str| Client::nobody().send(&host, &format!("GET /api/gossip/wrapping-key HTTP/1.1{headers}"), b"").await;
    for (headers, status) in [
        ("", 400),
        ("\r\nX-Ahdapa-Node-Id: not a name", 400),
        ("\r\nX-Ahdapa-Node-Id: b.example.org\r\nX-Reverie-Node-Id: c.example.org", 400),
        ("\r\nX-Ahdapa-Node-Id: b.example.org\r\nX-Reverie-Nonce: 12", 400),
        ("\r\nX-Ahdapa-Node-Id: unknown.example.org", 404),
        ("\r\nX-Ahdapa-Node-Id: denied.example.org", 403),
    ] {
        let answer = ask(headers).await;
        assert_eq!(answer.status, status, "{headers}: {answer:?}");
    }
    for name in ["X-Ahdapa-Node-Id", "X-Reverie-Node-Id"] {
        let answer = ask(&format!("\r\n{name}: b.example.org")).await;
        assert!(answer.status == 200 && answer.head.contains("content-type: application/pkcs7-mime"), "{answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn register_kem_answers_as_the_keeper_judges() {
    let host = Host::start("a.example.org").await;
    let body = br#"{"node_id":"b.example.org","kem_public_key_der":"YWJj","gossip_signing_pub_key_der":"YWJj"}"#;
    let send = async |authorization: &str, body: &[u8]| {
        let head = format!("POST /api/gossip/register-kem HTTP/1.1\r\ncontent-type: application/json{authorization}");
        Client::nobody().send(&host, &head, body).await
    };
    let token = |token: &[u8]| format!("\r\nauthorization: Negotiate {}", data_encoding::BASE64.encode(token));
    for (authorization, body, status) in [
        (String::new(), &body[..], 401),
        (token(b"bad"), body, 401),
        (token(b"good"), b"{}", 400),
        (token(b"conflict"), body, 409),
        (token(b"down"), body, 503),
    ] {
        let answer = send(&authorization, body).await;
        assert_eq!(answer.status, status, "{answer:?}");
        assert_eq!(answer.head.contains("www-authenticate: negotiate"), status == 401, "{answer:?}");
    }
    let answer = send(&token(b"good"), body).await;
    assert_eq!((answer.status, answer.json()["status"].as_str()), (200, Some("registered")));
    assert!(
        answer
            .head
            .contains(&format!("www-authenticate: negotiate {}", data_encoding::BASE64.encode(b"proof")).to_ascii_lowercase())
    );
}
