//! A mesh of real agents: each host in a network namespace of its own, joined by a switch whose links can be slow, lossy or cut.
//!
//! Needs root. Nothing stays, however the test ends: namespaces live as long as their holder, the holder and the switch as long
//! as a pipe from here, and agents get SIGKILL when the thread that started them ends.

mod host;
mod namespace;
mod switch;

use std::time::{Duration, Instant};

pub use host::Host;
pub use namespace::Namespace;
use serde_json::Value;
pub use switch::{Link, Switch};

use crate::programs::wait_until;

/// The trust domain of every test.
pub const TRUST_DOMAIN: &str = "mesh.test";
/// Where every host listens.
pub const PORT: u16 = 7438;

/// The node id of a host, counted from 1.
pub fn name(number: usize) -> String {
    format!("host{number}.{TRUST_DOMAIN}")
}

/// The address of a host, as [`Switch`] gives it.
pub fn address(number: usize) -> String {
    format!("10.77.{}.{}", number / 256, number % 256)
}

/// Hosts on one switch.
#[derive(Debug)]
pub struct Mesh {
    /// Agents end before the network they stand on.
    hosts: Vec<Host>,
    /// Links between hosts.
    pub switch: Switch,
}

impl Mesh {
    /// So many hosts with a network between them; no agent runs yet. `configuration` is that of each, `NODE` standing for
    /// its name.
    pub fn new(count: usize, configuration: &str) -> Self {
        let table: String = (1..=count).map(|number| format!("{} {}\n", address(number), name(number))).collect();
        let namespaces: Vec<Namespace> = (0..count).map(|_| Namespace::new(&format!("127.0.0.1 localhost\n{table}"))).collect();
        let pids: Vec<u32> = namespaces.iter().map(Namespace::pid).collect();
        let switch = Switch::start(&pids);
        let hosts = namespaces.into_iter().enumerate().map(|(index, space)| Host::new(index + 1, space, configuration)).collect();
        Self { hosts, switch }
    }

    /// The same, every agent started, the first having founded a mesh and the others joined it.
    pub fn joined(count: usize, configuration: &str) -> Self {
        let mut mesh = Self::new(count, configuration);
        mesh.hosts.iter_mut().for_each(Host::launch);
        mesh.hosts.iter_mut().for_each(Host::wait_until_ready);
        mesh.found();
        for number in 2..=count {
            mesh.join(number, 1);
        }
        mesh.agree();
        mesh
    }

    /// Has the first host found a mesh; others can reach it then.
    pub fn found(&self) {
        let founder = self.host(1);
        founder.agent.admin_post("/api/admin/mesh/init", &serde_json::json!({})).ok();
        wait_until("the founder listens", 20, || founder.fetch(1, "/api/gossip/stats", 2).0 == 200);
    }

    /// How many hosts there are.
    pub fn count(&self) -> usize {
        self.hosts.len()
    }

    /// A host, counted from 1.
    pub fn host(&self, number: usize) -> &Host {
        &self.hosts[number - 1]
    }

    /// The same, to start and stop it.
    pub fn host_mut(&mut self, number: usize) -> &mut Host {
        &mut self.hosts[number - 1]
    }

    /// Every host.
    pub fn hosts(&self) -> impl Iterator<Item = &Host> {
        self.hosts.iter()
    }

    /// Has a host join by a token of another.
    #[track_caller]
    pub fn join(&self, newcomer: usize, by: usize) {
        let invited = self
            .host(by)
            .agent
            .admin_post("/api/admin/mesh/invites", &serde_json::json!({ "node_id": name(newcomer), "ttl_seconds": 600 }));
        self.redeem(newcomer, by, &invited.ok());
    }

    /// Has a host redeem what `invites` or `readmit` answered.
    #[track_caller]
    pub fn redeem(&self, newcomer: usize, by: usize, invited: &Value) {
        let request = serde_json::json!({ "address": format!("{}:{PORT}", name(by)), "token": invited["token"] });
        self.host(newcomer).agent.admin_post("/api/admin/mesh/join", &request).ok();
    }

    /// Cuts every link between the two sides, both ways.
    pub fn partition(&mut self, left: &[usize], right: &[usize]) {
        for &a in left {
            for &b in right {
                self.switch.cut(a, b);
                self.switch.cut(b, a);
            }
        }
    }

    /// Waits until every running host holds the same records, by its digest; returns how long that took.
    #[track_caller]
    pub fn agree(&self) -> Duration {
        let all: Vec<usize> = (1..=self.count()).filter(|number| self.host(*number).agent.is_started()).collect();
        self.agree_within(&all, Duration::from_secs(30))
    }

    /// The same for some hosts, in that time.
    #[track_caller]
    pub fn agree_within(&self, hosts: &[usize], patience: Duration) -> Duration {
        let begun = Instant::now();
        loop {
            let digests: Vec<Option<String>> = hosts.iter().map(|number| self.host(*number).digest()).collect();
            if digests.windows(2).all(|pair| pair[0].is_some() && pair[0] == pair[1]) {
                return begun.elapsed();
            }
            assert!(begun.elapsed() < patience, "no agreement in {patience:?}: {}", self.describe(hosts));
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// What some hosts say of the mesh, for a message.
    pub fn describe(&self, hosts: &[usize]) -> String {
        let one = |number: &usize| {
            let host = self.host(*number);
            let status = host.status();
            let peers: Vec<String> = status["hosts"]
                .as_array()
                .into_iter()
                .flatten()
                .map(|peer| format!("{} {} {}", peer["node_id"], peer["state"], peer["last_error"]))
                .collect();
            format!(
                "\n{}: {} {} records, digest {}\n  {}",
                host.name(),
                status["state"],
                status["records"],
                status["digest"],
                peers.join("\n  ")
            )
        };
        hosts.iter().map(one).collect()
    }
}
