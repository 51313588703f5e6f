//! `audit tail` and `audit export`: pages of lines.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use reverie_core::api::Operation;
use reverie_core::api::admin::AuditLines;
use reverie_core::audit::{Actor, Event, Line, Outcome as Done, Subject};

use crate::cli::Session;
use crate::client::Call;
use crate::failure::{Exit, Failure, Outcome};
use crate::screen::{counted, date, plain};

/// Lines asked for at once; the agent gives no more.
const PAGE: u64 = 1000;
/// How often `--follow` asks.
const PAUSE: Duration = Duration::from_millis(500);

async fn page(session: &Session, after: u64, limit: u64) -> Result<AuditLines, Failure> {
    let call = Call::of(Operation::AuditLines).query(format!("after={after}&limit={}", limit.clamp(1, PAGE)));
    session.client.call(call).await
}

pub(super) async fn tail(session: &Session, lines: u64, follow: bool) -> Outcome {
    let mut at = page(session, u64::from(u32::MAX), 1).await?.head.seq.saturating_sub(lines);
    loop {
        let page = page(session, at, PAGE).await?;
        let last = last_number(&page, at)?;
        for line in &page.lines {
            match session.screen.json {
                true => session.screen.bytes(format!("{line}\n").as_bytes())?,
                false => session.screen.text(&one_line(line))?,
            };
        }
        at = last;
        match (at >= page.head.seq || page.lines.is_empty(), follow) {
            (true, false) => return Ok(0),
            (true, true) => tokio::time::sleep(PAUSE).await,
            (false, _) => {}
        }
    }
}

pub(super) async fn export(session: &Session, after: u64, output: Option<&Path>) -> Outcome {
    // First of all an answer: an agent that is away must not leave an empty file behind.
    let first = page(session, after, PAGE).await?;
    let Some(path) = output else {
        copy(session, after, first, |text| session.screen.bytes(text).map(drop)).await?;
        return Ok(0);
    };
    // It names subjects: for its owner alone.
    let made = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let mut file = made.map_err(|error| Failure::writing(path, &error))?;
    let write = |text: &[u8]| file.write_all(text).map_err(|error| Failure::writing(path, &error));
    let copied = copy(session, after, first, write).await;
    let count = copied.and_then(|count| file.sync_all().map(|()| count).map_err(|error| Failure::writing(path, &error)));
    // Nor half of one.
    let count = count.inspect_err(|_| drop(std::fs::remove_file(path)))?;
    let written = serde_json::json!({ "file": path.display().to_string(), "events": count });
    session
        .screen
        .show(&written, |_| format!("wrote {} to {}\n", counted(count, "event", "events"), plain(&path.display().to_string())))
}

/// Page after page; returns how many events.
async fn copy(
    session: &Session,
    mut after: u64,
    mut current: AuditLines,
    mut write: impl FnMut(&[u8]) -> Result<(), Failure>,
) -> Result<u64, Failure> {
    let mut count = 0;
    loop {
        let last = last_number(&current, after)?;
        let text: String = current.lines.iter().map(|line| format!("{line}\n")).collect();
        write(text.as_bytes())?;
        count += current.lines.len() as u64;
        after = last;
        if current.lines.is_empty() || after >= current.head.seq {
            return Ok(count);
        }
        current = page(session, after, PAGE).await?;
    }
}

/// The number of the page's last event. A page that does not advance would be asked for forever.
fn last_number(page: &AuditLines, after: u64) -> Result<u64, Failure> {
    let Some(last) = page.lines.last() else { return Ok(after) };
    match Line::parse(last).and_then(|line| line.event()) {
        Ok((seq, _)) if seq > after => Ok(seq),
        _ => Err(Failure::new(Exit::Data, format_args!("the audit log is damaged after event {after}"))
            .advise("`agentctl audit verify` locates the damage")),
    }
}

/// The newest events, verbatim, oldest first.
pub(crate) async fn newest(session: &Session, count: u64) -> Result<AuditLines, Failure> {
    let head = page(session, u64::from(u32::MAX), 1).await?.head;
    page(session, head.seq.saturating_sub(count), count).await
}

/// One event on one line.
pub(crate) fn one_line(text: &str) -> String {
    let Ok((seq, Event { time, kind, outcome, actor, subject, reason })) = Line::parse(text).and_then(|line| line.event()) else {
        return format!("damaged: {}", plain(text));
    };
    let kind = serde_json::to_value(kind).ok().and_then(|kind| kind.as_str().map(str::to_owned)).unwrap_or_default();
    let outcome = match outcome {
        Done::Done => "done",
        Done::Denied => "DENIED",
        Done::Failed => "FAILED",
    };
    let mut line = format!("{seq}  {}  {kind}  {outcome}  {}", date(time), who(&actor));
    let Subject { identity, spiffe_id, serial, secret, token, object } = subject;
    let named = [
        ("identity", identity),
        ("spiffe", spiffe_id),
        ("serial", serial),
        ("secret", secret),
        ("token", token),
        ("object", object),
        ("reason", reason),
    ];
    for (name, value) in named {
        if let Some(value) = value {
            line += &format!("  {name}={}", plain(&value));
        }
    }
    line
}

fn who(actor: &Actor) -> String {
    match actor {
        Actor::Agent => "agent".to_owned(),
        Actor::Process { pid, uid, unit, exe, token, .. } => {
            let place = unit.as_ref().or(exe.as_ref()).map(|place| format!(" {}", plain(place))).unwrap_or_default();
            let token = if token.is_some() { " by token" } else { "" };
            format!("uid {uid} pid {pid}{place}{token}")
        }
    }
}
