//! Figures: how long until a write is visible everywhere, and what an idle mesh costs.

use super::network::{Loss, Network};
use super::replica::Plain;
use super::world::{SETTINGS, World};

/// Of a list of measurements.
#[derive(Debug, Clone)]
pub struct Spread {
    sorted: Vec<u64>,
}

impl Spread {
    pub fn of(mut values: Vec<u64>) -> Self {
        values.sort_unstable();
        Self { sorted: values }
    }

    pub fn at(&self, percent: f64) -> u64 {
        let place = (percent / 100.0 * self.sorted.len().saturating_sub(1) as f64).round() as usize;
        self.sorted.get(place).copied().unwrap_or(0)
    }
}

/// What was measured with one size and loss.
#[derive(Debug, Clone)]
pub struct Convergence {
    pub hosts: usize,
    pub loss: f64,
    pub how: Loss,
    /// Microseconds until the last host has it.
    pub all: Spread,
    /// Bytes for each write and host, both directions.
    pub bytes: u64,
    /// Envelopes for each write and host.
    pub envelopes: f64,
}

fn plain(seed: u64, hosts: usize, network: Network) -> World<Plain> {
    let replicas = (0..hosts).map(|_| Plain::new(hosts)).collect();
    let mut world = World::new(seed, network, SETTINGS, replicas);
    for host in 0..hosts {
        world.start(host);
    }
    world
}

/// Writes one after the other at random hosts, each once the one before is everywhere.
pub fn convergence(seed: u64, hosts: usize, loss: f64, how: Loss, writes: usize) -> Convergence {
    let mut network = Network::lan();
    (network.loss, network.how) = (loss, how);
    let mut world = plain(seed, hosts, network);
    world.run_for(5_000_000);
    let (mut times, mut bytes, mut envelopes) = (Vec::new(), 0, 0);
    for _ in 0..writes {
        let pause = world.chance.between(500_000, 1_500_000);
        world.run_for(pause);
        world.hosts.iter_mut().for_each(|host| host.traffic = Default::default());
        let author = world.chance.below(hosts);
        let number = world.hosts[author].replica.write(author);
        let begun = world.now;
        world.changed(author);
        while world.hosts.iter().any(|host| host.replica.heard(author) < number) {
            assert!(world.now < begun + 120_000_000, "seed {seed}: a write is not everywhere after two minutes");
            for _ in 0..hosts {
                // Looking at every host after every event would be most of the run.
                let end = begun + 120_000_000;
                world.step(end);
            }
        }
        times.push(world.now - begun);
        world.run_for(200_000);
        bytes += world.hosts.iter().map(|host| host.traffic.sent[0] + host.traffic.received[0]).sum::<u64>();
        envelopes += world.hosts.iter().map(|host| host.traffic.messages[0]).sum::<u64>();
    }
    let each = (writes * hosts) as u64;
    Convergence { hosts, loss, how, all: Spread::of(times), bytes: bytes / each, envelopes: envelopes as f64 / each as f64 }
}

/// Bytes a second and host, sent and received together: digests, membership, all of it.
pub fn idle(seed: u64, hosts: usize, seconds: u64) -> (f64, [f64; 3]) {
    let mut world = plain(seed, hosts, Network::lan());
    world.run_for(30_000_000);
    world.hosts.iter_mut().for_each(|host| host.traffic = Default::default());
    world.run_for(seconds * 1_000_000);
    let each = (hosts as u64 * seconds) as f64;
    let kind = |kind: usize| {
        world.hosts.iter().map(|host| host.traffic.sent[kind] + host.traffic.received[kind]).sum::<u64>() as f64 / each
    };
    let total = world.hosts.iter().map(|host| host.traffic.total()).sum::<u64>() as f64 / each;
    (total, [kind(0), kind(1), kind(2)])
}
