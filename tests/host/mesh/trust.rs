//! Roots and authorities.

use std::time::{Duration, Instant};

use reverie_tests::mesh::{Mesh, name};
use reverie_tests::programs::wait_until;
use serde_json::json;

/// Roots that a host hands out.
fn roots(mesh: &Mesh, number: usize) -> Vec<String> {
    let bundle = mesh.host(number).agent.get("/v1/bundle").ok();
    let mut roots: Vec<String> =
        bundle["roots"].as_array().unwrap().iter().map(|root| root.as_str().unwrap().to_owned()).collect();
    roots.sort();
    roots
}

/// Does what one host issued verify on another, revocation included?
fn verifies(mesh: &Mesh, of: usize, on: usize) -> Result<(), String> {
    let files = |number: usize| mesh.host(number).agent.run().join("certs/web");
    reverie_tests::openssl::verifies(&files(of), &files(on))
}

fn wait_until_all_verify(mesh: &Mesh, hosts: &[usize]) {
    let begun = Instant::now();
    for &of in hosts {
        for &on in hosts {
            while let Err(why) = verifies(mesh, of, on) {
                assert!(begun.elapsed() < Duration::from_secs(60), "host {of} on host {on}: {why}\n{}", mesh.describe(hosts));
                std::thread::sleep(Duration::from_millis(50));
            }
        }
    }
}

#[test]
fn hosts_trust_each_other_through_the_rotation_of_a_root_as_root() {
    let mesh = Mesh::joined(3, &super::configuration());
    wait_until_all_verify(&mesh, &[1, 2, 3]);
    let before = roots(&mesh, 1);
    mesh.host(1).agent.admin_post("/api/admin/ca/rotate", &json!({ "issuer": "root", "overlap_seconds": 3 })).ok();
    wait_until("there is a next root", 20, || roots(&mesh, 1).len() == before.len() + 1);
    for number in 2..=3 {
        // A host trusts what it had before it joined for as long as its own services need that.
        wait_until("the next root is in every bundle, beside the one before", 20, || {
            let theirs = roots(&mesh, number);
            roots(&mesh, 1).iter().all(|root| theirs.contains(root))
        });
    }
    // Under the old and the new, everything goes on verifying while intermediates move over.
    wait_until("the members' intermediates are under the next root", 90, || {
        (2..=3).all(|number| {
            let status = mesh.host(number).agent.admin_get("/api/admin/status").ok();
            let signing = status["intermediates"].as_array().unwrap().iter().find(|issuer| issuer["state"] == "signing").cloned();
            let newest = mesh.host(1).agent.admin_get("/api/admin/status").ok()["roots"]
                .as_array()
                .unwrap()
                .iter()
                .find(|root| root["state"] == "signing")
                .cloned();
            signing.is_some_and(|signing| newest.is_some_and(|newest| signing["root"] == newest["fingerprint"]))
        })
    });
    wait_until_all_verify(&mesh, &[1, 2, 3]);
}

#[test]
fn a_second_authority_takes_over_when_the_first_is_lost_as_root() {
    let mut mesh = Mesh::new(4, &super::configuration());
    for number in 1..=4 {
        mesh.host_mut(number).launch();
    }
    for number in 1..=4 {
        mesh.host_mut(number).wait_until_ready();
    }
    mesh.found();
    mesh.join(2, 1);
    mesh.join(3, 1);
    mesh.agree_within(&[1, 2, 3], Duration::from_secs(20));
    let first = roots(&mesh, 1);
    assert_eq!(first.len(), 1);
    mesh.host(1).agent.admin_post("/api/admin/mesh/promote", &json!({ "node_id": name(2) })).ok();
    wait_until("it knows that it is an authority", 30, || mesh.host(2).status()["state"] == "authority");
    wait_until("the first trusts its root", 30, || roots(&mesh, 1).len() == 2);
    let second: Vec<String> = roots(&mesh, 1).into_iter().filter(|root| !first.contains(root)).collect();
    wait_until("everyone does", 30, || (2..=3).all(|number| roots(&mesh, number).contains(&second[0])));

    mesh.host_mut(1).agent.kill();
    // It admits, writes what only an authority may, and puts the lost one out.
    mesh.join(4, 2);
    mesh.host(2).put_client("by-the-second").ok();
    assert!(mesh.host(3).awaits_client("by-the-second", 20) && mesh.host(4).awaits_client("by-the-second", 20));
    mesh.host(2).agent.admin_post("/api/admin/mesh/evict", &json!({ "node_id": name(1), "reason": "lost" })).ok();
    for number in 2..=4 {
        wait_until("the lost one's root is out of every bundle", 60, || {
            let roots = roots(&mesh, number);
            roots.contains(&second[0]) && !roots.contains(&first[0])
        });
    }
    wait_until_all_verify(&mesh, &[2, 3, 4]);
}
