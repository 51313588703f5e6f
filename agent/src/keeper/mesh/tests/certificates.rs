//! Certificates of one host as the other sees them: trust, revocation, limits.

use std::collections::BTreeSet;
use std::time::Duration;

use reverie_core::audit::Actor;
use reverie_core::ca::{Role, issuing_intermediate};
use reverie_core::config::Identity;
use reverie_core::mesh::collection::{IssuingLimits, RevocationList};
use x509_parser::prelude::FromDer;
use x509_parser::revocation_list::CertificateRevocationList;

use super::hosts::{Hosts, settle};
use super::*;
use crate::keeper::identity::issuance::{IssueError, issue};
use crate::keeper::identity::{authority, duties, lifecycle, membership as issuing, revocation, rotation};
use crate::keeper::mesh::{renewal, trust};
use crate::keeper::state::{IssuedRecord, Write};

fn identity(rest: &str) -> Identity {
    let text = format!("trust_domain = \"example.org\"\n[[identity]]\nmatch = {{ uid = 1 }}\n{rest}\n");
    parse(Source { file: "t", text: &text }, &[]).unwrap().identities.remove(0)
}

/// A certificate of the member, on record.
async fn leaf(at: &Agent) -> IssuedRecord {
    let (identity, now) = (identity("name = \"web\"\ndns = [\"b.example.org\"]"), clock::now());
    let leaf = issue(&at.issuers(), &identity, None, now).unwrap();
    let record = leaf.record(&identity);
    let event = leaf.event(&identity, Actor::Agent, now);
    at.commit(Change { writes: vec![Write::Issued(record.clone())], events: vec![event] }).await.unwrap();
    record
}

fn is_said_to_be_revoked(at: &Agent, issuer: &str, serial: &str) -> bool {
    at.mesh.look(|view| view.revocations().contains_key(&(issuer, serial))).unwrap()
}

/// Every serial in the lists that services get.
fn listed(at: &Agent) -> BTreeSet<String> {
    let serials = |list: pem::Pem| {
        let parsed = CertificateRevocationList::from_der(list.contents()).unwrap().1;
        let serials = parsed.iter_revoked_certificates().map(|entry| data_encoding::HEXLOWER.encode(entry.raw_serial()));
        serials.collect::<Vec<_>>()
    };
    pem::parse_many(&at.issuers().crl_pem).unwrap().into_iter().flat_map(serials).collect()
}

#[tokio::test]
async fn a_host_that_joined_trusts_its_former_root_alone_until_nothing_needs_it_and_then_what_all_trust() {
    let hosts = Hosts::new();
    let (founder, member) = hosts.settled().await;
    let record = member.issuers().stored.record.clone();
    assert_eq!(record.membership.role, Role::Member);
    let [former] = &record.former_roots()[..] else { panic!("one root of its own") };
    assert!(member.issuers().trusts(former) && !founder.issuers().trusts(former));
    let issuer = issuing_intermediate(&record, clock::now()).unwrap();
    assert!(founder.issuers().trusts(&issuer.root));
    issuing::give_up_former_roots(&member).await.unwrap();
    assert!(!member.issuers().trusts(former));
    assert_eq!(member.issuers().bundle_pem, founder.issuers().bundle_pem);
    // And after a restart.
    member.close().await;
    let member = hosts.start("b", "b").await;
    settle(&member).await;
    assert_eq!(member.issuers().bundle_pem, founder.issuers().bundle_pem);
    assert!(member.issuers().stored.record.roots.is_empty(), "it makes no root again");
}

#[tokio::test]
async fn a_certificate_handed_out_before_the_join_keeps_its_root_trusted_here() {
    let hosts = Hosts::new();
    let founder = hosts.founded().await;
    let member = hosts.start("b", "b").await;
    leaf(&member).await;
    let token = super::hosts::invite(&founder, "b").await.token;
    hosts.join(&member, &token, &[&founder]).await.unwrap();
    issuing::give_up_former_roots(&member).await.unwrap();
    assert_eq!(member.issuers().stored.record.former_roots().len(), 1);
}

#[tokio::test]
async fn a_certificate_revoked_on_one_host_is_in_the_lists_of_the_other() {
    let hosts = Hosts::new();
    let (founder, member) = hosts.settled().await;
    let record = leaf(&member).await;
    let serial = record.serial.to_string();
    assert!(!listed(&founder).contains(&serial));
    revocation::revoke_leaves(&member, vec![record.clone()], Actor::Agent).await.unwrap();
    settle(&member).await;
    founder.pull(&member).await;
    settle(&founder).await;
    assert!(listed(&founder).contains(&serial));
    assert!(founder.issuers().mesh.revoked.contains_key(&(record.issuer.clone(), serial.clone())));
    assert!(is_said_to_be_revoked(&founder, &record.issuer, &serial));
}

#[tokio::test]
async fn a_certificate_of_another_host_is_revoked_from_an_authority_and_by_no_member() {
    let hosts = Hosts::new();
    let (founder, member) = hosts.settled().await;
    let record = leaf(&member).await;
    let told = duties::revoke_elsewhere(&member, &record.issuer, record.serial, Actor::Agent).await.unwrap_err().to_string();
    assert!(told.contains("no authority"), "{told}");
    duties::revoke_elsewhere(&founder, &record.issuer, record.serial, Actor::Agent).await.unwrap();
    assert!(is_said_to_be_revoked(&founder, &record.issuer, &record.serial.to_string()), "at once");
    member.pull(&founder).await;
    settle(&member).await;
    assert!(listed(&member).contains(&record.serial.to_string()), "its holder lists it");
}

#[tokio::test]
async fn a_holder_lists_what_an_authority_revokes_even_if_it_has_ended_or_never_was() {
    let hosts = Hosts::new();
    let (founder, member) = hosts.settled().await;
    let issuer = leaf(&member).await.issuer;
    let serial = authority::fresh_serial(clock::now()).unwrap();
    let ended = IssuedRecord { serial, not_after: clock::now().before(Duration::from_secs(1)), ..leaf(&member).await };
    member.commit(Change { writes: vec![Write::Issued(ended.clone())], events: vec![] }).await.unwrap();
    let never = authority::fresh_serial(clock::now()).unwrap();
    for serial in [never, ended.serial] {
        duties::revoke_elsewhere(&founder, &issuer, serial, Actor::Agent).await.unwrap();
    }
    member.pull(&founder).await;
    settle(&member).await;
    founder.pull(&member).await;
    settle(&founder).await;
    for serial in [never, ended.serial] {
        assert!(listed(&member).contains(&serial.to_string()) && listed(&founder).contains(&serial.to_string()));
    }
    assert!(founder.issuers().mesh.lagging.is_empty(), "nothing is held against it");
    let number = |at: &Agent| at.issuers().stored.issuers.iter().find(|own| own.fingerprint == issuer).unwrap().crl_number;
    let before = number(&member);
    settle(&member).await;
    assert_eq!(number(&member), before, "and it signs no more lists than it takes");
}

#[tokio::test]
async fn a_member_that_signs_a_list_without_what_it_revoked_hides_nothing() {
    let hosts = Hosts::new();
    let (founder, member) = hosts.settled().await;
    let record = leaf(&member).await;
    revocation::revoke_leaves(&member, vec![record.clone()], Actor::Agent).await.unwrap();
    settle(&member).await;
    let (issuers, now) = (member.issuers(), clock::now());
    let signing = issuers.signing(&record.issuer).unwrap();
    let list = authority::sign_crl(&[], 99, now, now.after(Duration::from_secs(86_400 * 30)), signing).unwrap();
    let draft = Draft::put(Collection::Crls, record.issuer.clone(), &RevocationList { list, number: 99 }).unwrap();
    write(&member, vec![draft], Change::default()).await.unwrap();
    founder.pull(&member).await;
    settle(&founder).await;
    let mesh = Arc::clone(&founder.issuers().mesh);
    assert!(mesh.revoked.contains_key(&(record.issuer.clone(), record.serial.to_string())), "the record stands");
    assert!(mesh.lagging.contains_key(&record.issuer), "and its issuer is to go, if this lasts");
}

#[tokio::test]
async fn a_host_that_is_put_out_is_in_the_lists_of_the_others_with_its_intermediate() {
    let hosts = Hosts::new();
    let (founder, member) = hosts.settled().await;
    let record = leaf(&member).await;
    let delegated = founder.issuers().stored.delegated.get(&record.issuer).unwrap().serial;
    crate::keeper::mesh::membership::evict(&founder, node("b"), None, Actor::Agent).await.unwrap();
    settle(&founder).await;
    assert!(listed(&founder).contains(&delegated.to_string()));
    // The host itself hears of it, and signs no more.
    member.pull(&founder).await;
    let _ = trust::once(&member, &mut None).await;
    let refused = issue(&member.issuers(), &identity("name = \"web\""), None, clock::now()).unwrap_err();
    assert!(matches!(refused, IssueError::NoIssuer), "{refused}");
}

#[tokio::test]
async fn other_limits_hold_at_once_and_have_the_intermediate_replaced() {
    let hosts = Hosts::new();
    let (founder, member) = hosts.settled().await;
    let limits = IssuingLimits {
        dns: vec!["apps.example.org".to_owned()],
        spiffe: vec!["/svc/web".to_owned()],
        ..IssuingLimits::default()
    };
    let draft = Draft::put(Collection::IssuingLimits, "b.example.org", &limits).unwrap();
    write(&founder, vec![draft], Change::default()).await.unwrap();
    member.pull(&founder).await;
    let tried = |rest: &str| issue(&member.issuers(), &identity(rest), None, clock::now()).map(drop);
    assert!(tried("name = \"db\"").is_ok());
    settle(&member).await;
    assert!(matches!(tried("name = \"db\""), Err(IssueError::Limits(_))), "of SPIFFE IDs the judge knows at once");
    let wider = "name = \"web\"\ndns = [\"x.apps.example.org\"]";
    assert!(matches!(tried(wider), Err(IssueError::Limits(_))), "the certificate does not say so yet");
    lifecycle::bring_up_to_date(&member).await.unwrap();
    assert!(*member.watch_intermediate_wanted().borrow(), "another is asked for");
    hosts.while_carrying(&member, &[&founder], renewal::ask_once(&member)).await.unwrap();
    assert!(tried(wider).is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_given_the_name_of_an_identity_does_not_get_the_key_of_who_had_it() {
    let directory = tempfile::tempdir().unwrap();
    let declared = |rest: &str| format!("[[identity]]\nname = \"web\"\nmatch = {{ uid = 1 }}\n{rest}\n");
    let host = Agent::configured(directory.path(), "a", &declared("")).await;
    lifecycle::bring_up_to_date(&host).await.unwrap();
    let current = async || rotation::current_or_new(&host, &"web".parse().unwrap(), Actor::Agent).await.unwrap();
    let (first, second) = (current().await, current().await);
    assert_eq!(first.serial, second.serial);
    let follow = |rest: &str| {
        let text = format!("trust_domain = \"example.org\"\n{}", declared(rest));
        let config = parse(Source { file: "t", text: &text }, &[]).unwrap();
        host.policy.send_replace(Arc::new(Policy::new(config, Scope::User)));
    };
    // What is only to be renewed soon goes on meanwhile.
    follow("ttl = \"3d\"");
    assert_eq!(first.serial, current().await.serial);
    rotation::check_still_counts(&host, &first).unwrap();
    for other in ["spiffe_id = \"spiffe://example.org/guest\"", "dns = [\"a.example.org\"]", "ip = [\"10.0.0.1\"]"] {
        let before = current().await;
        follow(other);
        let overtaken = rotation::check_still_counts(&host, &before);
        assert!(matches!(overtaken, Err(rotation::RotationError::Overtaken)), "{other}: {overtaken:?}");
        let now = current().await;
        assert_ne!(before.serial, now.serial, "{other}");
        rotation::check_still_counts(&host, &now).unwrap();
    }
    follow("");
    assert_ne!(first.serial, current().await.serial, "the first one was replaced");
    host.close().await;
}
