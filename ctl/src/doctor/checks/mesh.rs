//! The mesh, as this host sees it.

use reverie_core::api::mesh::MeshStatus;

use crate::doctor::Facts;
use crate::doctor::finding::{Finding, Found, Level, fail, ok, skipped, warn};
use crate::mesh_health;

/// A finding for each check of [`mesh_health`]; one alone where there is no mesh or nobody may ask.
pub(super) fn examine(facts: &Facts) -> Vec<Finding> {
    let alone = |level, what: &str| vec![Finding { check: "mesh", level, what: what.to_owned(), advice: None }];
    let Some(status) = &facts.mesh else { return alone(Level::Skipped, "not known without the admin socket") };
    if status.mesh.is_none() && status.state == "none" {
        return alone(Level::Ok, "this host is in none");
    }
    let ailments = mesh_health::examine(status, facts.now);
    let mut findings = vec![];
    for &check in mesh_health::CHECKS {
        let before = findings.len();
        findings.extend(ailments.iter().filter(|ailment| ailment.check == check).map(|ailment| Finding {
            check,
            level: if ailment.grave { Level::Fail } else { Level::Warn },
            what: ailment.what.clone(),
            advice: Some(ailment.advice.clone()),
        }));
        if findings.len() == before {
            findings.push(Finding { check, level: Level::Ok, what: mesh_health::well(check, status), advice: None });
        }
    }
    for (check, found) in [("mesh name", has_a_name(facts, status)), ("mesh certificate", answers_under_its_name(facts, status))]
    {
        let Found(level, what, advice) = found;
        findings.push(Finding { check, level, what, advice });
    }
    findings
}

/// Others call this host by name, and Kerberos takes the name of the address for its own.
fn has_a_name(facts: &Facts, status: &MeshStatus) -> Found {
    let node = &status.node_id;
    let Some(names) = &facts.names else { return skipped("not looked up") };
    let is_own = |address: &String| address.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
    let strange = names.back.iter().find(|name| name.trim_end_matches('.').to_lowercase() != node.as_str());
    match (names.addresses.as_slice(), strange) {
        ([], _) => {
            fail(format!("{node} does not resolve here"), "add it to DNS, or have others call an address: `gossip.advertise`")
        }
        (addresses, _) if addresses.iter().all(is_own) => warn(
            format!("{node} resolves to {} here: Kerberos and others may see another address", addresses.join(" ")),
            "take the name out of the line 127.0.1.1 in /etc/hosts, or give it its address there",
        ),
        (addresses, Some(strange)) => warn(
            format!("{node} is {}, and that is called {strange}: Kerberos would take it for that host", addresses.join(" ")),
            "let the reverse zone (or the first name in /etc/hosts) name the node id",
        ),
        (addresses, None) if names.back.is_empty() => warn(
            format!("{node} is {}, which has no name of its own", addresses.join(" ")),
            "add it to the reverse zone: Kerberos asks for it",
        ),
        (addresses, None) => ok(format!("{node} is {}, and back", addresses.join(" "))),
    }
}

fn answers_under_its_name(facts: &Facts, status: &MeshStatus) -> Found {
    match &facts.own_port {
        None => skipped("it is reached at no address"),
        Some(Ok(())) => ok(format!("the port answers as {}, under a root of the mesh", status.node_id)),
        Some(Err(why)) => fail(
            why.as_str(),
            "check that `gossip.listen` and `gossip.advertise` belong together, and that no other program has the port: ss -ltnp",
        ),
    }
}
