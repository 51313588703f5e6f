//! `bench whoami`: an attested answer against a bare one.

use reverie_core::api::Operation;
use reverie_core::api::local::Whoami;
use serde::Serialize;

use super::echo::Echo;
use super::figures::{Figures, HEADINGS, Times};
use super::load::{Load, probe, request, turn};
use super::{announce, rounded, turns};
use crate::cli::Session;
use crate::client::Call;
use crate::failure::Outcome;
use crate::screen::{Table, counted};

#[derive(Serialize)]
struct Report {
    compared: &'static str,
    connections: usize,
    new_connections: bool,
    turns: u32,
    /// The bare side is then slow and the ratios say little.
    debug_build: bool,
    agent: Figures,
    echo: Figures,
    ratio_p50: f64,
    ratio_p99: f64,
    /// Smallest and largest ratio of the medians of a turn.
    ratio_p50_spread: [f64; 2],
}

pub(crate) async fn run(session: &Session, connections: usize, seconds: u64, renew: bool) -> Outcome {
    // In the usual way first: an agent that is away or refuses is explained as everywhere.
    let _: Whoami = session.client.call(Call::of(Operation::Whoami)).await?;
    let socket = session.layout().agent_socket.clone();
    let agent = Load { socket, request: request("GET", "/v1/whoami", ""), connections, renew };
    let server = Echo::start(probe(&agent).await?)?;
    let echo = Load { socket: server.socket.clone(), ..agent.clone() };
    let (count, length) = turns(seconds, 2);
    announce(session, count, length);
    let (mut agents, mut echos) = (Times::default(), Times::default());
    // The first turn warms both up and is not counted.
    for number in 0..=count {
        for (load, times) in [(&agent, &mut agents), (&echo, &mut echos)] {
            let (turn, elapsed) = turn(load, length).await?;
            if number > 0 {
                times.add(turn, elapsed);
            }
        }
    }
    let (a, e) = (agents.figures(), echos.figures());
    let report = Report {
        compared: "GET /v1/whoami of the agent with a bare answer of the same length on the same HTTP stack (hyper, unix socket, \
                   a process of its own)",
        connections,
        new_connections: renew,
        turns: count,
        debug_build: cfg!(debug_assertions),
        ratio_p50: rounded(a.p50_us / e.p50_us.max(0.001)),
        ratio_p99: rounded(a.p99_us / e.p99_us.max(0.001)),
        ratio_p50_spread: agents.spread(&echos),
        agent: a,
        echo: e,
    };
    session.screen.show(&report, |report| {
        let mut table = Table::new(HEADINGS, "");
        table.row(report.agent.row("agent"));
        table.row(report.echo.row("bare echo"));
        let kind = if renew { "each request on a new one" } else { "kept" };
        let [low, high] = report.ratio_p50_spread;
        format!(
            "{}\nagent / bare: p50 {:.2} ({low:.2} to {high:.2} by turn), p99 {:.2}\n{}, {kind}. Compared: {}.\n",
            table.render(),
            report.ratio_p50,
            report.ratio_p99,
            counted(connections as u64, "connection", "connections"),
            report.compared
        )
    })
}
