//! `agentctl top`.

use std::time::{Duration, Instant};

use reverie_core::api::Operation;
use reverie_core::api::admin::{AdminIdentity, AllIdentities, AuditLines, Status};
use reverie_core::moment::{Moment, Span};

use crate::cli::{Session, span};
use crate::client::Call;
use crate::failure::Outcome;
use crate::screen::{GREEN, RED, RESET, Table, date, plain};

/// What fits below the rest on a small terminal.
const IDENTITIES: usize = 12;
const EVENTS: u64 = 6;
/// Moves to the corner and clears the screen.
const CLEAR: &str = "\x1b[H\x1b[2J";

/// Show alarms, the identities that are renewed next, and the newest events, again and again
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Time between two looks
    #[arg(long, value_name = "SPAN", value_parser = span, default_value = "2s")]
    every: Duration,
    /// Stop after this many looks
    #[arg(short = 'n', long, value_name = "N")]
    count: Option<u64>,
}

/// One look.
#[derive(serde::Serialize)]
struct Look {
    status: Status,
    identities: Vec<AdminIdentity>,
    events: Vec<String>,
    /// Audited events since the look before, for each second.
    events_per_second: Option<f64>,
}

impl Args {
    pub(crate) async fn run(self, session: &Session) -> Outcome {
        let (mut before, mut looks) = (None, 0);
        loop {
            let look = look(session, before).await?;
            before = Some((look.status.audit_seq, Instant::now()));
            match session.screen.json {
                true => session.screen.json_line(&look)?,
                false if session.screen.is_terminal() => session.screen.text(&format!("{CLEAR}{}", render(&look)))?,
                false => session.screen.text(&render(&look))?,
            };
            looks += 1;
            if self.count.is_some_and(|count| looks >= count) {
                return Ok(0);
            }
            tokio::time::sleep(self.every).await;
        }
    }
}

async fn look(session: &Session, before: Option<(u64, Instant)>) -> Result<Look, crate::failure::Failure> {
    let client = &session.client;
    let status: Status = client.call(Call::of(Operation::Status)).await?;
    let AllIdentities { mut identities } = client.call(Call::of(Operation::AllIdentities)).await?;
    let AuditLines { lines: events, .. } = super::audit::newest(session, EVENTS).await?;
    identities.sort_by_key(|identity| renewal(identity).map_or(i64::MAX, Moment::as_millis));
    let rate = |(seq, at): (u64, Instant)| status.audit_seq.saturating_sub(seq) as f64 / at.elapsed().as_secs_f64();
    Ok(Look { events_per_second: before.map(rate), status, identities, events })
}

fn renewal(identity: &AdminIdentity) -> Option<Moment> {
    identity.summary.certificate.as_ref().and_then(|certificate| certificate.renew_at)
}

fn render(look: &Look) -> String {
    let Look { status, identities, events, events_per_second } = look;
    let state = if status.ready { format!("{GREEN}ready{RESET}") } else { format!("{RED}not ready{RESET}") };
    let rate = events_per_second.map(|rate| format!(", {rate:.1} a second")).unwrap_or_default();
    let mut text = format!(
        "{} {state}, running since {}; {} identities, {} secrets, {} events{rate}\n",
        plain(&status.node_id),
        date(status.started_at),
        status.identities,
        status.secrets.map_or_else(|| "unknown".to_owned(), |secrets| secrets.to_string()),
        status.audit_seq,
    );
    for alarm in &status.alarms {
        text += &format!("{RED}alarm{RESET} {}: {}\n", plain(&alarm.subject), plain(&alarm.message));
    }
    let now = super::token::now();
    let mut table = Table::new(["RENEWED NEXT", "IN", "CERTIFICATE ENDS", "SEEN SERVED"], "No identity is declared.");
    for identity in identities.iter().take(IDENTITIES) {
        let within = renewal(identity).map(|at| Span(Duration::from_secs(at.since(now).as_secs())).to_string());
        let ends = identity.summary.certificate.as_ref().map(|certificate| date(certificate.not_after));
        let dash = || "-".to_owned();
        let seen = identity.verified.clone().unwrap_or_else(dash);
        table.row([identity.summary.name.clone(), within.unwrap_or_else(dash), ends.unwrap_or_else(dash), seen]);
    }
    text += &format!("\n{}", table.render());
    let more = identities.len().saturating_sub(IDENTITIES);
    if more > 0 {
        text += &format!("and {more} more\n");
    }
    text += "\n";
    for event in events.iter().map(|line| super::audit::one_line(line)) {
        text += &event;
        text.push('\n');
    }
    text
}
