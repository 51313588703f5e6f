//! `bench issue`: certificates over the socket against bare key making and signing.

use std::path::{Path, PathBuf};

use reverie_core::api::Operation;
use reverie_core::api::local::Whoami;
use reverie_core::id::IdentityName;
use serde::Serialize;

use super::bare::{Bare, commit_turn};
use super::echo::Echo;
use super::figures::{Figures, HEADINGS, Times};
use super::load::{Load, probe, request, turn};
use super::{announce, rounded, turns};
use crate::cli::Session;
use crate::client::Call;
use crate::failure::{Exit, Failure, Outcome};
use crate::screen::{Table, counted, plain};

#[derive(Serialize)]
struct Report {
    compared: String,
    identity: String,
    callers: usize,
    threads: usize,
    turns: u32,
    /// The bare side is then slow and the ratios say little.
    debug_build: bool,
    agent: Figures,
    bare: Figures,
    /// Certificates a second: the agent's share of the limit.
    ratio_rate: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    parts: Option<Parts>,
}

/// For one caller: what its answer is made of.
#[derive(Serialize)]
struct Parts {
    issue_p50_us: f64,
    echo_p50_us: f64,
    /// Absent if no directory was named to measure it in.
    commit_p50_us: Option<f64>,
    sum_p50_us: f64,
    ratio_p50: f64,
}

/// What was asked for.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) callers: usize,
    pub(crate) seconds: u64,
    pub(crate) identity: Option<IdentityName>,
    pub(crate) commit_dir: Option<PathBuf>,
}

pub(crate) async fn run(session: &Session, plan: Plan) -> Outcome {
    let Plan { callers, seconds, identity, commit_dir } = plan;
    let identity = match identity {
        Some(identity) => identity,
        None => default_identity(session).await?,
    };
    let path = Operation::IssueCertificate.path().replace("{name}", identity.as_str());
    let socket = session.layout().agent_socket.clone();
    let agent = Load { socket, request: request("POST", &path, "{}"), connections: callers, renew: false };
    let length = probe(&agent).await?;
    let single = callers == 1;
    // The limit of one caller is one thread; of many, every processor.
    let threads = if single { 1 } else { std::thread::available_parallelism().map_or(1, usize::from) };
    let bare = Bare::new()?;
    let server = if single { Some(Echo::start(length)?) } else { None };
    let echo = server.as_ref().map(|server| Load { socket: server.socket.clone(), ..agent.clone() });
    let (count, span) = turns(seconds, if single { 3 } else { 2 });
    announce(session, count, span);
    let [mut agents, mut bares, mut echos, mut commits] = [(); 4].map(|()| Times::default());
    // The first turn warms up and is not counted.
    for number in 0..=count {
        let add = |times: &mut Times, (turn, elapsed)| {
            if number > 0 {
                times.add(turn, elapsed);
            }
        };
        add(&mut agents, turn(&agent, span).await?);
        add(&mut bares, bare.turn(threads, span)?);
        if let Some(echo) = &echo {
            add(&mut echos, turn(echo, span).await?);
        }
        if let Some(dir) = commit_dir.as_deref().filter(|_| single) {
            add(&mut commits, commit_turn(dir, span)?);
        }
    }
    let (a, b) = (agents.figures(), bares.figures());
    let parts = single.then(|| parts(&a, &b, &echos.figures(), commit_dir.as_deref().map(|_| commits.figures().p50_us)));
    let compared = format!(
        "POST {path} of the agent (a new P-256 key and certificate, attested, audited, durable before the answer; this load \
         generator included) with a bare loop of rcgen and aws-lc that makes a key and signs a certificate, on {}",
        counted(threads as u64, "thread", "threads")
    );
    let ratio_rate = rounded(a.per_second / b.per_second.max(1.0));
    let report = Report {
        compared,
        identity: identity.to_string(),
        callers,
        threads,
        turns: count,
        debug_build: cfg!(debug_assertions),
        agent: a,
        bare: b,
        ratio_rate,
        parts,
    };
    session.screen.show(&report, |report| render(report, commit_dir.as_deref()))
}

async fn default_identity(session: &Session) -> Result<IdentityName, Failure> {
    let whoami: Whoami = session.client.call(Call::of(Operation::Whoami)).await?;
    whoami.identities.first().and_then(|name| name.parse().ok()).ok_or_else(|| {
        Failure::new(Exit::NotPermitted, "you have no identity here, so none can be issued")
            .advise("declare one for yourself: agentctl identity add bench --match uid=$(id -u), then reload the agent")
    })
}

fn parts(agent: &Figures, bare: &Figures, echo: &Figures, commit_p50_us: Option<f64>) -> Parts {
    let sum_p50_us = rounded(bare.p50_us + echo.p50_us + commit_p50_us.unwrap_or(0.0));
    let ratio_p50 = rounded(agent.p50_us / sum_p50_us.max(0.001));
    Parts { issue_p50_us: bare.p50_us, echo_p50_us: echo.p50_us, commit_p50_us, sum_p50_us, ratio_p50 }
}

fn render(report: &Report, commit_dir: Option<&Path>) -> String {
    let mut table = Table::new(HEADINGS, "");
    table.row(report.agent.row("agent"));
    table.row(report.bare.row("bare loop"));
    let mut text = table.render();
    text += &format!("\nagent / bare, certificates a second: {:.1} %\n", report.ratio_rate * 100.0);
    if let Some(Parts { issue_p50_us, echo_p50_us, commit_p50_us, sum_p50_us, ratio_p50 }) = &report.parts {
        let commit = match (commit_p50_us, commit_dir) {
            (Some(commit), Some(dir)) => format!(" + commit in {} {commit:.1}", plain(&dir.display().to_string())),
            _ => " (the durable commit was not measured: name a directory on the store's disk with --commit-dir)".to_owned(),
        };
        text += &format!("agent / sum of its parts, p50: {ratio_p50:.2}\n");
        text += &format!("  {sum_p50_us:.1} µs = issue {issue_p50_us:.1} + HTTP echo {echo_p50_us:.1}{commit}\n");
    }
    let count = report.agent.count;
    let identity = plain(&report.identity);
    text + &format!(
        "{}. Compared: {}.\nMore than {count} certificates of {identity:?} were issued; the agent lists them until they end.\n",
        counted(report.callers as u64, "caller", "callers"),
        plain(&report.compared)
    )
}
