//! What one host revokes.

use std::time::{Duration, Instant};

use reverie_tests::mesh::Mesh;
use serde_json::json;
use x509_parser::prelude::{CertificateRevocationList, FromDer};

/// Serials in every revocation list that a host hands out, lower-case hex.
fn listed(mesh: &Mesh, number: usize) -> Vec<String> {
    let mut serials = vec![];
    for list in pem::parse_many(mesh.host(number).agent.file("web", "crl.pem")).unwrap() {
        let (_, list) = CertificateRevocationList::from_der(list.contents()).unwrap();
        serials.extend(list.iter_revoked_certificates().map(|entry| data_encoding::HEXLOWER.encode(entry.raw_serial())));
    }
    serials
}

pub(super) fn what_one_host_revokes_is_in_every_hosts_list_within_a_second(mesh: &mut Mesh) {
    let issued = mesh.host(4).agent.post("/v1/identities/web/certificates", &json!({})).ok();
    let serial = issued["serial"].as_str().unwrap().to_owned();
    for number in 1..=10 {
        assert!(!listed(mesh, number).contains(&serial));
    }
    let begun = Instant::now();
    mesh.host(4).agent.admin_post("/api/admin/revoke", &json!({ "serial": serial })).ok();
    let mut waiting: Vec<usize> = (1..=10).collect();
    while !waiting.is_empty() {
        waiting.retain(|number| !listed(mesh, *number).contains(&serial));
        assert!(begun.elapsed() < Duration::from_secs(10), "not in the lists of {waiting:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
    // Ten debug builds on two processors, and the looking itself: the bar is a second.
    eprintln!("revoked everywhere after {:?}", begun.elapsed());
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
}
