//! `agentctl bench`.

use std::path::PathBuf;
use std::time::Duration;

use reverie_core::id::IdentityName;

use crate::bench;
use crate::cli::{Session, span};
use crate::failure::Outcome;

/// Measure the agent against a bare counterpart, in the same run
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Verb {
    /// An attested whoami against a bare echo on the same HTTP stack
    Whoami {
        /// Connections at once
        #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=4096))]
        connections: u16,
        /// How long, all in all
        #[arg(long, value_name = "S", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3600))]
        seconds: u64,
        /// A new connection for every request
        #[arg(long)]
        new_connections: bool,
    },
    /// Issuing over the socket against a bare loop of making keys and signing
    Issue {
        /// Callers at once; with 1 the sum of the bare parts is measured too
        #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=4096))]
        callers: u16,
        /// How long, all in all
        #[arg(long, value_name = "S", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3600))]
        seconds: u64,
        /// Which of your identities [default: the first]
        #[arg(long, value_name = "NAME")]
        identity: Option<IdentityName>,
        /// With one caller: also measure durable commits (4 KiB, fdatasync) in this directory
        #[arg(long, value_name = "DIR")]
        commit_dir: Option<PathBuf>,
    },
    /// How long a write on this host takes until every other host of its mesh has it
    Converge {
        /// Start so many agents on the loopback, in a scratch directory, instead of measuring this host's mesh
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(2..=50))]
        local: Option<u8>,
        /// How many writes
        #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=100_000))]
        writes: u32,
        /// Quiet time before each
        #[arg(long, value_name = "SPAN", default_value = "200ms", value_parser = span)]
        pause: Duration,
        /// With --local: the agent's program [default: reverie-agent beside this program, else on the PATH]
        #[arg(long, value_name = "FILE", requires = "local")]
        agent: Option<PathBuf>,
    },
    /// Taking records into a set, verified before or not, against the checks of their signatures alone; needs no agent
    Merge {
        /// How many records
        #[arg(long, value_name = "N", default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(100..=1_000_000))]
        records: u32,
    },
    /// Sealing and opening a gossip message of 256 B, 64 KiB and 1 MiB against the sum of its primitives; no agent needed
    Envelope {
        /// How long, all in all
        #[arg(long, value_name = "S", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3600))]
        seconds: u64,
    },
    /// The bare echo server of `bench`
    #[command(hide = true)]
    EchoServer {
        socket: PathBuf,
        /// Bytes it answers
        #[arg(long, value_parser = clap::value_parser!(u32).range(0..=1_048_576))]
        length: u32,
    },
}

impl Verb {
    pub(crate) async fn run(self, session: &Session) -> Outcome {
        match self {
            Self::Whoami { connections, seconds, new_connections } => {
                bench::whoami(session, connections.into(), seconds, new_connections).await
            }
            Self::Issue { callers, seconds, identity, commit_dir } => {
                bench::issue(session, bench::Plan { callers: callers.into(), seconds, identity, commit_dir }).await
            }
            Self::Converge { local, writes, pause, agent } => {
                bench::converge(session, bench::ConvergePlan { local, writes, pause, agent }).await
            }
            Self::Merge { records } => bench::merge(session, records as usize),
            Self::Envelope { seconds } => bench::envelope(session, seconds),
            Self::EchoServer { socket, length } => bench::serve_echo(&socket, usize::try_from(length).unwrap_or(0)),
        }
    }
}
