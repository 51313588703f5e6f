//! Taking records: from a net that lies, and from one that tells the truth.

use reverie_core::audit::Actor;
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
async fn records_are_taken_whole_with_the_keys_that_the_same_message_introduces() {
    let (directory, founder, _) = two().await;
    let late = Agent::open(&directory.path().join("c"), "c").await;
    founder.admit(&late, Standing::Member).await;
    let own = Draft::put(Collection::Lockouts, "u/c.example.org", &0u8).unwrap();
    write(&late, vec![own], Change::default()).await.unwrap();
    // A host that knows the founder's key alone.
    let other = Agent::open(&directory.path().join("d"), "d").await;
    founder.admit(&other, Standing::Member).await;
    let (records, _, _) = late.mesh.records(&VersionVector::default(), 4 << 20);
    let merged = other.merge(&late, records).await;
    assert_eq!((merged.refused, merged.forged), (vec![], false));
    let (ours, theirs) = (other.mesh.vector(), late.mesh.vector());
    assert!(theirs.0.iter().all(|(author, position)| ours.get(author) >= *position));
}

#[tokio::test]
async fn who_hands_over_a_forged_record_is_told_apart_from_who_is_only_ahead() {
    let (directory, founder, member) = two().await;
    founder.put_client("app").await;
    let (records, _, _) = founder.mesh.records(&member.mesh.vector(), 1 << 20);
    let mut forged = records[0].clone();
    let last = forged.len() - 1;
    forged[last] ^= 1;
    assert!(member.merge(&founder, vec![forged]).await.forged);
    // By a key that the receiver does not know yet: it comes again.
    let stranger = Agent::open(&directory.path().join("x"), "x").await;
    stranger.found().await;
    let (strange, _, _) = stranger.mesh.records(&VersionVector::default(), 1 << 20);
    let merged = member.merge(&founder, strange).await;
    assert!(!merged.forged && !merged.refused.is_empty());
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
    let mine = Draft::put(Collection::Clients, "mine", &Client { display_name: None }).unwrap();
    let told = write(&member, vec![mine.clone()], Change::default()).await.unwrap_err().to_string();
    assert!(told.contains("do it on an authority"), "{told}");
    // Whatever its own keeper does: others do not even keep it.
    let records = founder.mesh.read().core.as_ref().unwrap().set.len();
    assert_eq!(founder.merge(&member, vec![member.forge(mine)]).await.taken, 0);
    assert!(!founder.has_client("mine"));
    assert_eq!(founder.mesh.read().core.as_ref().unwrap().set.len(), records);
}

#[tokio::test]
async fn what_there_is_no_room_for_is_not_said_and_an_alarm_comes_before() {
    use reverie_core::mesh::collection::Revocation;
    let (_directory, founder, _member) = two().await;
    let share = Collection::Scopes.drawer("s", "a.example.org").share() as usize;
    let scopes = |from: usize, to: usize| -> Vec<Draft> {
        let scope = |number| Draft { collection: Collection::Scopes, key: format!("s{number}"), value: Some(vec![0xa0]) };
        (from..to).map(scope).collect()
    };
    let alarms = |at: &Agent| {
        super::super::room::look(at);
        at.alarms.all().iter().any(|alarm| alarm.message.contains("records in scopes"))
    };
    let much = (share * 4).div_ceil(5);
    write(&founder, scopes(0, much - 1), Change::default()).await.unwrap();
    assert!(!alarms(&founder));
    write(&founder, scopes(much - 1, much), Change::default()).await.unwrap();
    assert!(alarms(&founder));
    write(&founder, scopes(much, share), Change::default()).await.unwrap();
    let before = founder.digest();
    let told = write(&founder, scopes(share, share + 1), Change::default()).await.unwrap_err().to_string();
    assert!(told.contains("as much in scopes of the mesh as one host may (4096 records)"), "{told}");
    assert_eq!(founder.digest(), before);
    write(&founder, scopes(0, 1), Change::default()).await.unwrap();
    // Revocations wait for nobody: those that records have no room for are named by lists.
    let value = Revocation { at: clock::now(), not_after: clock::now() };
    let revocation = |number| {
        let name = key::revocation(&"ab".repeat(32), &format!("01{number:08x}"));
        Draft::put(Collection::Revocations, name, &value).unwrap()
    };
    let share = Collection::Revocations.drawer("", "a.example.org").share();
    write(&founder, (0..share - 1).map(revocation).collect(), Change::default()).await.unwrap();
    let (kept, finding) = super::super::room::without_what_is_too_much(&founder, (share..share + 3).map(revocation).collect());
    assert_eq!(kept.len(), 1);
    assert!(finding.unwrap().starts_with("2 revocations are named by this host's lists alone"));
}

#[tokio::test]
async fn the_alarm_on_two_histories_outlives_a_restart_and_ends_with_the_host() {
    let (directory, founder, member) = two().await;
    let said = |value: u8| {
        let lockout =
            Draft { collection: Collection::Lockouts, key: "x/b.example.org".to_owned(), value: Some(vec![0xa1, 0, value]) };
        // Each as the first after what the member has stored.
        let kept = member.mesh.read().core.as_ref().unwrap().author.clone();
        let record = member.forge(lockout);
        member.mesh.change().core.as_mut().unwrap().author = kept;
        record
    };
    let (one, other) = (said(1), said(2));
    founder.merge(&member, vec![one]).await;
    founder.merge(&member, vec![other]).await;
    let alarmed = |at: &Agent| at.alarms.all().iter().any(|alarm| alarm.message.contains("two histories of b.example.org"));
    assert!(alarmed(&founder));
    founder.close().await;
    let founder = Agent::open(&directory.path().join("a"), "a").await;
    super::super::show_suspects(&founder);
    assert!(alarmed(&founder));
    let status = super::super::status::status(&founder);
    assert!(status.hosts[1].evidence.iter().any(|evidence| evidence.starts_with("two histories")), "{:?}", status.hosts[1]);
    crate::keeper::mesh::membership::evict(&founder, node("b"), None, Actor::Agent).await.unwrap();
    super::super::show_suspects(&founder);
    assert!(!alarmed(&founder));
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
        Request::Merge { from: node("a"), records: vec![vec![]; 70_000], vector: VersionVector::default(), more: None };
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
    super::super::show_suspects(&founder);
    assert!(founder.alarms.stands("mesh, audit log of b.example.org"));
    crate::keeper::mesh::membership::evict(&founder, node("b"), None, Actor::Agent).await.unwrap();
    super::super::show_suspects(&founder);
    assert!(!founder.alarms.stands("mesh, audit log of b.example.org"));
}

#[tokio::test]
async fn a_member_that_says_the_same_anew_without_end_is_put_off_and_others_are_heard() {
    let (directory, founder, thief) = two().await;
    let honest = Agent::open(&directory.path().join("c"), "c").await;
    founder.admit(&honest, Standing::Member).await;
    *founder.mesh.budgets() = super::super::budget::Budgets::of(100, 10);
    let lockout = |who: &str, value: u8| {
        let key = format!("x/{who}.example.org");
        Draft { collection: Collection::Lockouts, key, value: Some(vec![0xa1, 0, value]) }
    };
    let flood = |count: u8| -> Vec<Vec<u8>> { (0..count).map(|value| thief.forge(lockout("b", value % 20))).collect() };
    founder.merge(&thief, flood(150)).await;
    // They come with what another said, by whoever passes them on.
    let mut page = flood(50);
    page.push(honest.forge(lockout("c", 1)));
    let merged = founder.merge(&honest, page.clone()).await;
    assert_eq!((merged.taken, merged.forged), (1, false), "{merged:?}");
    assert!(merged.refused[0].contains("b.example.org: the record's author says too much at once"), "{merged:?}");
    super::super::show_suspects(&founder);
    assert!(founder.alarms.stands("mesh, flood by b.example.org"));
    // Later it is heard again, with the last that it said.
    *founder.mesh.budgets() = super::super::budget::Budgets::of(100, 10);
    assert!(founder.merge(&honest, page).await.taken > 0);
    super::super::show_suspects(&founder);
    assert!(!founder.alarms.stands("mesh, flood by b.example.org"));
}
