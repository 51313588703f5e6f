//! What this host's name means here, and whether its port of the mesh answers under it.

use std::process::Command;
use std::time::Duration;

use reverie_core::api::local::Bundle;
use reverie_core::api::mesh::MeshStatus;

use crate::mesh_client::{Connection, Target};

/// Longest wait for a name or a connection.
const PATIENCE: Duration = Duration::from_secs(5);

/// The host's name, forward and back.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Names {
    /// Addresses of the node id.
    pub(crate) addresses: Vec<String>,
    /// The first names of those addresses.
    pub(crate) back: Vec<String>,
}

/// As the resolver of this host answers: DNS, `/etc/hosts`, whatever it is told to ask.
pub(super) async fn look_up(node: &str) -> Names {
    let node = node.to_owned();
    let look = tokio::task::spawn_blocking(move || {
        let addresses = first_words(&["ahosts", &node], 0);
        let back = addresses.iter().flat_map(|address| first_words(&["hosts", address], 1)).collect();
        Names { addresses, back }
    });
    look.await.unwrap_or_default()
}

/// `getent`, which asks whomever the C library would ask; one word of each line, each once.
fn first_words(arguments: &[&str], at: usize) -> Vec<String> {
    let mut command = Command::new("timeout");
    command.arg(PATIENCE.as_secs().to_string()).arg("getent").args(arguments);
    let Ok(output) = command.output() else { return vec![] };
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut words: Vec<String> = vec![];
    for word in text.lines().take(64).filter_map(|line| line.split_whitespace().nth(at)) {
        if !words.iter().any(|known| known == word) {
            words.push(word.to_owned());
        }
    }
    words
}

/// Connects to this host's own port as any client would: by its name, trusting the mesh's roots alone.
pub(super) async fn knock(status: &MeshStatus, bundle: &Bundle) -> Option<Result<(), String>> {
    let own = status.hosts.iter().find(|host| host.node_id == status.node_id)?;
    let address = own.addresses.first()?.clone();
    let target = Target { node: own.node_id.to_string(), address };
    Some(Connection::open(&target, bundle, PATIENCE).await.map(drop).map_err(|failure| failure.what))
}
