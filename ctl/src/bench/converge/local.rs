//! A mesh of agents of our own, on the loopback.

use std::net::TcpListener;
use std::path::PathBuf;

use reverie_core::api::Operation;
use reverie_core::api::mesh::{InitRequest, InviteRequest, Invited, JoinRequest, MeshStatus};
use reverie_core::id::NodeId;

use crate::cli::Session;
use crate::client::{Call, Client};
use crate::failure::{Exit, Failure};
use crate::layout::{Hints, Layout, Scope};
use crate::own_agent::{Agent, Scratch, answered};

/// Agents in a scratch directory; they end, and it goes, with this.
pub(super) struct Local {
    /// Before the directory: agents end first.
    _agents: Vec<Agent>,
    clients: Vec<Client>,
    _scratch: Scratch,
}

impl Local {
    /// Starts them, founds a mesh with the first and has the others join.
    pub(super) async fn start(session: &Session, count: u8, program: Option<PathBuf>) -> Result<Self, Failure> {
        session.screen.note(format_args!("starting {count} agents …"));
        let scratch = Scratch::new("reverie-bench")?;
        let (mut agents, mut clients, mut addresses) = (vec![], vec![], vec![]);
        for number in 1..=count {
            let place = scratch.path().join(number.to_string());
            std::fs::create_dir(&place).map_err(|error| Failure::writing(&place, &error))?;
            let address = format!("127.0.0.{number}");
            let port = free_port(&address)?;
            let configuration = format!(
                "trust_domain = \"bench.test\"\nnode_id = {:?}\n[paths]\nrun = {:?}\nstate = {:?}\n[seal]\nmode = \"file\"\n\
                 [log]\nlevel = \"error\"\n[limits]\nrequests_per_second = 0\n\
                 [gossip]\nlisten = [\"{address}:{port}\"]\nadvertise = [\"{address}:{port}\"]\n",
                name(number)?.as_str(),
                place.join("run"),
                place.join("state"),
            );
            agents.push(Agent::start(program.clone(), &place, &configuration)?);
            let hints = Hints { run: Some(place.join("run")), scope: Some(Scope::User), ..Hints::default() };
            let layout = Layout::resolve(hints, false, |_| None, |_| false);
            clients.push(Client { layout, timeout: session.client.timeout });
            addresses.push(format!("{address}:{port}"));
        }
        for client in &clients {
            answered(client).await?;
        }
        let local = Self { _agents: agents, clients, _scratch: scratch };
        local.gather(session, count, &addresses).await?;
        Ok(local)
    }

    async fn gather(&self, session: &Session, count: u8, addresses: &[String]) -> Result<(), Failure> {
        let first = self.writer();
        let _: MeshStatus = first.call(Call::of(Operation::InitMesh).body(&InitRequest::default())?).await?;
        session.screen.note("joining them …");
        for (number, client) in (2..=count).zip(self.clients.iter().skip(1)) {
            let request = InviteRequest { node_id: name(number)?, ttl_seconds: 600, limits: None };
            let invited: Invited = first.call(Call::of(Operation::Invite).body(&request)?).await?;
            let request = JoinRequest { address: addresses.first().cloned().unwrap_or_default(), token: Some(invited.token) };
            let _: MeshStatus = client.call(Call::of(Operation::JoinMesh).body(&request)?).await?;
        }
        let until = std::time::Instant::now() + super::PATIENCE;
        loop {
            let status: MeshStatus = first.call(Call::of(Operation::Mesh)).await?;
            let alive = status.hosts.iter().filter(|host| matches!(host.state.as_str(), "self" | "alive")).count();
            if alive == usize::from(count) {
                return Ok(());
            }
            if std::time::Instant::now() > until {
                return Err(Failure::new(Exit::TempFail, format_args!("only {alive} of {count} agents found each other"))
                    .advise("try fewer, or look at `agentctl doctor` on a real mesh"));
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    }

    /// Where writes go.
    pub(super) fn writer(&self) -> &Client {
        &self.clients[0]
    }
}

fn name(number: u8) -> Result<NodeId, Failure> {
    format!("host{number}.bench.test").parse().map_err(|why| Failure::new(Exit::Internal, why))
}

/// Free when looked at; an agent that finds it taken says so.
fn free_port(address: &str) -> Result<u16, Failure> {
    let listener = TcpListener::bind((address, 0)).and_then(|listener| listener.local_addr());
    listener.map(|address| address.port()).map_err(|error| {
        Failure::new(Exit::Unavailable, format_args!("cannot listen on {address}: {}", crate::failure::reason(&error)))
            .advise("Linux has all of 127.0.0.0/8 on the loopback: is it up?")
    })
}
