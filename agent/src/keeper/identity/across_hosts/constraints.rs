//! A member is held to its names by everybody's verifier, not by its own good will.

use reverie_core::ca::{NameConstraints, default_limits};

use super::super::issuance::{IssueError, issue};
use super::super::issuers::SigningIssuer;
use super::*;

const WEB: &str = "web1.example.org";

/// Below that name and those networks; every SPIFFE path.
fn limits(dns: &[&str], networks: &[&str]) -> IssuingLimits {
    IssuingLimits {
        dns: dns.iter().map(ToString::to_string).collect(),
        addresses: networks.iter().map(|network| network.parse().unwrap()).collect(),
        spiffe: vec!["/".to_owned()],
        ..IssuingLimits::default()
    }
}

/// Both verifiers agree.
fn verdict(authority: &Authority, member: &Member, leaf: &[u8]) -> Result<(), String> {
    let by_openssl = openssl(&[&authority.der], &member.intermediate, leaf, None);
    let by_webpki = webpki(&[&authority.der], &member.intermediate, leaf, &[]);
    assert_eq!(by_openssl.is_ok(), by_webpki.is_ok(), "{by_openssl:?} {by_webpki:?}");
    by_openssl.and(by_webpki)
}

#[test]
fn a_leaf_within_the_limits_of_its_host_passes_everybodys_verifier() {
    let authority = Authority::new("a.example.org");
    for (given, rest) in [
        (default_limits(&node(WEB)), "name = \"web\"\ndns = [\"web1.example.org\", \"*.web1.example.org\"]"),
        (default_limits(&node(WEB)), "name = \"web\""),
        // A common name that looks like a DNS name, and no DNS name.
        (default_limits(&node(WEB)), "name = \"web.prod\""),
        (limits(&["apps.example.org"], &["10.1.0.0/16"]), "name = \"web\"\ndns = [\"x.apps.example.org\"]\nip = [\"10.1.2.3\"]"),
        (limits(&[], &["fd00::/8"]), "name = \"web\"\nip = [\"fd12::3\"]"),
        (
            limits(&["example.org"], &["0.0.0.0/0", "::/0"]),
            "name = \"w\"\ndns = [\"db.example.org\"]\nip = [\"192.0.2.1\", \"::1\"]",
        ),
    ] {
        let member = Member::of(&authority, WEB, &given);
        let leaf = issue(&member.issuers, &identity(rest), None, clock::now()).unwrap();
        let der = pem::parse_many(&leaf.chain_pem).unwrap().remove(0).into_contents();
        assert_eq!(verdict(&authority, &member, &der), Ok(()), "{rest}");
    }
}

#[test]
fn a_stolen_member_cannot_pass_for_the_name_or_the_address_of_another_host() {
    let authority = Authority::new("a.example.org");
    let id = "spiffe://example.org/svc/web";
    let tight = Member::of(&authority, WEB, &default_limits(&node(WEB)));
    let wide = Member::of(&authority, WEB, &limits(&["apps.example.org"], &["10.1.0.0/16"]));
    for (member, dns, ip) in [
        (&tight, &["db1.example.org"][..], &[][..]),
        (&tight, &["web1.example.org", "db1.example.org"], &[]),
        (&tight, &["*.example.org"], &[]),
        (&tight, &["notweb1.example.org"], &[]),
        (&tight, &[], &["10.1.2.3"]),
        (&tight, &[], &["::1"]),
        (&wide, &["db1.example.org"], &[]),
        (&wide, &[], &["10.2.0.1"]),
        (&wide, &[], &["::1"]),
    ] {
        let leaf = member.sign_unasked(id, dns, ip, "web");
        assert!(verdict(&authority, member, &leaf).is_err(), "{dns:?} {ip:?}");
    }
    // Nor by the common name alone, where a verifier falls back on it.
    let leaf = tight.sign_unasked(id, &[], &[], "db1.example.org");
    assert!(openssl(&[&authority.der], &tight.intermediate, &leaf, None).is_err());
}

#[test]
fn a_spiffe_id_of_another_is_bound_by_our_own_verifiers_only() {
    // Not a promise: what docs/threat-model.md says honestly. Should this fail some day, so much the better.
    let authority = Authority::new("a.example.org");
    let member = Member::of(&authority, WEB, &default_limits(&node(WEB)));
    let leaf = member.sign_unasked("spiffe://example.org/svc/db", &[], &[], "db");
    assert_eq!(verdict(&authority, &member, &leaf), Ok(()));
}

#[test]
fn the_hosts_own_judge_refuses_before_it_signs_and_says_what_to_do() {
    let authority = Authority::new("a.example.org");
    let member = Member::of(&authority, WEB, &default_limits(&node(WEB)));
    let foreign = identity("name = \"db\"\ndns = [\"db1.example.org\"]");
    let refused = issue(&member.issuers, &foreign, None, clock::now()).unwrap_err();
    assert!(matches!(refused, IssueError::Limits(_)), "{refused}");
    assert!(refused.to_string().contains("agentctl mesh limits web1.example.org"), "{refused}");
}

#[test]
fn a_member_cannot_make_authorities_below_itself() {
    let authority = Authority::new("a.example.org");
    let member = Member::of(&authority, WEB, &default_limits(&node(WEB)));
    let key = authority::fresh_key(KeyType::P256).unwrap();
    let now = clock::now();
    let above = member.issuers.stored.record.intermediates[0].validity;
    let serial = authority::fresh_serial(now).unwrap();
    let template = IntermediateTemplate::new(serial, &domain(), &node(WEB), now, DAY, above).unwrap();
    let below = authority::sign_intermediate(&template, &key, &member.issuers.signing[0]).unwrap();
    let issuer = SigningIssuer {
        fingerprint: fingerprint(&below),
        certificate_pem: String::new(),
        issuer: rcgen::Issuer::from_ca_cert_der(&CertificateDer::from(below.clone()), key).unwrap(),
    };
    let leaf = LeafTemplate {
        serial: authority::fresh_serial(now).unwrap(),
        spiffe_id: "spiffe://example.org/svc/web".parse().unwrap(),
        dns: vec![],
        ip: vec![],
        validity: LeafTemplate::validity(now, DAY, template.validity).unwrap(),
    };
    let leaf = authority::sign_leaf(&leaf, "web", &authority::fresh_key(KeyType::P256).unwrap(), &issuer).unwrap();
    let refused = openssl_through(&[&authority.der], &[&member.intermediate, &below], &leaf, None).unwrap_err();
    assert!(refused.contains("path length"), "{refused}");
}

#[test]
fn an_intermediate_without_constraints_or_with_others_than_ours_is_seen() {
    let authority = Authority::new("a.example.org");
    let key = authority::fresh_key(KeyType::P256).unwrap();
    let csr = request(&key);
    let read = |der: &[u8]| chain::read_intermediate(der, &authority.der, &domain());
    let bound = read(&authority.sign(&csr, WEB, Some(&default_limits(&node(WEB))))).unwrap();
    assert_eq!(bound.constraints, Some(NameConstraints::of(&default_limits(&node(WEB)), &node(WEB))));
    assert_eq!(bound.public_key, key_of(&key));
    // `membership::install` refuses it.
    assert_eq!(read(&authority.sign(&csr, WEB, None)).unwrap().constraints, None);
    let other = Authority::new("b.example.org");
    let foreign = other.sign(&csr, WEB, Some(&default_limits(&node(WEB))));
    assert!(read(&foreign).unwrap_err().to_string().contains("another root has signed it"));
    assert!(read(&authority.der).is_err(), "a root is no intermediate");
}

#[test]
fn a_request_must_prove_its_key_and_have_the_right_kind() {
    let good = request(&authority::fresh_key(KeyType::P256).unwrap());
    assert!(chain::check_request(&good).is_ok());
    let mut forged = good.clone();
    let last = forged.len() - 1;
    forged[last] ^= 1;
    let trailing: Vec<u8> = good.iter().copied().chain([0]).collect();
    let ed25519 = request(&authority::fresh_key(KeyType::Ed25519).unwrap());
    let p384 = request(&KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap());
    for (bad, why) in [(forged, "not signed"), (trailing, "bytes follow"), (ed25519, "P-256"), (p384, "P-256"), (vec![], "read")]
    {
        let refused = chain::check_request(&bad).unwrap_err().to_string();
        assert!(refused.contains(why), "{refused}");
    }
}

#[test]
fn a_root_of_another_trust_domain_is_refused() {
    let authority = Authority::new("a.example.org");
    assert!(chain::read_root(&authority.der, &domain()).is_ok());
    let refused = chain::read_root(&authority.der, &"other.org".parse().unwrap()).unwrap_err().to_string();
    assert!(refused.contains("another trust domain"), "{refused}");
    let member = Member::of(&authority, WEB, &default_limits(&node(WEB)));
    assert!(chain::read_root(&member.intermediate, &domain()).is_err(), "not signed by itself");
}
