use super::kit::{Double, DoubleSigner, World, cbor, empty, forge, node, set_of, told};
use crate::mesh::collection::{
    Admission, Collection, HostIntermediate, Node, Revocation, SharedIdentity, Standing, WrappingKeyVersion, key,
};
use crate::mesh::crypto::Signer;
use crate::mesh::record::{Record, Stamp};
use crate::mesh::set::{Limits, Offered, Refusal, Set};
use crate::mesh::view::View;
use crate::moment::Moment;

fn host(kid: crate::mesh::crypto::Kid, address: &str) -> Vec<u8> {
    cbor(&Node {
        addresses: vec![address.to_owned()],
        agent_version: "1".to_owned(),
        wire: 1,
        signing_kid: kid,
        kem_kid: kid,
        wrapping_key: None,
    })
}

fn address(world: &World, who: &str) -> String {
    world.view().host(&node(who)).unwrap().record.unwrap().addresses[0].clone()
}

#[test]
fn a_member_cannot_rewrite_anothers_key() {
    let mut world = World::usual();
    let (m, n) = (world.pens["m"].kid(), world.pens["n"].kid());
    world.say("n", Collection::Nodes, "n.example", &host(n, "right:1"));
    world.cannot_say("m", Collection::Nodes, "n.example", Some(&host(n, "wrong:1")));
    world.say("m", Collection::Nodes, "m.example", &host(m, "own:1"));
    assert_eq!((address(&world, "n"), address(&world, "m")), ("right:1".into(), "own:1".into()));
    // Nor by a next key that it did not prove, nor by one that it signs for another.
    let record = world.next_key("m", "m2");
    let stolen = forge(&record, &DoubleSigner::named("m"), |record| {
        record.statement.key = key::host_key(&node("n"), &DoubleSigner::named("m2").public_key().kid());
    });
    world.hear(&stolen);
    assert!(world.view().members().get(&node("n")).unwrap().keys.iter().all(|key| key.signing_key.kid() == n));
}

#[test]
fn a_hosts_keys_change_only_with_a_proof_by_the_next() {
    let mut world = World::usual();
    let unproven = {
        let record = world.next_key("m", "m2");
        forge(&record, &DoubleSigner::named("m"), |record| {
            let value = record.statement.value.as_mut().unwrap();
            *value.last_mut().unwrap() = 1;
            let at = value.len() - 64;
            value[at] ^= 1;
        })
    };
    assert_eq!(world.hear(&unproven), Offered::Refused(Refusal::BadSignature));
    let kid = world.pens["m"].kid();
    let wrong = host(DoubleSigner::named("n").public_key().kid(), "x:1");
    world.say("m", Collection::Nodes, "m.example", &host(kid, "x:1"));
    world.say("m", Collection::Nodes, "m.example", &wrong);
    assert!(world.view().host(&node("m")).unwrap().record.is_none(), "a key that is not its own");
}

#[test]
fn a_host_goes_on_to_its_next_key_and_the_old_one_ends() {
    let mut world = World::usual();
    let record = world.next_key("m", "m2");
    assert!(matches!(world.hear(&record), Offered::Taken { .. }));
    world.say("m", Collection::Lockouts, "old/m.example", b"\xa0");
    world.pens.get_mut("m").unwrap().signer = DoubleSigner::named("m2");
    world.say("m", Collection::Lockouts, "new/m.example", b"\xa0");
    let view = world.view();
    assert!(view.get(Collection::Lockouts, "old/m.example").is_none(), "by the key before, after it was replaced");
    assert!(view.get(Collection::Lockouts, "new/m.example").is_some());
    let keys = view.host(&node("m")).unwrap().keys;
    assert_eq!(keys.len(), 1);
    assert_eq!(keys[0].signing_key.kid(), DoubleSigner::named("m2").public_key().kid());
}

#[test]
fn a_member_cannot_forge_policy() {
    let mut world = World::usual();
    world.say("b", Collection::Clients, "c", b"\xa1\x00\x01");
    let collections = [Collection::Clients, Collection::Scopes, Collection::Hbac, Collection::Roles, Collection::Users];
    for collection in collections.into_iter().chain([Collection::Invalidations]) {
        world.cannot_say("m", collection, "c", Some(b"\xa1\x00\x02"));
        world.cannot_say("m", collection, "d", Some(b"\xa1\x00\x02"));
    }
    world.cannot_say(
        "m",
        Collection::IssuingLimits,
        "m.example",
        Some(&cbor(&crate::mesh::collection::IssuingLimits::default())),
    );
    let version = WrappingKeyVersion { version: 9, digest: [0; 32], made_at: world.now };
    world.cannot_say("m", Collection::WrappingKeys, "9", Some(&cbor(&version)));
    world.cannot_say("m", Collection::Clients, "c", None);
    assert_eq!(world.client("c"), Some(b"\xa1\x00\x01".to_vec()));
    // Even a host that took it all by some fault shows the same.
    let by_fault = set_of(&world.said);
    assert_eq!(told(&by_fault, world.now), told(&world.set, world.now));
    assert!(by_fault.len() > world.set.len());
}

#[test]
fn an_admission_forged_by_a_member_admits_nobody_and_gives_no_share() {
    let mut world = World::usual();
    world.arrive("x", "x");
    let forged = world.admission("m", "x", Standing::Authority, "token");
    assert_eq!(world.hear(&forged), Offered::Refused(Refusal::UnknownKey));
    assert!(world.view().members().get(&node("x")).is_none());
    let offered = world.write("x", Collection::Clients, "c", Some(vec![0xa0]));
    assert_eq!(offered, Offered::Refused(Refusal::UnknownKey));
    assert_eq!(world.set.heard(&node("x")), Default::default(), "and it comes again once somebody may");
    world.admit("b", "x", Standing::Member, "token");
    assert!(world.view().members().is_in(&node("x")));
}

#[test]
fn a_member_cannot_promote_itself() {
    let mut world = World::usual();
    let forged = world.admission("m", "m", Standing::Authority, "promotion");
    assert_eq!(world.hear(&forged), Offered::Refused(Refusal::UnknownKey));
    assert!(!world.view().members().is_authority(&node("m")));
    let client = world.whisper("m", Collection::Clients, "c", Some(vec![0xa0]));
    assert_eq!(world.hear(&client), Offered::Refused(Refusal::UnknownKey));
    assert_eq!(world.client("c"), None);
    world.admit("b", "m", Standing::Authority, "promotion");
    assert!(world.view().members().is_authority(&node("m")));
    assert!(matches!(world.hear(&client), Offered::Taken { .. }), "it comes again, once it may");
    assert!(world.client("c").is_some());
}

#[test]
fn a_member_cannot_evict_an_authority_or_anyone() {
    let mut world = World::usual();
    for who in ["a", "n"] {
        let forged = world.eviction("m", who, &[]).pop().unwrap();
        assert_eq!(world.hear(&forged), Offered::Refused(Refusal::UnknownKey));
    }
    let members = world.view();
    assert!(members.members().is_authority(&node("a")) && members.members().is_in(&node("n")));
    assert!(members.host(&node("n")).unwrap().evicted.is_none());
}

fn issuer(world: &mut World, by: &'static str, of: &str) -> String {
    use sha2::{Digest, Sha256};
    let name = |bytes: &[u8]| data_encoding::HEXLOWER.encode(&Sha256::digest(bytes));
    let root = crate::mesh::collection::BundleRoot { certificate: by.as_bytes().to_vec(), signs_from: world.now };
    let root_name = name(&root.certificate);
    world.say(by, Collection::Bundles, &root_name, &cbor(&root));
    let certificate = format!("{by} signs {of}").into_bytes();
    let fingerprint = name(&certificate);
    let intermediate = HostIntermediate { node: node(of), root: root_name, certificate };
    world.say(by, Collection::Intermediates, &fingerprint, &cbor(&intermediate));
    fingerprint
}

fn is_revoked(world: &World, issuer: &str, serial: &str) -> bool {
    world.view().revocations().contains_key(&(issuer, serial))
}

fn revocation(world: &World) -> Vec<u8> {
    cbor(&Revocation { at: world.now, not_after: world.now })
}

#[test]
fn only_the_holder_of_an_issuer_and_authorities_revoke_under_it() {
    let mut world = World::usual();
    let issuer = issuer(&mut world, "a", "m");
    let value = revocation(&world);
    world.say("n", Collection::Revocations, &key::revocation(&issuer, "0101"), &value);
    world.say("m", Collection::Revocations, &key::revocation(&issuer, "0202"), &value);
    world.say("b", Collection::Revocations, &key::revocation(&issuer, "0303"), &value);
    let revoked = ["0101", "0202", "0303"].map(|serial| is_revoked(&world, &issuer, serial));
    assert_eq!(revoked, [false, true, true]);
}

#[test]
fn a_stolen_issuer_cannot_undo_a_revocation() {
    let mut world = World::usual();
    let issuer = issuer(&mut world, "a", "m");
    let (name, value) = (key::revocation(&issuer, "0101"), revocation(&world));
    world.say("m", Collection::Revocations, &name, &value);
    // Withdrawn, overwritten by what says nothing, and covered by a floor.
    let record = world.whisper("m", Collection::Revocations, &name, Some(vec![0xa0]));
    let withdrawn = forge(&record, &DoubleSigner::named("m"), |record| record.statement.value = None);
    assert!(matches!(world.hear(&withdrawn), Offered::Refused(Refusal::Malformed(_))));
    world.hear(&record);
    let floor = crate::mesh::collection::Floor { collected: world.set.heard(&node("m")) };
    world.say("m", Collection::Floors, "m.example", &cbor(&floor));
    assert!(is_revoked(&world, &issuer, "0101"));
    // Even once it is out: what it revoked while it was in stays revoked.
    world.evict("a", "m");
    assert!(is_revoked(&world, &issuer, "0101"));
}

#[test]
fn who_holds_an_issuer_neither_shortens_nor_delays_nor_garbles_an_authoritys_revocation() {
    let mut world = World::usual();
    let issuer = issuer(&mut world, "a", "m");
    let (now, end) = (world.now, world.now.after(std::time::Duration::from_secs(86_400)));
    let name = key::revocation(&issuer, "0101");
    let said = |at, not_after| cbor(&Revocation { at, not_after });
    world.say("b", Collection::Revocations, &name, &said(now, end));
    let stands = |world: &World| world.view().revocations().remove(&(issuer.as_str(), "0101"));
    let expected = Some(Revocation { at: now, not_after: end });
    for weaker in [said(now, Moment::from_millis(0)), said(end, now), vec![0xa0], vec![0x18, 1]] {
        world.say("m", Collection::Revocations, &name, &weaker);
        assert_eq!(stands(&world), expected);
    }
    world.say("m", Collection::Revocations, &name, &said(Moment::from_millis(0), now));
    assert_eq!(stands(&world), Some(Revocation { at: Moment::from_millis(0), not_after: end }), "it may say more");
}

#[test]
fn a_list_for_anothers_issuer_is_void() {
    let mut world = World::usual();
    let issuer = issuer(&mut world, "a", "m");
    let list = |number| cbor(&crate::mesh::collection::RevocationList { list: vec![1], number });
    world.say("m", Collection::Crls, &issuer, &list(1));
    world.say("n", Collection::Crls, &issuer, &list(2));
    assert_eq!(world.view().crls()[0].1.number, 1);
}

#[test]
fn an_intermediate_counts_only_by_the_authority_that_holds_its_root() {
    let mut world = World::usual();
    issuer(&mut world, "a", "m");
    world.cannot_say("m", Collection::Bundles, &"ab".repeat(32), Some(&[0xa0]));
    world.cannot_say("m", Collection::Intermediates, &"ab".repeat(32), Some(&[0xa0]));
    let known = world.view().intermediates();
    assert_eq!(known.len(), 1);
    assert_eq!(known[0].intermediate.certificate, b"a signs m");
    assert_eq!(world.view().bundle().len(), 1, "a member has no root");
}

#[test]
fn an_old_record_replayed_is_superseded() {
    let mut world = World::usual();
    let old = world.whisper("a", Collection::Clients, "c", Some(vec![0xa0]));
    world.hear(&old);
    world.say("a", Collection::Clients, "c", b"\xa1\x00\x01");
    world.write("a", Collection::Clients, "c", None);
    assert_eq!(world.hear(&old), Offered::Superseded);
    assert_eq!(world.client("c"), None);
}

#[test]
fn a_clock_run_ahead_hides_nothing_and_is_reported() {
    let mut world = World::usual();
    world.say("b", Collection::Clients, "c", b"\xa1\x00\x01");
    let record = world.whisper("a", Collection::Clients, "c", Some(b"\xa1\x00\x02".to_vec()));
    let ahead = forge(&record, &DoubleSigner::named("a"), |record| record.statement.stamp.wall += 31_000);
    assert!(matches!(world.hear(&ahead), Offered::Taken { .. }), "held back, not dropped");
    assert_eq!(world.client("c"), Some(b"\xa1\x00\x01".to_vec()));
    assert_eq!(world.view().held_back(), [(&node("a"), 1)].into());
    assert_eq!(world.view().counts()["clients"], 1);
    let due = world.view().next_due().unwrap();
    let early = View::of(&world.set, Moment::from_millis(due.as_millis() - 1));
    assert_eq!(early.get(Collection::Clients, "c").unwrap().bytes, b"\xa1\x00\x01");
    let then = View::of(&world.set, due);
    assert_eq!(then.get(Collection::Clients, "c").unwrap().bytes, b"\xa1\x00\x02");
    assert!(then.held_back().is_empty());
}

#[test]
fn an_eviction_stamped_in_the_future_is_not_held_back() {
    let mut world = World::usual();
    let offered = {
        world.evict("b", "n");
        world.said.last().cloned().unwrap()
    };
    let ahead = forge(&offered, &DoubleSigner::named("b"), |record| record.statement.stamp.wall += 1 << 40);
    let set = set_of(world.said[..world.said.len() - 1].iter().chain([&ahead]));
    assert!(!View::of(&set, world.now).members().is_in(&node("n")));
}

#[test]
fn a_flood_pushes_out_only_its_own_authors_records() {
    let mut set = Set::new(super::kit::anchor(), Limits { most: 40 });
    let mut world = World::usual();
    world.say("n", Collection::Lockouts, "alice/n.example", b"\xa0");
    for i in 0..100 {
        world.say("m", Collection::Lockouts, &format!("u{i}/m.example"), b"\xa0");
        let key = key::revocation(&"ab".repeat(32), &format!("01{i:02x}"));
        world.say("m", Collection::Revocations, &key, &[0xa0]);
    }
    let refused = world.said.iter().filter(|r| set.offer(r, &Double) == Offered::Refused(Refusal::Limit)).count();
    assert_eq!(refused, 60);
    let heard = |set: &Set| (set.digest(), set.len(), told(set, world.now));
    assert!(View::of(&set, world.now).get(Collection::Lockouts, "alice/n.example").is_some());
    assert_eq!(set.len(), 4 + 1 + 40 + 40);
    // The same stands if it came in another order.
    let mut backwards = Set::new(super::kit::anchor(), Limits { most: 40 });
    for record in world.said.iter().rev() {
        backwards.take(crate::mesh::record::Parsed::new(record).unwrap().trusted());
    }
    assert_eq!(heard(&set), heard(&backwards));
}

#[test]
fn a_host_that_forks_its_history_is_caught_and_hosts_agree_on_one() {
    let mut world = World::usual();
    world.say("m", Collection::Lockouts, "x/m.example", b"\xa0");
    let one = world.whisper("m", Collection::Lockouts, "y/m.example", Some(b"\xa0".to_vec()));
    let other = forge(&one, &DoubleSigner::named("m"), |record| record.statement.value = Some(b"\xa1\x00\x01".to_vec()));
    let elsewhere = forge(&one, &DoubleSigner::named("m"), |record| record.statement.key = "z/m.example".to_owned());
    for forked in [&other, &elsewhere] {
        let mut left = set_of(&world.said);
        let mut right = set_of(&world.said);
        left.offer(&one, &Double);
        right.offer(forked, &Double);
        assert_eq!(left.vector(), right.vector());
        assert_ne!(left.digest(), right.digest(), "a vector cannot hide two histories");
        let (a, b): (Vec<Vec<u8>>, Vec<Vec<u8>>) =
            (left.history(&node("m")).map(<[u8]>::to_vec).collect(), right.history(&node("m")).map(<[u8]>::to_vec).collect());
        left.merge(&b, &Double);
        right.merge(&a, &Double);
        assert_eq!(left.digest(), right.digest());
        assert_eq!(told(&left, world.now), told(&right, world.now));
        assert_eq!(left.evidence(), right.evidence());
        assert!(left.evidence().contains_key(&node("m")));
    }
}

#[test]
fn a_record_that_names_another_predecessor_than_the_one_held_is_a_fork() {
    let mut world = World::usual();
    world.say("m", Collection::Lockouts, "x/m.example", b"\xa0");
    let next = world.whisper("m", Collection::Lockouts, "y/m.example", Some(b"\xa0".to_vec()));
    let forged = forge(&next, &DoubleSigner::named("m"), |record| record.statement.prev = [9; 32]);
    assert!(matches!(world.hear(&forged), Offered::Taken { fork: true, .. }));
    assert_eq!(world.view().evidence().len(), 1);
    assert!(!world.set.evidence().contains_key(&node("n")));
}

#[test]
fn an_identity_record_with_more_than_a_rule_is_void() {
    let mut world = World::usual();
    let good = SharedIdentity { spiffe_path: "/svc/web".to_owned(), users: vec!["www".to_owned()], ..Default::default() };
    world.say("a", Collection::Identities, "web", &cbor(&good));
    let mut map = cbor(&good);
    assert_eq!(map[0] >> 5, 5);
    map[0] += 1;
    // A command under a number that this version does not know.
    map.extend([0x18, 99, 0x67]);
    map.extend(b"rm -rf/");
    world.say("b", Collection::Identities, "web", &map);
    let view = world.view();
    assert_eq!(view.read::<SharedIdentity>(Collection::Identities, "web"), Some(good));
}

#[test]
fn a_key_admitted_under_anothers_name_is_none() {
    let mut world = World::founded();
    world.arrive("x", "x");
    let signing_key = DoubleSigner::named("x").public_key().clone();
    let standing = Standing::Member;
    let admission =
        Admission { node: node("x"), signing_key, kem_key: None, standing, by: "token".to_owned(), despite: Default::default() };
    let other = key::admission(&node("x"), &DoubleSigner::named("y").public_key().kid());
    world.say("a", Collection::Admissions, &other, &cbor(&admission));
    assert!(world.view().host(&node("x")).is_none());
    assert_eq!(world.write("x", Collection::Clients, "c", None), Offered::Refused(Refusal::UnknownKey));
}

#[test]
fn two_writes_at_one_time_stand_in_one_order_everywhere() {
    let mut world = World::usual();
    let stamp = Stamp { wall: world.now.as_millis() as u64, counter: 0 };
    let mut records = Vec::new();
    for (by, value) in [("a", Some(vec![0xa0])), ("b", None)] {
        let record = world.whisper(by, Collection::Clients, "c", value);
        records.push(forge(&record, &DoubleSigner::named(by), |record| record.statement.stamp = stamp));
    }
    let base = world.said.clone();
    let forth = set_of(base.iter().chain(&records));
    let back = set_of(base.iter().chain(records.iter().rev()));
    assert_eq!(told(&forth, world.now), told(&back, world.now));
    assert!(View::of(&forth, world.now).get(Collection::Clients, "c").is_none(), "the greater author's, a deletion");
}

#[test]
fn a_set_takes_nothing_before_the_founding_key_is_known_to_it() {
    let world = World::usual();
    let mut foreign = Set::new(
        crate::mesh::set::Anchor { node: node("a"), key: DoubleSigner::named("other").public_key().clone() },
        Limits::default(),
    );
    let merge = foreign.merge(&world.said, &Double);
    assert!(merge.taken.is_empty() && foreign.is_empty());
    assert_eq!(merge.refused.len(), world.said.len());
    let mut ours = empty();
    assert_eq!(ours.merge(&world.said, &Double).taken.len(), world.said.len());
    assert!(Record::from_bytes(&world.said[0]).is_ok());
}
