//! Stories of a mesh in trouble. Each is wholly determined by its name, the number of hosts and the seed.

use std::collections::BTreeSet;

use super::mesh::Mesh;
use super::network::{Loss, Network, Topology};

macro_rules! scenarios {
    ($($(#[$doc:meta])* $variant:ident $name:literal;)*) => {
        /// What goes wrong.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Scenario { $($(#[$doc])* $variant,)* }

        impl Scenario {
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }
    };
}

scenarios! {
    /// Nothing.
    Quiet "quiet";
    /// A quarter of all messages is lost, some come twice, some late.
    Lossy "lossy";
    /// Halves that do not see each other for a while, more than once.
    Partition "partition";
    /// Some links carry only one way.
    OneWay "one-way";
    /// Each reaches only its neighbours, for good.
    Chain "chain";
    /// The same, closed.
    Ring "ring";
    /// Hosts stop and start all the time.
    Restarts "restarts";
    /// Half of all stop at once.
    HalfKilled "half-killed";
    /// A host is restored from an old copy of its store.
    Snapshot "snapshot";
    /// Clocks are up to two hours off.
    Skew "skew";
    /// A member is evicted while it is cut off, and goes on writing.
    Eviction "eviction";
    /// A member forges, forks and writes where it may not.
    Rogue "rogue";
    /// Two authorities provision and remove the same clients, and collect their tombstones, while links are cut and hosts stop.
    Authorities "authorities";
    /// Bursts of writes, larger than a page.
    Burst "burst";
    /// All of it.
    Everything "everything";
}

/// How a run went.
#[derive(Debug, Clone, Copy)]
pub struct Run {
    pub writes: u64,
    /// Tombstones that were collected.
    pub collected: usize,
    /// From the end of all faults until all agreed, microseconds.
    pub settled: u64,
    pub events: u64,
}

impl std::str::FromStr for Scenario {
    type Err = String;
    fn from_str(name: &str) -> Result<Self, String> {
        let known = || Self::ALL.iter().map(|scenario| scenario.name()).collect::<Vec<_>>().join(", ");
        Self::ALL
            .iter()
            .copied()
            .find(|scenario| scenario.name() == name)
            .ok_or_else(|| format!("no scenario {name:?}; there are {}", known()))
    }
}

/// The error says how to see it again.
pub fn run(scenario: Scenario, hosts: usize, seed: u64) -> Result<Run, String> {
    try_run(scenario, hosts, seed, false).map_err(|why| {
        format!(
            "{} with {hosts} hosts, seed {seed}: {why}\nagain: cargo run --release -p reverie-tests --example sim -- --scenario {} --hosts {hosts} --seeds {seed}..{}",
            scenario.name(),
            scenario.name(),
            seed + 1
        )
    })
}

/// The story of two authorities, told of hosts that do not wait for each other before they collect.
pub fn run_careless(hosts: usize, seed: u64) -> Result<Run, String> {
    try_run(Scenario::Authorities, hosts, seed, true)
}

/// Steps of trouble in a run.
const STEPS: usize = 50;

fn try_run(scenario: Scenario, hosts: usize, seed: u64, careless: bool) -> Result<Run, String> {
    let is = |which: Scenario| scenario == which || scenario == Scenario::Everything;
    let mut network = Network::lan();
    if is(Scenario::Lossy) {
        (network.loss, network.duplication, network.reordering) = (0.25, 0.05, (0.1, 80_000));
        network.how = if seed.is_multiple_of(2) { Loss::Silent } else { Loss::Resent };
    }
    match scenario {
        Scenario::Chain => network.shape(hosts, Topology::Chain),
        Scenario::Ring => network.shape(hosts, Topology::Ring),
        _ => {}
    }
    let mut mesh = Mesh::new(seed, hosts, network);
    mesh.careless = careless;
    // Where there are two, their clocks are right: with clocks that are not, the later word need not be the last.
    let second = hosts / 2;
    if is(Scenario::Skew) {
        for host in (1..hosts).filter(|host| !is(Scenario::Authorities) || *host != second) {
            // Before their first life: a clock that is off, not one that is set.
            let off = mesh.world.chance.between(0, 7_200_000) as i64 - 3_600_000;
            mesh.stop(host);
            mesh.world.hosts[host].skew_ms = off;
            mesh.start(host);
        }
    }
    mesh.world.run_for(2_000_000);
    let snapshot_of = mesh.any_host().max(1);
    let victim = if hosts > 2 { 1 + (snapshot_of % (hosts - 1)) } else { 1 };
    let rogue = hosts - 1;
    let two = is(Scenario::Authorities)
        && (scenario == Scenario::Authorities || ![snapshot_of, victim, rogue].contains(&second) && second > 0);
    if two {
        mesh.promote(second);
        mesh.world.run_for(2_000_000);
    }
    let mut copy = None;
    for step in 0..STEPS {
        let pause = mesh.world.chance.between(50_000, 800_000);
        mesh.world.run_for(pause);
        mesh.write_something();
        if mesh.world.chance.happens(if two { 0.9 } else { 0.2 }) {
            mesh.provision();
        }
        if two && mesh.world.chance.happens(0.4) {
            let host = if mesh.world.chance.happens(0.5) { 0 } else { second };
            mesh.collect(host);
        }
        if is(Scenario::Burst) && mesh.world.chance.happens(0.2) {
            let host = mesh.any_host();
            (0..40).for_each(|_| mesh.write(host));
        }
        if (is(Scenario::Partition) || scenario == Scenario::Authorities) && step % 16 == 4 {
            let inside: BTreeSet<usize> = (0..hosts).filter(|_| mesh.world.chance.happens(0.5)).collect();
            mesh.world.network.part(hosts, &inside);
        }
        if (is(Scenario::Partition) || scenario == Scenario::Authorities && step < 40) && step % 16 == 14 {
            mesh.world.network.cut.clear();
        }
        if is(Scenario::OneWay) && step % 10 == 3 {
            let link = (mesh.any_host(), mesh.any_host());
            mesh.world.network.cut.insert(link);
        }
        if is(Scenario::Restarts) && mesh.world.chance.happens(0.4) {
            let host = mesh.any_host();
            if mesh.world.is_up(host) { mesh.stop(host) } else { mesh.start(host) }
        }
        if scenario == Scenario::Authorities && step % 12 == 3 {
            let host = mesh.any_host();
            mesh.stop(host);
        }
        if scenario == Scenario::Authorities && step % 12 == 9 {
            (0..hosts).for_each(|host| mesh.start(host));
        }
        if is(Scenario::HalfKilled) && step == 15 {
            (0..hosts / 2).for_each(|host| mesh.stop(host));
        }
        if is(Scenario::HalfKilled) && step == 35 {
            (0..hosts / 2).for_each(|host| mesh.start(host));
        }
        if is(Scenario::Snapshot) && step == 10 {
            copy = Some(mesh.world.hosts[snapshot_of].replica.snapshot());
        }
        if let Some(copy) = copy.take_if(|_| step == 30) {
            mesh.restore(snapshot_of, &copy);
        }
        if is(Scenario::Eviction) && step == 20 && victim != snapshot_of {
            if scenario == Scenario::Eviction {
                mesh.world.network.part(hosts, &BTreeSet::from([victim]));
            }
            mesh.write(victim);
        }
        if is(Scenario::Eviction) && step == 30 && victim != snapshot_of && mesh.world.is_up(0) {
            mesh.evict(victim);
        }
        if is(Scenario::Eviction) && step > 20 {
            mesh.write(victim);
        }
        if is(Scenario::Rogue) && step == 12 && hosts > 3 && rogue != snapshot_of && rogue != victim && mesh.world.is_up(rogue) {
            mesh.misbehave(rogue);
        }
    }
    if !matches!(scenario, Scenario::Chain | Scenario::Ring) {
        mesh.world.network.cut.clear();
    }
    let settled = mesh.settle()?;
    mesh.check()?;
    Ok(Run { writes: mesh.writes, collected: mesh.collected, settled, events: mesh.world.events_handled })
}
