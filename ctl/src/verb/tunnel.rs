//! `agentctl tunnel`.

use reverie_core::api::Operation;
use reverie_core::api::admin::Tunnels;

use crate::cli::Session;
use crate::client::Call;
use crate::failure::Outcome;
use crate::screen::{Paint, Table};

/// Tunnels to services of other hosts
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Verb {
    /// List the declared tunnels: whether they listen, and what went through them
    List,
}

impl Verb {
    pub(crate) async fn run(self, session: &Session) -> Outcome {
        let Self::List = self;
        let all: Tunnels = session.client.call(Call::of(Operation::Tunnels)).await?;
        session.screen.show(&all, table)
    }
}

fn table(all: &Tunnels) -> String {
    let headings = ["NAME", "FROM", "TO", "IDENTITY", "PEERS", "STATE", "CONNECTIONS", "REFUSED", "BYTES"];
    let mut table = Table::new(headings, "No tunnel is declared.");
    for tunnel in &all.tunnels {
        let (paint, state) = match (&tunnel.trouble, &tunnel.certificate) {
            (Some(why), _) => (Paint::Red, why.as_str()),
            (None, None) => (Paint::Red, "it has no certificate to show"),
            (None, Some(_)) => (Paint::None, "listens"),
        };
        let refused = tunnel.refused.iter().map(|(reason, count)| (*count, reason.as_str()));
        let refused = refused.chain([(tunnel.withdrawn, "withdrawn")]).filter(|(count, _)| *count > 0);
        let refused: Vec<String> = refused.map(|(count, reason)| format!("{count} {reason}")).collect();
        let cells = [
            tunnel.name.clone(),
            tunnel.accept.clone(),
            tunnel.connect.clone(),
            tunnel.identity.clone(),
            tunnel.peers.join(", "),
            state.to_owned(),
            format!("{} open, {} so far", tunnel.open, tunnel.established),
            if refused.is_empty() { "none".to_owned() } else { refused.join(", ") },
            format!("{} sent, {} received", size(tunnel.sent), size(tunnel.received)),
        ];
        table.painted(paint, cells);
    }
    table.render()
}

/// `999 B`, `12.3 MB`.
fn size(bytes: u64) -> String {
    let units = [(1_000_000_000_000, "TB"), (1_000_000_000, "GB"), (1_000_000, "MB"), (1_000, "kB")];
    match units.into_iter().find(|(unit, _)| bytes >= *unit) {
        Some((unit, name)) => format!("{}.{} {name}", bytes / unit, bytes % unit * 10 / unit),
        None => format!("{bytes} B"),
    }
}
