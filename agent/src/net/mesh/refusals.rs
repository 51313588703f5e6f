//! Refusals for the audit log: each once a minute, and not more than the log can bear.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use reverie_core::ipc::net::Request;

use crate::net::keeper::Keeper;

/// The same refusal is told again after so long.
const AGAIN: Duration = Duration::from_secs(60);
/// Different ones remembered; while there are so many, no further one is told.
const MAX: usize = 256;
/// Bytes of a text.
const MAX_TEXT: usize = 300;
const DEADLINE: Duration = Duration::from_secs(10);

/// Tells the keeper.
#[derive(Debug)]
pub struct Refusals {
    keeper: Arc<Keeper>,
    told: Mutex<HashMap<(String, &'static str), Instant>>,
}

impl Refusals {
    /// Nobody was refused yet.
    pub fn new(keeper: Arc<Keeper>) -> Self {
        Self { keeper, told: Mutex::default() }
    }

    /// Somebody was: `peer` is a name or a key, `error` the kind.
    pub fn tell(&self, peer: &str, address: SocketAddr, error: &'static str, reason: &str) {
        if !self.is_new((peer.chars().take(MAX_TEXT).collect(), error), Instant::now()) {
            return;
        }
        let cut = |text: &str| text.chars().take(MAX_TEXT).collect();
        let request = Request::Refused { peer: cut(peer), address: Some(address), reason: cut(reason) };
        let keeper = Arc::clone(&self.keeper);
        tokio::spawn(async move {
            if let Err(error) = keeper.ask(&request, DEADLINE).await {
                tracing::debug!(%error, "a refusal was not recorded");
            }
        });
    }

    fn is_new(&self, what: (String, &'static str), now: Instant) -> bool {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.retain(|_, at| now.duration_since(*at) < AGAIN);
        if told.len() >= MAX || told.contains_key(&what) {
            return false;
        }
        told.insert(what, now);
        true
    }
}
