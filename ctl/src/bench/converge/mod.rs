//! How long a write on one host takes until every other has it.

mod formula;
mod local;
mod waiter;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use reverie_core::api::Operation;
use reverie_core::api::admin::Health;
use reverie_core::api::local::Bundle;
use reverie_core::api::mesh::{ClientRequest, MeshStatus};
use serde::Serialize;
use tokio::sync::mpsc;

use self::local::Local;
use self::waiter::Seen;
use super::figures::percentile;
use super::rounded;
use crate::cli::Session;
use crate::client::{Call, Client};
use crate::failure::{Exit, Failure, Outcome};
use crate::mesh_client::{Connection, Target};
use crate::screen::{Table, plain};

/// A host that has not seen a write by then has lost it.
pub(super) const PATIENCE: Duration = Duration::from_secs(15);

/// What is to be measured.
#[derive(Debug)]
pub(crate) struct Plan {
    /// Start so many agents of our own; else the mesh of the agent we talk to.
    pub(crate) local: Option<u8>,
    /// How many writes.
    pub(crate) writes: u32,
    /// Quiet time before each, so that none rides on the one before.
    pub(crate) pause: Duration,
    /// The agent's program, for agents of our own.
    pub(crate) agent: Option<PathBuf>,
}

#[derive(Debug, Serialize)]
struct Report {
    hosts: usize,
    writes: u32,
    /// From the moment the write is sent until the last host has it.
    everywhere: Spread,
    /// Until the writer has it durably and says so; part of the above.
    acknowledged: Spread,
    /// Until each other host has it.
    each: Vec<(String, Spread)>,
    /// What the model of memberlist and Serf gives for as many hosts, without and with 25 % loss.
    serf_ms: f64,
    serf_lossy_ms: f64,
}

/// Milliseconds.
#[derive(Debug, Serialize)]
struct Spread {
    p50_ms: f64,
    p99_ms: f64,
    max_ms: f64,
}

impl Spread {
    fn of(mut times: Vec<u64>) -> Self {
        times.sort_unstable();
        let at = |percent| rounded(percentile(&times, percent) as f64 / 1e6);
        Self { p50_ms: at(50), p99_ms: at(99), max_ms: at(100) }
    }

    fn row(&self, name: &str) -> [String; 4] {
        let ms = |value: f64| format!("{value:.1} ms");
        [name.to_owned(), ms(self.p50_ms), ms(self.p99_ms), ms(self.max_ms)]
    }
}

pub(crate) async fn run(session: &Session, plan: Plan) -> Outcome {
    let local = match plan.local {
        Some(count) => Some(Local::start(session, count, plan.agent.clone()).await?),
        None => None,
    };
    let client = local.as_ref().map_or(&session.client, Local::writer);
    let report = measure(session, client, &plan).await?;
    session.screen.show(&report, render)
}

async fn measure(session: &Session, client: &Client, plan: &Plan) -> Result<Report, Failure> {
    let status: MeshStatus = client.call(Call::of(Operation::Mesh)).await?;
    let bundle: Bundle = client.call(Call::of(Operation::Bundle)).await?;
    let targets = waiter::targets(&status);
    if targets.is_empty() {
        return Err(Failure::new(Exit::Unavailable, "there is no other host in the mesh to wait on")
            .advise("agentctl mesh peers shows who is there; --local 10 starts a mesh of its own"));
    }
    let (tell, mut seen) = mpsc::channel(targets.len());
    let mut asks = vec![];
    for (index, target) in targets.iter().enumerate() {
        let (ask, asked) = mpsc::channel(1);
        let connection = Connection::open(target, &bundle, PATIENCE).await?;
        tokio::spawn(waiter::serve(connection, index, asked, tell.clone()));
        asks.push(ask);
    }
    drop(tell);
    session.screen.note(format_args!("{} writes, each awaited on {} other hosts …", plan.writes, targets.len()));
    let prefix = format!("bench-{:x}", crate::verb::token::now().as_millis());
    let (mut everywhere, mut acknowledged) = (vec![], vec![]);
    let mut each = vec![vec![]; targets.len()];
    let mut outcome = Ok(());
    for number in 0..plan.writes {
        let id = format!("{prefix}-{number}");
        outcome = one(client, plan.pause, &id, &asks, &mut seen, &targets).await.map(|times| {
            acknowledged.push(times.acknowledged);
            everywhere.push(times.each.iter().copied().max().unwrap_or(0));
            each.iter_mut().zip(times.each).for_each(|(all, time)| all.push(time));
        });
        if outcome.is_err() {
            break;
        }
    }
    // What was written for the measurement goes away again.
    for number in 0..u32::try_from(everywhere.len()).unwrap_or(0) {
        let id = format!("{prefix}-{number}");
        let _ = client.call::<Health>(Call::of(Operation::RemoveClient).named(&id)).await;
    }
    outcome?;
    let hosts = targets.len() + 1;
    Ok(Report {
        hosts,
        writes: plan.writes,
        everywhere: Spread::of(everywhere),
        acknowledged: Spread::of(acknowledged),
        each: targets.into_iter().map(|target| target.node).zip(each.into_iter().map(Spread::of)).collect(),
        serf_ms: formula::serf(hosts, 0.0).as_secs_f64() * 1000.0,
        serf_lossy_ms: formula::serf(hosts, 0.25).as_secs_f64() * 1000.0,
    })
}

/// Nanoseconds since one write was sent.
struct Times {
    acknowledged: u64,
    each: Vec<u64>,
}

async fn one(
    client: &Client,
    pause: Duration,
    id: &str,
    asks: &[mpsc::Sender<String>],
    seen: &mut mpsc::Receiver<Seen>,
    targets: &[Target],
) -> Result<Times, Failure> {
    for ask in asks {
        // A waiter that is gone has said why on the other channel.
        let _ = ask.send(id.to_owned()).await;
    }
    tokio::time::sleep(pause).await;
    let since =
        |begun: Instant| move |at: Instant| u64::try_from(at.saturating_duration_since(begun).as_nanos()).unwrap_or(u64::MAX);
    let begun = Instant::now();
    let _: Health = client.call(Call::of(Operation::PutClient).named(id).body(&ClientRequest::default())?).await?;
    let since = since(begun);
    let acknowledged = since(Instant::now());
    let mut each = vec![None; targets.len()];
    while each.iter().any(Option::is_none) {
        let Some(Seen { host, at }) = seen.recv().await else {
            return Err(Failure::new(Exit::TempFail, "every connection ended").advise("agentctl mesh peers shows who is there"));
        };
        if let Some(slot) = each.get_mut(host) {
            *slot = Some(since(at?));
        }
    }
    Ok(Times { acknowledged, each: each.into_iter().flatten().collect() })
}

fn render(report: &Report) -> String {
    let mut table = Table::new(["A WRITE ON ONE HOST", "P50", "P99", "MAX"], "");
    table.row(report.acknowledged.row("is durable and acknowledged after"));
    table.row(report.everywhere.row(&format!("is on all {} hosts after", report.hosts)));
    for (node, spread) in &report.each {
        table.row(spread.row(&format!("· on {}", plain(node))));
    }
    format!(
        "{}\n{} hosts, {} writes. memberlist and Serf by their own model, for as many hosts: {:.1} s; {:.1} s with 25 % loss.\n",
        table.render(),
        report.hosts,
        report.writes,
        report.serf_ms / 1000.0,
        report.serf_lossy_ms / 1000.0,
    )
}
