//! What this host takes from what the mesh says.

use std::collections::BTreeMap;

use reverie_core::ca::{default_limits, issuing_intermediate};
use reverie_core::mesh::collection::Revocation;

use super::super::delegation::Delegated;
use super::super::duties::to_revoke;
use super::super::trust::MeshRoot;
use super::*;

const WEB: &str = "web1.example.org";

fn mesh_root(authority: &Authority, name: &str) -> MeshRoot {
    MeshRoot {
        node: node(name),
        certificate: authority.der.clone(),
        validity: authority.validity,
        signs_from: authority.validity.not_before,
    }
}

fn mesh(roots: &[(&Authority, &str)]) -> MeshTrust {
    MeshTrust {
        at: clock::now(),
        standing: Some(reverie_core::mesh::collection::Standing::Member),
        roots: roots.iter().map(|(authority, name)| (authority.fingerprint(), mesh_root(authority, name))).collect(),
        ..MeshTrust::default()
    }
}

fn seen_by(member: &Member, mesh: MeshTrust, anchors: bool) -> Issuers {
    let mut kept = member.issuers.stored.clone();
    if !anchors {
        kept.membership.anchors.clear();
    }
    Issuers::load(kept, Arc::new(mesh), &node(WEB)).unwrap()
}

fn signs(issuers: &Issuers) -> bool {
    issuing_intermediate(&issuers.stored.record, clock::now()).is_some()
}

#[test]
fn the_bundle_is_the_roots_of_the_authorities_and_one_that_is_put_out_is_gone() {
    let (one, two) = (Authority::new("a.example.org"), Authority::new("b.example.org"));
    let member = Member::of(&one, WEB, &default_limits(&node(WEB)));
    let both = seen_by(&member, mesh(&[(&one, "a.example.org"), (&two, "b.example.org")]), false);
    assert!(both.trusts(&one.fingerprint()) && both.trusts(&two.fingerprint()) && signs(&both));
    // Put out: its root is not in the view any more, and nothing under it counts.
    let after = seen_by(&member, mesh(&[(&two, "b.example.org")]), false);
    assert!(!after.trusts(&one.fingerprint()) && after.trusts(&two.fingerprint()));
    assert!(!signs(&after) && after.stored.record.is_superseded(&member.fingerprint()));
    let leaf = member.sign_unasked("spiffe://example.org/svc/web", &[], &[], "x");
    let roots: Vec<Vec<u8>> = pem::parse_many(&after.bundle_pem).unwrap().into_iter().map(pem::Pem::into_contents).collect();
    let roots: Vec<&[u8]> = roots.iter().map(Vec::as_slice).collect();
    assert!(openssl(&roots, &member.intermediate, &leaf, None).is_err());
}

#[test]
fn hosts_that_trust_the_same_publish_the_same_bundle() {
    let (one, two) = (Authority::new("a.example.org"), Authority::new("b.example.org"));
    let said = mesh(&[(&one, "a.example.org"), (&two, "b.example.org")]);
    let by = |authority: &Authority| {
        Issuers::load(authority.issuers.stored.clone(), Arc::new(said.clone()), &node("a.example.org")).unwrap().bundle_pem
    };
    let member = Member::of(&one, WEB, &default_limits(&node(WEB)));
    assert_eq!(by(&one), by(&two));
    assert_eq!(by(&one), seen_by(&member, said.clone(), true).bundle_pem);
}

#[test]
fn a_host_that_just_joined_trusts_what_it_was_told_until_the_view_says_more() {
    let (one, two) = (Authority::new("a.example.org"), Authority::new("b.example.org"));
    let member = Member::of(&one, WEB, &default_limits(&node(WEB)));
    // The records come in pages: another authority's root may be the first.
    let partly = seen_by(&member, mesh(&[(&two, "b.example.org")]), true);
    assert!(partly.trusts(&one.fingerprint()) && signs(&partly));
}

#[test]
fn a_revoked_intermediate_of_ours_signs_no_more() {
    let one = Authority::new("a.example.org");
    let member = Member::of(&one, WEB, &default_limits(&node(WEB)));
    let (serial, end) = chain::serial_and_end_of(&member.intermediate).unwrap();
    let mut said = mesh(&[(&one, "a.example.org")]);
    said.revoked = BTreeMap::from([((one.fingerprint(), serial), Revocation { at: said.at, not_after: end })]);
    assert!(!signs(&seen_by(&member, said, false)));
}

#[test]
fn other_limits_and_a_newer_root_have_the_intermediate_replaced_and_it_signs_until_then() {
    let (one, next) = (Authority::new("a.example.org"), Authority::new("a.example.org"));
    let own = default_limits(&node(WEB));
    let member = Member::of(&one, WEB, &own);
    let outdated = |said: MeshTrust| {
        let issuers = seen_by(&member, said, false);
        assert!(signs(&issuers));
        issuers.stored.record.membership.outdated.contains(&member.fingerprint())
    };
    let mut said = mesh(&[(&one, "a.example.org")]);
    said.limits.insert(node(WEB), own.clone());
    assert!(!outdated(said.clone()));
    said.limits.insert(node(WEB), IssuingLimits { dns: vec!["apps.example.org".to_owned()], ..own });
    assert!(outdated(said));
    let mut said = mesh(&[(&one, "a.example.org"), (&next, "a.example.org")]);
    let future = later(DAY);
    said.roots.get_mut(&next.fingerprint()).unwrap().signs_from = future;
    assert!(!outdated(said.clone()), "published, and does not sign yet");
    said.at = future.after(DAY);
    assert!(outdated(said));
}

#[test]
fn a_holder_that_does_not_list_what_is_revoked_loses_its_intermediate_after_a_grace() {
    let one = Authority::new("a.example.org");
    let member = Member::of(&one, WEB, &default_limits(&node(WEB)));
    let (serial, end) = chain::serial_and_end_of(&member.intermediate).unwrap();
    let signed = Delegated {
        node: node(WEB),
        root: one.fingerprint(),
        serial: serial.parse().unwrap(),
        validity: member.issuers.stored.record.intermediates[0].validity,
        certificate: member.intermediate.clone(),
        revoked: false,
    };
    let mut kept = one.issuers.stored.clone();
    kept.delegated = Arc::new(BTreeMap::from([(member.fingerprint(), signed)]));
    let issuers = Issuers::load(kept, Arc::default(), &node("a.example.org")).unwrap();
    let (now, mut said) = (clock::now(), mesh(&[(&one, "a.example.org")]));
    assert!(to_revoke(&issuers, &said, now).is_empty());
    // An old list signed anew, or none: all the same.
    said.lagging.insert(member.fingerprint(), now);
    assert!(to_revoke(&issuers, &said, now.after(Duration::from_secs(10))).is_empty(), "it may just have come");
    assert_eq!(to_revoke(&issuers, &said, now.after(Duration::from_secs(40))), [member.fingerprint()]);
    // One whose holder is out, or that another authority has revoked, goes at once.
    said.lagging.clear();
    said.revoked.insert((one.fingerprint(), serial), Revocation { at: now, not_after: end });
    assert_eq!(to_revoke(&issuers, &said, now), [member.fingerprint()]);
}

#[test]
fn without_a_mesh_nothing_changes() {
    let alone = Authority::new("a.example.org");
    let issuers = Issuers::load(alone.issuers.stored.clone(), Arc::default(), &node("a.example.org")).unwrap();
    assert_eq!(issuers.bundle_pem, to_pem("CERTIFICATE", &alone.der));
    assert_eq!(issuers.crl_pem, "");
    assert_eq!(issuers.stored.record, alone.issuers.stored.record);
}
