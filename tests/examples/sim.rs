//! The simulator by hand; `--help` says how.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a program for developers")]

use std::ops::Range;

use reverie_tests::sim::figures::{self, Spread};
use reverie_tests::sim::network::Loss;
use reverie_tests::sim::scenario::{self, Scenario};

const HELP: &str = "sim --seeds A..B [--hosts N] [--scenario NAME]   run stories, check each against the reference model
sim --figures [--hosts N] [--writes W]           how long until a write is everywhere, and what an idle mesh costs";

struct Arguments {
    seeds: Range<u64>,
    hosts: Option<usize>,
    scenario: Option<Scenario>,
    figures: bool,
    writes: usize,
}

fn arguments() -> Result<Arguments, String> {
    let mut arguments = Arguments { seeds: 0..100, hosts: None, scenario: None, figures: false, writes: 200 };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or(format!("{word} wants a value\n{HELP}"));
        match &*word {
            "--seeds" => {
                let text = value()?;
                let (from, to) = text.split_once("..").unwrap_or(("0", &text));
                arguments.seeds = from.parse().map_err(|_| HELP)?..to.parse().map_err(|_| HELP)?;
            }
            "--hosts" => arguments.hosts = Some(value()?.parse().map_err(|_| HELP)?),
            "--scenario" => arguments.scenario = Some(value()?.parse()?),
            "--writes" => arguments.writes = value()?.parse().map_err(|_| HELP)?,
            "--figures" => arguments.figures = true,
            _ => return Err(HELP.to_owned()),
        }
    }
    Ok(arguments)
}

fn main() -> Result<(), String> {
    let arguments = arguments()?;
    if arguments.figures {
        let sizes = arguments.hosts.map_or(vec![10, 100, 1000], |hosts| vec![hosts]);
        sizes.into_iter().for_each(|hosts| figures(hosts, arguments.writes));
        return Ok(());
    }
    let scenarios = arguments.scenario.map_or(Scenario::ALL.to_vec(), |one| vec![one]);
    let mut failures = Vec::new();
    println!(
        "{:12} {:>8} {:>10} {:>10} {:>12}  settled after (ms): p50, p99, longest",
        "scenario", "runs", "writes", "events", "failures"
    );
    for scenario in scenarios {
        let (mut settled, mut writes, mut events, mut failed) = (Vec::new(), 0, 0, 0);
        for seed in arguments.seeds.clone() {
            let hosts = arguments.hosts.unwrap_or(2 + (seed % 9) as usize);
            match scenario::run(scenario, hosts, seed) {
                Ok(run) => {
                    settled.push(run.settled / 1000);
                    writes += run.writes;
                    events += run.events;
                }
                Err(why) => {
                    failed += 1;
                    failures.push(why);
                }
            }
        }
        let settled = Spread::of(settled);
        println!(
            "{:12} {:8} {writes:10} {events:10} {failed:12}  {}, {}, {}",
            scenario.name(),
            arguments.seeds.end - arguments.seeds.start,
            settled.at(50.0),
            settled.at(99.0),
            settled.at(100.0)
        );
    }
    failures.iter().take(10).for_each(|why| println!("\n{why}"));
    if failures.is_empty() { Ok(()) } else { Err(format!("{} runs failed", failures.len())) }
}

fn figures(hosts: usize, writes: usize) {
    for (loss, how) in [(0.0, Loss::Silent), (0.25, Loss::Silent), (0.25, Loss::Resent)] {
        let run = figures::convergence(1, hosts, loss, how, writes);
        let ms = |percent| run.all.at(percent) as f64 / 1000.0;
        println!(
            "{hosts:5} hosts, loss {:>3.0} % {how:?}: on all after p50 {:.0}, p90 {:.0}, p99 {:.0}, at most {:.0} ms; {:.1} envelopes and {:.1} kB a host and write",
            loss * 100.0,
            ms(50.0),
            ms(90.0),
            ms(99.0),
            ms(100.0),
            run.envelopes,
            run.bytes as f64 / 1000.0
        );
    }
    let (total, [sync, digest, membership]) = figures::idle(1, hosts, 120);
    println!(
        "{hosts:5} hosts, idle: {total:.0} B/s a host, sent and received together ({sync:.0} envelopes, {digest:.0} digests, {membership:.0} membership)"
    );
}
