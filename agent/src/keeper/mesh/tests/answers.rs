//! What net can get out of the keeper.

use reverie_core::ipc::net::Side;
use reverie_core::mesh::crypto::{Decapsulator, PublicOperations, Signer};
use reverie_core::mesh::envelope;
use reverie_core::mesh::record::{CONTEXT, Statement};
use reverie_core::mesh::vector::Position;
use reverie_crypto::aws::Aws;

use super::*;
use crate::keeper::mesh::MeshState;

#[tokio::test]
async fn a_handshake_signature_verifies_over_nothing_but_a_certificate_verify() {
    let (_directory, founder, _) = two().await;
    let key = founder.mesh.keys().unwrap().current.public().0;
    // As near to a record's hash or an envelope's digest as a transcript comes: 32 bytes of net's choice.
    let statement = Statement {
        collection: Collection::Clients,
        key: "forged".to_owned(),
        author: node("a"),
        kid: key.kid(),
        position: Position { epoch: reverie_core::mesh::vector::MAX_EPOCH, seq: 1 },
        prev: [0; 32],
        before: Position::default(),
        stamp: Default::default(),
        value: Some(vec![0xa0]),
    };
    let wanted = [CONTEXT, &statement.to_bytes()].concat();
    let transcript = statement.hash();
    for side in [Side::Client, Side::Server] {
        let reply = founder.ask(Request::SignHandshake { side, transcript: transcript.to_vec() }).await;
        let Reply::Signature(signature) = reply else { panic!("{reply:?}") };
        assert!(Aws.verify_der(&key, &wanted, &signature).is_err(), "a record");
        assert!(Aws.verify_der(&key, &envelope::signed_attributes(&transcript), &signature).is_err(), "an envelope");
        let content = crate::ops::certificate_verify::content(side, &transcript).unwrap();
        Aws.verify_der(&key, &content, &signature).unwrap();
    }
    // Anything longer, that could hold a statement, is not signed at all.
    for transcript in [wanted.clone(), vec![], vec![0; 33], vec![0; 64]] {
        let reply = founder.ask(Request::SignHandshake { side: Side::Client, transcript }).await;
        assert!(matches!(reply, Reply::Failed { .. }), "{reply:?}");
    }
    let reply = founder.ask(Request::SignEnvelope { digest: transcript }).await;
    let Reply::Signature(signature) = reply else { panic!("{reply:?}") };
    assert!(Aws.verify_der(&key, &wanted, &signature).is_err());
    assert!(Aws.verify_der(&key, &transcript, &signature).is_err());
    Aws.verify_der(&key, &envelope::signed_attributes(&transcript), &signature).unwrap();
}

#[tokio::test]
async fn an_envelope_opens_by_the_key_it_names_and_every_failure_looks_the_same() {
    let (_directory, founder, member) = two().await;
    let ring = member.mesh.keys().unwrap();
    let sealed = |key| {
        let (ciphertext, shared) = Aws.encapsulate(key).unwrap();
        // RFC 9629 §5: as `envelope` derives it; here only that a right key opens matters.
        (ciphertext.to_vec(), shared)
    };
    let (ciphertext, _) = sealed(ring.current.kem.public_key());
    let kem_kid = ring.current.kem.public_key().kid();
    let other = founder.mesh.keys().unwrap().current.kem.public_key().kid();
    let mut answers = vec![];
    for (kem_kid, ciphertext, wrapped_key) in [
        (kem_kid, ciphertext.clone(), vec![7; 40]),
        (other, ciphertext.clone(), vec![7; 40]),
        (kem_kid, ciphertext[1..].to_vec(), vec![7; 40]),
        (kem_kid, ciphertext.clone(), vec![7; 39]),
        (kem_kid, vec![], vec![]),
    ] {
        answers.push(member.ask(Request::OpenEnvelope { kem_kid, ciphertext, wrapped_key }).await);
    }
    assert!(matches!(answers[0], Reply::Refused { status: 400, .. }));
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
}

#[tokio::test]
async fn an_envelope_sealed_to_the_key_before_a_rotation_still_opens() {
    let (_directory, _founder, member) = two().await;
    let before = member.mesh.keys().unwrap().current.kem.public_key().clone();
    super::super::keys::rotate(&member, Change::default()).await.unwrap();
    let draft = envelope::draft(&Aws, &before, b"a word").unwrap();
    let der = {
        let ring = member.mesh.keys().unwrap();
        let signature = ring.current.signing.sign_der(&envelope::signed_attributes(draft.digest())).unwrap();
        draft.finish(&ring.current.kid(), &signature).unwrap()
    };
    let parsed = envelope::parse(&der, 1 << 20).unwrap();
    let key = member.mesh.keys().unwrap().current.public().0;
    let verified = parsed.verify(&Aws, &key).unwrap();
    let request = Request::OpenEnvelope {
        kem_kid: verified.kem_kid(),
        ciphertext: verified.kem_ciphertext().to_vec(),
        wrapped_key: verified.wrapped_key().to_vec(),
    };
    let Reply::ContentKey(key) = member.ask(request).await else { panic!() };
    assert_eq!(&**verified.open(&Aws, &key).unwrap(), b"a word");
}

#[tokio::test]
async fn keys_rotate_by_the_key_before_and_outlive_a_restart() {
    let (directory, founder, member) = two().await;
    let before = member.mesh.keys().unwrap().current.kid();
    super::super::keys::rotate(&member, Change::default()).await.unwrap();
    let after = member.mesh.keys().unwrap().current.kid();
    assert_ne!(before, after);
    founder.pull(&member).await;
    let known = founder.mesh.look(|view| view.host(&node("b")).unwrap().keys).unwrap();
    let known: Vec<_> = known.iter().map(|key| key.signing_key.kid()).collect();
    assert_eq!(known, [before, after], "others take the next key, and the one before until all know");
    member.close().await;
    let member = Agent::open(&directory.path().join("b"), "b").await;
    assert_eq!(member.mesh.keys().unwrap().current.kid(), after);
    assert_eq!(member.mesh.keys().unwrap().earlier[0].kid(), before);
    let draft = super::super::keys::own_record(&member, &member.mesh.keys().unwrap().current).unwrap();
    write(&member, vec![draft], Change::default()).await.unwrap();
    let merged = founder.pull(&member).await;
    assert_eq!((merged.taken, merged.refused.len()), (1, 0));
}

#[tokio::test]
async fn a_refused_peer_is_recorded_within_the_budget_of_refusals() {
    let (_directory, founder, _) = two().await;
    for number in 0..200 {
        let request = Request::Refused { peer: format!("peer {number}"), address: None, reason: "no known key".to_owned() };
        assert_eq!(founder.ask(request).await, Reply::Done);
    }
    let recorded = founder.audit().matches("peer-refused").count();
    assert!((15..60).contains(&recorded), "{recorded}");
}

#[tokio::test]
async fn before_there_is_a_mesh_net_gets_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let agent = Agent::open(directory.path(), "a").await;
    assert_eq!(agent.mesh.state(), MeshState::None);
    let merge = Request::Merge { from: node("b"), records: vec![], vector: VersionVector::default(), more: None };
    for request in [
        Request::SignHandshake { side: Side::Server, transcript: vec![0; 32] },
        Request::SignEnvelope { digest: [0; 32] },
        Request::OpenEnvelope { kem_kid: [0; 20][..].try_into().unwrap(), ciphertext: vec![0; 1088], wrapped_key: vec![0; 40] },
        merge,
    ] {
        let reply = agent.ask(request).await;
        assert!(matches!(reply, Reply::Failed { .. }), "{reply:?}");
    }
    let error = write(&agent, vec![], Change::default()).await.unwrap_err();
    assert!(error.to_string().contains("`agentctl mesh init`"), "{error}");
}

#[tokio::test]
async fn a_task_is_in_the_situation_until_it_is_reported() {
    let (_directory, founder, _) = two().await;
    let follower = tokio::spawn(super::super::situation::follow(Arc::clone(&founder)));
    let keeper = Arc::clone(&founder);
    let what = reverie_core::ipc::net::TaskKind::RetryNow;
    let asked = tokio::spawn(async move { keeper.mesh.task(what, std::time::Duration::from_secs(20)).await });
    let (mut seen, number) = (
        0,
        loop {
            let Reply::Situation(Some(situation)) = founder.ask(Request::Watch { seen: 0 }).await else { panic!() };
            if let Some(task) = situation.tasks.first() {
                break task.number;
            }
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        },
    );
    assert_eq!(founder.ask(Request::Report { task: number, outcome: Ok(b"done".to_vec()) }).await, Reply::Done);
    assert_eq!(asked.await.unwrap(), Ok(b"done".to_vec()));
    loop {
        let Reply::Situation(Some(situation)) = founder.ask(Request::Watch { seen }).await else { panic!() };
        if situation.tasks.is_empty() {
            break;
        }
        seen = situation.number;
    }
    follower.abort();
}
