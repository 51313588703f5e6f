//! What the keeper wants done on the network, each once, each with a deadline and a report.

mod joining;
mod pulling;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use reverie_core::ipc::net::{Request, Task, TaskKind};
use tokio::task::JoinSet;

use super::rounds::Event;
use super::state::Net;

/// For a task.
const DEADLINE: Duration = Duration::from_secs(60);
/// For its report.
const REPORT: Duration = Duration::from_secs(30);
/// Tasks at once.
const AT_ONCE: usize = 64;

/// Runs while this process does.
pub async fn run(net: Arc<Net>) {
    let mut known = net.known.clone();
    let mut begun = BTreeSet::new();
    let mut work = JoinSet::new();
    loop {
        let newest = known.borrow_and_update().clone();
        if let Some(newest) = newest {
            // What is no longer in the situation was reported, or given up.
            begun.retain(|number| newest.tasks.iter().any(|task| task.number == *number));
            while work.try_join_next().is_some() {}
            for task in &newest.tasks {
                if work.len() < AT_ONCE && begun.insert(task.number) {
                    work.spawn(perform(Arc::clone(&net), task.clone()));
                }
            }
        }
        if known.changed().await.is_err() {
            return;
        }
    }
}

async fn perform(net: Arc<Net>, task: Task) {
    let what = format!("{:?}", task.what);
    let outcome = match tokio::time::timeout(DEADLINE, attempt(&net, task.number, task.what)).await {
        Ok(outcome) => outcome,
        Err(_) => Err(format!("it did not end within {} s", DEADLINE.as_secs())),
    };
    if let Err(error) = &outcome {
        tracing::info!(task = what, error, "a task on the network failed");
    }
    if let Err(error) = net.keeper.ask(&Request::Report { task: task.number, outcome }, REPORT).await {
        tracing::warn!(task = what, %error, "the report of a task was not taken");
    }
}

async fn attempt(net: &Arc<Net>, number: u64, what: TaskKind) -> Result<Vec<u8>, String> {
    match what {
        TaskKind::Join { address, server_key } => joining::by_token(net, number, &address, server_key).await,
        TaskKind::JoinByKerberos { address } => joining::by_kerberos(net, number, &address).await,
        TaskKind::Renew { authority, payload } => pulling::renew(net, &authority, payload).await,
        TaskKind::PullWrappingKey { from, nonce } => pulling::wrapping_key(net, &from, nonce).await,
        TaskKind::Disconnect { kids } => {
            net.peers.close(&kids);
            net.open.close(&kids);
            Ok(vec![])
        }
        TaskKind::RetryNow => {
            let _ = net.rounds.send(Event::RetryNow).await;
            Ok(vec![])
        }
    }
}
