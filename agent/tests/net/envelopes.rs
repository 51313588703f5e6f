//! What a peer may put on the table, and what it may not.

use reverie_core::mesh::crypto::Signer;
use reverie_core::mesh::envelope;
use reverie_core::mesh::message::{Content, Expected, Message, Sync};
use reverie_core::moment::Moment;
use reverie_crypto::aws::Aws;

use super::client::Client;
use super::fixture::{Host, Keys, MESH};

pub fn now() -> Moment {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    Moment::from_millis(since.as_millis() as i64)
}

fn message(from: &Keys, to: &Host) -> Message {
    Message {
        version: 1,
        mesh: MESH,
        sender: from.node.clone(),
        recipient: to.keys.node.clone(),
        epoch: 10,
        nonce: *b"0123456789abcdef",
        in_reply_to: None,
        issued_at: now(),
        content: Content::Sync(Sync::default()),
    }
}

fn seal(message: &Message, signer: &Keys, to: &Host) -> Vec<u8> {
    use reverie_core::mesh::crypto::Decapsulator;
    envelope::seal(&Aws, &signer.signing, to.keys.kem.public_key(), &message.pack().unwrap()).unwrap()
}

async fn host_and_peer() -> (Host, Keys) {
    let (host, peer) = (Host::start("a.example.org").await, Keys::new("b.example.org"));
    host.change(|situation| situation.peers.push(peer.peer(&[])));
    host.wait_until("it is known", || host.kept(|kept| kept.peers.len() == 1)).await;
    (host, peer)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_answered_once_and_a_replay_is_not() {
    let (host, peer) = host_and_peer().await;
    let sealed = seal(&message(&peer, &host), &peer, &host);
    let answer = Client::host(&peer).sync(&host, &sealed).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let verified = envelope::parse(&answer.body, 1 << 20).unwrap().verify(&Aws, host.keys.signing.public_key()).unwrap();
    let key = envelope::content_key(&Aws, &peer.kem, verified.kem_ciphertext(), verified.wrapped_key()).unwrap();
    let expected = Expected {
        mesh: Some(&MESH),
        sender: Some(&host.keys.node),
        recipient: &peer.node,
        in_reply_to: Some(b"0123456789abcdef"),
        newest_wire: 2,
    };
    Message::unpack(&verified.open(&Aws, &key).unwrap(), &expected, now()).unwrap();

    let replayed = Client::host(&peer).sync(&host, &sealed).await;
    assert_eq!((replayed.status, replayed.json()["error"].as_str()), (409, Some("stale")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stale_message_and_one_of_an_older_start_are_refused() {
    let (host, peer) = host_and_peer().await;
    let client = Client::host(&peer);
    let mut stale = message(&peer, &host);
    stale.issued_at = now().before(std::time::Duration::from_secs(301));
    assert_eq!(client.sync(&host, &seal(&stale, &peer, &host)).await.status, 409);
    let mut ahead = message(&peer, &host);
    ahead.issued_at = now().after(std::time::Duration::from_secs(60));
    assert_eq!(client.sync(&host, &seal(&ahead, &peer, &host)).await.status, 409);

    assert_eq!(client.sync(&host, &seal(&message(&peer, &host), &peer, &host)).await.status, 200);
    // A copy of the host that runs on from an older snapshot.
    let mut older = message(&peer, &host);
    (older.epoch, older.nonce) = (9, *b"another nonce...");
    assert_eq!(client.sync(&host, &seal(&older, &peer, &host)).await.status, 409);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_another_peer_signed_is_refused_on_this_ones_connection() {
    let (host, peer) = host_and_peer().await;
    let third = Keys::new("c.example.org");
    host.change(|situation| situation.peers.push(third.peer(&[])));
    for signer in [&third, &Keys::new("nobody.example.org")] {
        let answer = Client::host(&peer).sync(&host, &seal(&message(&peer, &host), signer, &host)).await;
        assert_eq!((answer.status, answer.json()["error"].as_str()), (401, Some("unpinned")), "{answer:?}");
    }
    assert_eq!(host.kept(|kept| kept.merges), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_names_another_sender_mesh_or_recipient_is_refused() {
    let (host, peer) = host_and_peer().await;
    let whole = message(&peer, &host);
    let changes: [fn(&mut Message); 4] = [
        |message| message.sender = "c.example.org".parse().unwrap(),
        |message| message.recipient = "c.example.org".parse().unwrap(),
        |message| message.mesh = [0; 16],
        |message| message.in_reply_to = Some([0; 16]),
    ];
    for change in changes {
        let mut message = whole.clone();
        change(&mut message);
        let answer = Client::host(&peer).sync(&host, &seal(&message, &peer, &host)).await;
        assert_eq!(answer.status, 400, "{answer:?}");
    }
    assert_eq!(Client::host(&peer).sync(&host, b"nonsense").await.status, 400);
    let mut tampered = seal(&whole, &peer, &host);
    let last = tampered.len() - 400;
    tampered[last] ^= 1;
    let answer = Client::host(&peer).sync(&host, &tampered).await;
    assert!(matches!(answer.status, 400 | 401), "{answer:?}");
    assert_eq!(host.kept(|kept| kept.merges), 0);
}
