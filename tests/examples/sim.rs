//! The simulator by hand.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a program for developers")]

use reverie_tests::sim::figures;
use reverie_tests::sim::network::Loss;

fn main() {
    let hosts: usize = std::env::args().nth(1).map_or(100, |n| n.parse().unwrap());
    let writes: usize = std::env::args().nth(2).map_or(100, |n| n.parse().unwrap());
    for (loss, how) in [(0.0, Loss::Silent), (0.25, Loss::Silent), (0.25, Loss::Resent)] {
        let c = figures::convergence(1, hosts, loss, how, writes);
        println!(
            "{hosts} hosts, loss {loss} {how:?}: p50 {} p90 {} p99 {} max {} ms; {} B, {:.1} envelopes a host and write",
            c.all.at(50.0) / 1000,
            c.all.at(90.0) / 1000,
            c.all.at(99.0) / 1000,
            c.all.at(100.0) / 1000,
            c.bytes,
            c.envelopes
        );
    }
    println!("idle: {:?}", figures::idle(1, hosts, 120));
}
