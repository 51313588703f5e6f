//! Figures of real hosts: `mesh_figures [HOSTS] [WRITES] [IDLE_SECONDS]`, as root. Each host has a network namespace of its own;
//! the programs are those in `REVERIE_BIN_DIR`, else beside this one.
//!
//! What a host sends and is sent is counted at its port of the switch: every byte of every frame, acknowledgements included.

#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a figure that cannot be had is no figure")]

use std::time::{Duration, Instant};

use reverie_tests::mesh::Mesh;
use reverie_tests::programs::{built, text};

fn main() {
    let mut arguments = std::env::args().skip(1).map(|argument| argument.parse::<usize>().expect("a number"));
    let hosts = arguments.next().unwrap_or(10);
    let writes = arguments.next().unwrap_or(200);
    let idle = Duration::from_secs(arguments.next().unwrap_or(30) as u64);

    let begun = Instant::now();
    let limits = "[limits]\nrequests_per_second = 0\n[gossip]\nrate_per_second = 100000\n";
    let mut mesh = Mesh::joined(hosts, limits);
    println!("{hosts} hosts, one mesh, after {:.1} s", begun.elapsed().as_secs_f64());

    let agentctl = built("agentctl").display().to_string();
    let run = mesh.host(1).agent.run().display().to_string();
    let count = writes.to_string();
    let output = mesh.host(1).run(&agentctl, &["bench", "converge", "--run-dir", &run, "--writes", &count]);
    println!("{}", text(&output));

    // What the writes left behind is over first.
    mesh.agree();
    std::thread::sleep(Duration::from_secs(5));
    let before = mesh.switch.bytes();
    std::thread::sleep(idle);
    let after = mesh.switch.bytes();
    let seconds = idle.as_secs_f64();
    let rates = before.iter().zip(&after).map(|(from, to)| ((to.0 - from.0) as f64 / seconds, (to.1 - from.1) as f64 / seconds));
    let rates: Vec<(f64, f64)> = rates.collect();
    let mean = |pick: fn(&(f64, f64)) -> f64| rates.iter().map(pick).sum::<f64>() / rates.len() as f64;
    let most = rates.iter().map(|(sent, _)| *sent).fold(0.0, f64::max);
    println!(
        "idle for {seconds:.0} s: a host sends {:.0} B/s and is sent {:.0} B/s on average; the busiest sends {most:.0} B/s",
        mean(|rate| rate.0),
        mean(|rate| rate.1),
    );
}
