//! The mesh, as this host sees it.

use crate::doctor::Facts;
use crate::doctor::finding::{Finding, Level};
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
    findings
}
