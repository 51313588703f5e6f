//! Taking records: from a net that lies, and from one that tells the truth.

use reverie_core::mesh::record::Record;

use super::*;

#[tokio::test]
async fn two_hosts_that_exchange_records_hold_the_same_and_show_the_same() {
    let (_directory, founder, member) = two().await;
    founder.put_client("app").await;
    member.pull(&founder).await;
    assert_eq!(founder.digest(), member.digest());
    assert!(member.has_client("app"));
    let again = member.pull(&founder).await;
    assert_eq!(again.taken, 0);
}

#[tokio::test]
async fn a_hostile_net_forges_nothing() {
    let (directory, founder, member) = two().await;
    founder.put_client("app").await;
    let before = member.digest();
    let (records, _, _) = founder.mesh.records(&member.mesh.vector(), 1 << 20);
    assert_eq!(records.len(), 1);

    // A value changed, with the signature as it was.
    let mut forged = Record::from_bytes(&records[0]).unwrap();
    forged.statement.key = "other".to_owned();
    // A signature by someone else's key, under the founder's name.
    let ring = member.mesh.keys().unwrap();
    let mut borrowed = Record::from_bytes(&records[0]).unwrap();
    borrowed.statement.kid = ring.current.kid();
    let borrowed = borrowed.statement.sign(&ring.current.signing).unwrap();
    // A host that nobody admitted.
    let stranger = Agent::open(&directory.path().join("x"), "x").await;
    stranger.found().await;
    let (strange, _, _) = stranger.mesh.records(&VersionVector::default(), 1 << 20);

    let mut hostile = vec![forged.to_bytes(), borrowed.to_bytes(), vec![], vec![0xff; 4096], records[0][1..].to_vec()];
    hostile.extend(strange);
    let merged = member.merge(&founder, hostile).await;
    assert_eq!(merged.taken, 0);
    assert!(!merged.refused.is_empty());
    assert_eq!(member.digest(), before);
    assert!(!member.has_client("app") && !member.has_client("other"));
    assert!(member.audit().contains("record-refused"));
    // And the true record is not shut out by what came in its name.
    assert_eq!(member.merge(&founder, records).await.taken, 1);
    assert!(member.has_client("app"));
}

#[tokio::test]
async fn a_bad_signature_beside_a_good_one_over_the_same_statement_is_not_stored() {
    let (directory, founder, member) = two().await;
    founder.put_client("app").await;
    let (records, _, _) = founder.mesh.records(&member.mesh.vector(), 1 << 20);
    let mut bent = records[0].clone();
    let last = bent.len() - 1;
    bent[last] ^= 1;
    let merged = member.merge(&founder, vec![bent, records[0].clone()]).await;
    // Whichever was looked at first: what stands is good.
    if merged.taken == 0 {
        member.merge(&founder, records.clone()).await;
    }
    member.close().await;
    let member = Agent::open(&directory.path().join("b"), "b").await;
    let (held, _, _) = member.mesh.records(&VersionVector::default(), 1 << 20);
    assert!(held.contains(&records[0]));
}

#[tokio::test]
async fn what_was_merged_is_there_after_a_restart() {
    let (directory, founder, member) = two().await;
    for number in 0..50 {
        founder.put_client(&format!("app{number}")).await;
    }
    founder.put_client("app7").await;
    let merged = member.pull(&founder).await;
    assert_eq!(merged.taken, 50, "what is superseded does not travel");
    let (digest, vector) = (member.digest(), member.mesh.vector());
    member.close().await;
    let member = Agent::open(&directory.path().join("b"), "b").await;
    assert_eq!((member.digest(), member.mesh.vector()), (digest, vector));
    // What was displaced is dropped from the store with a later change.
    founder.put_client("app7").await;
    member.pull(&founder).await;
    founder.put_client("last").await;
    member.pull(&founder).await;
    let rows = member.state.records(0, 16 << 20).unwrap().len();
    let standing = member.mesh.read().core.as_ref().unwrap().set.len();
    assert_eq!(rows, standing);
}

#[tokio::test]
async fn a_member_cannot_write_what_only_an_authority_may() {
    let (_directory, founder, member) = two().await;
    // Its own keeper does not stop it: what counts is decided where it is read.
    member.put_client("mine").await;
    assert_eq!(founder.pull(&member).await.taken, 1);
    assert!(!founder.has_client("mine") && !member.has_client("mine"));
}

#[tokio::test]
async fn a_thousand_records_in_one_page_are_verified_on_all_cores_and_taken() {
    let (_directory, founder, member) = two().await;
    let drafts = (0..1000).map(|number| {
        let client = Client { display_name: None };
        Draft::put(Collection::Clients, format!("app{number}"), &client).unwrap()
    });
    write(&founder, drafts.collect(), Change::default()).await.unwrap();
    let merged = member.pull(&founder).await;
    assert_eq!((merged.taken, merged.refused), (1000, vec![]));
    assert_eq!(founder.digest(), member.digest());
    let too_many =
        Request::Merge { from: node("a"), records: vec![vec![]; 70_000], vector: VersionVector::default(), more: false };
    assert!(matches!(member.ask(too_many).await, Reply::Refused { status: 413, .. }));
}

#[tokio::test]
async fn a_write_that_nobody_waits_for_any_more_is_made_whole() {
    let (_directory, founder, member) = two().await;
    for number in 0..20u64 {
        let client = Client { display_name: None };
        let draft = Draft::put(Collection::Clients, format!("app{number}"), &client).unwrap();
        let writing = write(&founder, vec![draft], Change::default());
        // Given up at any moment: before it is signed, while it is made durable, after.
        let _ = tokio::time::timeout(std::time::Duration::from_micros(number * 50), writing).await;
    }
    founder.put_client("last").await;
    let merged = member.pull(&founder).await;
    assert_eq!(merged.refused, Vec::<String>::new());
    let evidence = member.mesh.look(|view| view.evidence().len()).unwrap();
    assert_eq!(evidence, 0, "no position was used twice");
    assert_eq!(founder.digest(), member.digest());
    let rows = founder.state.records(0, 16 << 20).unwrap().len();
    assert_eq!(rows, founder.mesh.read().core.as_ref().unwrap().set.len(), "what is durable is in the set");
}

#[tokio::test]
async fn an_audit_log_that_shrinks_is_noticed_by_the_others() {
    use reverie_core::audit::{ChainHead, Hash, SignedHead};
    use reverie_core::mesh::collection::AuditHead;
    let (_directory, founder, member) = two().await;
    let tell = |seq, byte| {
        let head = ChainHead { seq, hash: Hash([byte; 32]) };
        let signed = SignedHead { head, time: clock::now(), signature: String::new() };
        let head = AuditHead { signed: serde_json::to_string(&signed).unwrap() };
        Draft::put(Collection::AuditHeads, node("b").as_str(), &head).unwrap()
    };
    for (seq, byte, expected) in [(5, 1, 0), (9, 2, 0), (9, 2, 0), (9, 3, 1), (4, 1, 2)] {
        write(&member, vec![tell(seq, byte)], Change::default()).await.unwrap();
        founder.pull(&member).await;
        assert_eq!(founder.audit().matches("audit-rewritten").count(), expected, "{seq} {byte}");
    }
    assert!(founder.alarms.stands("mesh, audit log of b.example.org"));
}
