//! Lists of several issuers in one file, as OpenSSL and webpki check them.

use reverie_core::ca::default_limits;

use super::super::authority::{Revocation, sign_crl};
use super::super::mesh_list::MeshList;
use super::*;

fn list(issuers: &Issuers, revoked: &[&[u8]], number: u64) -> Vec<u8> {
    let serial = |der: &&[u8]| chain::serial_and_end_of(der).unwrap().0;
    let entry = |der| Revocation { serial: data_encoding::HEXLOWER.decode(serial(&der).as_bytes()).unwrap(), at: clock::now() };
    let revoked: Vec<Revocation> = revoked.iter().copied().map(entry).collect();
    sign_crl(&revoked, number, clock::now(), later(30 * DAY), &issuers.signing[0]).unwrap()
}

#[test]
fn a_leaf_revoked_by_its_own_host_is_refused_by_the_lists_of_all_and_its_neighbours_are_not() {
    let (one, two) = (Authority::new("a.example.org"), Authority::new("b.example.org"));
    let web = Member::of(&one, "web1.example.org", &default_limits(&node("web1.example.org")));
    let db = Member::of(&two, "db1.example.org", &default_limits(&node("db1.example.org")));
    let (bad, good) = ("spiffe://example.org/svc/bad", "spiffe://example.org/svc/good");
    let (revoked, kept) = (web.sign_unasked(bad, &[], &[], "x"), web.sign_unasked(good, &[], &[], "x"));
    let other = db.sign_unasked(good, &[], &[], "x");
    let lists =
        [list(&one.issuers, &[], 1), list(&two.issuers, &[], 1), list(&web.issuers, &[&revoked], 2), list(&db.issuers, &[], 1)];
    let pem: String = lists.iter().map(|list| to_pem("X509 CRL", list)).collect();
    let roots = [&one.der[..], &two.der[..]];
    let refused = openssl(&roots, &web.intermediate, &revoked, Some(&pem)).unwrap_err();
    assert!(refused.contains("certificate revoked"), "{refused}");
    assert!(webpki(&roots, &web.intermediate, &revoked, &lists).unwrap_err().contains("Revoked"));
    for (member, leaf) in [(&web, &kept), (&db, &other)] {
        assert_eq!(openssl(&roots, &member.intermediate, leaf, Some(&pem)), Ok(()));
        assert_eq!(webpki(&roots, &member.intermediate, leaf, &lists), Ok(()));
    }
}

#[test]
fn a_member_whose_intermediate_is_revoked_is_refused_with_all_it_signed() {
    let one = Authority::new("a.example.org");
    let web = Member::of(&one, "web1.example.org", &default_limits(&node("web1.example.org")));
    let leaf = web.sign_unasked("spiffe://example.org/svc/web", &[], &[], "x");
    // Its own list names nothing: what a thief would sign.
    let lists = [list(&one.issuers, &[&web.intermediate], 2), list(&web.issuers, &[], 99)];
    let pem: String = lists.iter().map(|list| to_pem("X509 CRL", list)).collect();
    assert!(openssl(&[&one.der], &web.intermediate, &leaf, Some(&pem)).unwrap_err().contains("revoked"));
    assert!(webpki(&[&one.der], &web.intermediate, &leaf, &lists).is_err());
}

#[test]
fn a_list_that_its_issuer_did_not_sign_is_shown_to_no_service() {
    let one = Authority::new("a.example.org");
    let (web_name, db_name) = (node("web1.example.org"), node("db1.example.org"));
    let web = Member::of(&one, "web1.example.org", &default_limits(&web_name));
    let db = Member::of(&one, "db1.example.org", &default_limits(&db_name));
    let mut own = list(&web.issuers, &[], 7);
    let read = MeshList::read(&own, &web.intermediate, &web_name).unwrap();
    assert_eq!((read.number, read.serials.len()), (7, 0));
    assert_eq!(MeshList::read(&list(&db.issuers, &[], 1), &web.intermediate, &web_name), None);
    let last = own.len() - 1;
    own[last] ^= 1;
    assert_eq!(MeshList::read(&own, &web.intermediate, &web_name), None);
    assert_eq!(MeshList::read(b"", &web.intermediate, &web_name), None);
}
