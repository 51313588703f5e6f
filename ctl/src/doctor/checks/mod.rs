//! The checks: one small function each.

mod agent;
mod config;
mod files;
mod mesh;
mod trust;

use super::Facts;
use super::finding::{Finding, Found};

type Check = fn(&Facts) -> Found;

/// In the order they are shown: what explains the rest comes first.
const CHECKS: &[(&str, Check)] = &[
    ("agent", agent::is_reachable),
    ("workload socket", agent::serves_workloads),
    ("admin socket", agent::grants_administration),
    ("version", agent::has_our_version),
    ("alarms", agent::has_no_alarms),
    ("seal", agent::is_sealed_well),
    ("attestation", agent::pins_callers),
    ("memory", agent::locks_memory),
    ("configuration", config::is_valid),
    ("configuration in force", config::is_in_force),
    ("callers named", config::names_existing_callers),
    ("owners named", config::names_existing_owners),
    ("credential names", config::has_credentials_that_can_be_asked_for),
    ("plain ends", config::has_no_exposed_tunnel),
    ("tunnels", agent::carries_its_tunnels),
    ("admin group", config::has_an_admin_group),
    ("run directory", files::run_directory_is_sound),
    ("file view", files::view_answers),
    ("generations", files::leaves_no_generations),
    ("disk", files::has_room),
    ("audit log", files::audit_log_is_readable),
    ("audit chain", files::audit_chain_is_whole),
    ("clock", trust::clock_is_after_the_ca),
    ("certificates", trust::certificates_are_renewed),
    ("issuers", trust::issuers_are_renewed),
    ("revocation lists", trust::crls_are_fresh),
];

/// Runs every check.
pub(crate) fn examine(facts: &Facts) -> Vec<Finding> {
    let run = |&(check, function): &(&'static str, Check)| {
        let Found(level, what, advice) = function(facts);
        Finding { check, level, what, advice }
    };
    CHECKS.iter().map(run).chain(mesh::examine(facts)).collect()
}
