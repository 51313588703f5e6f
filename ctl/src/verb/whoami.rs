//! `agentctl whoami`.

use reverie_core::api::Operation;
use reverie_core::api::local::Whoami;
use reverie_core::caller::{Caller, Pinning};

use crate::cli::Session;
use crate::client::Call;
use crate::failure::Outcome;
use crate::screen::fields;

/// Show who the kernel says you are, and which identities you may have
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

impl Args {
    pub(crate) async fn run(self, session: &Session) -> Outcome {
        let whoami: Whoami = session.client.call(Call::of(Operation::Whoami)).await?;
        session.screen.show(&whoami, |whoami| {
            let none = || "none: `agentctl explain` (as an administrator) says why".to_owned();
            let mut rows = facts(&whoami.caller, whoami.unit.as_deref());
            rows.push(("identities", if whoami.identities.is_empty() { none() } else { whoami.identities.join(", ") }));
            fields(rows)
        })
    }
}

/// What is known of a caller.
pub(super) fn facts(caller: &Caller, unit: Option<&str>) -> Vec<(&'static str, String)> {
    let unknown = || "unknown".to_owned();
    let exe = caller.exe.as_ref().map_or_else(unknown, |exe| match exe.is_that_file {
        true => exe.shown_path.clone(),
        false => format!("{} (but another file is at that path)", exe.shown_path),
    });
    let groups: Vec<String> = caller.supplementary_groups.iter().map(u32::to_string).collect();
    let pinning = match caller.pinning {
        Pinning::Pidfd => "pidfd: every fact is certain",
        Pinning::CredentialsOnly => "uid and gid only: this kernel cannot pin a process",
    };
    let mut rows = vec![
        ("pid", caller.pid.to_string()),
        ("uid", caller.uid.to_string()),
        ("gid", caller.gid.to_string()),
        ("groups", if groups.is_empty() { "none".to_owned() } else { groups.join(", ") }),
        ("exe", exe),
        ("unit", unit.map_or_else(|| "none".to_owned(), str::to_owned)),
        ("cgroup", caller.cgroup.clone().unwrap_or_else(unknown)),
        ("attested by", pinning.to_owned()),
    ];
    if let Some(digest) = caller.exe.as_ref().and_then(|exe| exe.sha256.clone()) {
        rows.insert(5, ("sha256", digest));
    }
    rows
}
