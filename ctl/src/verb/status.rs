//! `agentctl status`.

use reverie_core::api::Operation;
use reverie_core::api::admin::{IssuerStatus, Status};

use crate::cli::Session;
use crate::client::Call;
use crate::failure::Outcome;
use crate::screen::{GREEN, RED, RESET, Table, date, fields, plain};

/// Show the agent's state and alarms
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

impl Args {
    pub(crate) async fn run(self, session: &Session) -> Outcome {
        let status: Status = session.client.call(Call::of(Operation::Status)).await?;
        session.screen.show(&status, render)
    }
}

fn render(status: &Status) -> String {
    let yes_no = |is: bool| if is { "yes" } else { "no" }.to_owned();
    let mut text = match status.ready {
        true => format!("{GREEN}ready{RESET}\n"),
        false => format!("{RED}not ready: it cannot issue now{RESET}\n"),
    };
    text += &fields([
        ("version", status.version.clone()),
        ("node", status.node_id.clone()),
        ("trust domain", status.trust_domain.clone()),
        ("running since", format!("{} (pid {})", date(status.started_at), status.pid)),
        ("sealed by", sealed_by(status)),
        ("attested by pidfd", yes_no(status.pidfd_attestation)),
        ("memory locked", yes_no(status.memory_locked)),
        ("identities", status.identities.to_string()),
        ("secrets", status.secrets.map_or_else(|| "unknown: the store cannot be read".to_owned(), |count| count.to_string())),
        ("files under", status.run.clone()),
        ("audit events", status.audit_seq.to_string()),
        ("configuration", format!("{}, read {}", status.config.files.join(", "), date(status.config.loaded_at))),
    ]);
    if let Some(refused) = &status.config.refused {
        text += &format!("\n{RED}the last re-read of the configuration was refused{RESET}: {}\n", plain(refused));
    }
    text += &format!("\n{}", issuers(&status.roots, &status.intermediates));
    for alarm in &status.alarms {
        let (subject, message) = (plain(&alarm.subject), plain(&alarm.message));
        text += &format!("\n{RED}alarm{RESET} {subject} since {}\n  {message}\n", date(alarm.since));
    }
    text
}

fn sealed_by(status: &Status) -> String {
    let seal = &status.seal;
    let pcrs: Vec<String> = seal.pcrs.iter().map(u8::to_string).collect();
    let pcrs = if pcrs.is_empty() { String::new() } else { format!(", PCRs {}", pcrs.join(" ")) };
    let remark = seal.remark.as_ref().map(|remark| format!(" ({remark})")).unwrap_or_default();
    format!("{}{pcrs}{remark}", seal.mode)
}

/// Roots and intermediates, in one table.
pub(super) fn issuers(roots: &[IssuerStatus], intermediates: &[IssuerStatus]) -> String {
    let mut table = Table::new(["ISSUER", "FINGERPRINT", "STATE", "FROM", "UNTIL"], "No roots and no intermediates yet.");
    for (kind, issuers) in [("root", roots), ("intermediate", intermediates)] {
        for issuer in issuers {
            let (from, until) = (date(issuer.not_before), date(issuer.not_after));
            table.row([kind.to_owned(), short(&issuer.fingerprint), issuer.state.clone(), from, until]);
        }
    }
    table.render()
}

/// Enough of a fingerprint to tell two apart; `--json` has all of it.
pub(super) fn short(fingerprint: &str) -> String {
    fingerprint.chars().take(16).collect()
}
