//! The mesh on the network: the endpoints for peers, and what this host does with them.
//!
//! | room | what it does |
//! |---|---|
//! | [`endpoint`] | answers what others ask |
//! | [`peers`] | keeps connections to peers |
//! | [`exchange`] | one push or one probe |
//! | [`rounds`] | drives `reverie_core::mesh::round`, which says when and with whom |
//! | [`tasks`] | what the keeper wants done once |
//! | [`sealing`] | envelopes, with the keeper's help |
//! | [`book`] | what is known of each peer |

pub(super) mod book;
pub(super) mod conduct;
pub mod endpoint;
mod exchange;
pub(super) mod known;
pub(super) mod peers;
pub(super) mod refusals;
pub(super) mod rounds;
mod sealing;
pub(super) mod state;
mod tasks;

use std::sync::Arc;
use std::time::Duration;

use reverie_core::ipc::net::Request;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::keeper::Keeper;
use super::{Error, directory, federation, listener};
use crate::ops::channel::ChannelError;
use crate::ops::logging;
use book::Book;
use known::Known;
use state::Net;

/// Bytes of records in one message.
const PAGE: u32 = 1 << 20;
/// The keeper verifies every record of a page and makes them durable.
const MERGE: Duration = Duration::from_secs(60);
/// The keeper gathers a page.
const RECORDS: Duration = Duration::from_secs(20);
/// Events that may wait for the driver of the rounds.
const EVENTS: usize = 4096;
/// Counters are told this often, and quiet addresses forgotten.
const TELL: Duration = Duration::from_secs(5);

/// Follows the keeper's situation until the channel closes.
pub async fn run(keeper: Arc<Keeper>) -> Result<(), Error> {
    let (known_sender, known) = watch::channel(None);
    let (events, inbox) = mpsc::channel(EVENTS);
    let net = Arc::new(Net::new(Arc::clone(&keeper), known, events));
    // Dropped with this: nothing goes on without the keeper.
    let mut work = JoinSet::new();
    work.spawn(listener::run(Arc::clone(&net)));
    work.spawn(rounds::run(Arc::clone(&net), inbox));
    work.spawn(tasks::run(Arc::clone(&net)));
    work.spawn(directory::run(Arc::clone(&net)));
    work.spawn(tell(Arc::clone(&net)));
    work.spawn(federation::run(Arc::clone(&keeper)));
    let reporting = Arc::clone(&net);
    work.spawn(async move { Book::report(&reporting).await });

    let (mut seen, mut log_level) = (0, String::new());
    loop {
        match keeper.watch(seen).await {
            Ok(Some(situation)) => {
                seen = situation.number;
                if situation.settings.log_level != log_level {
                    log_level.clone_from(&situation.settings.log_level);
                    logging::set_level(&log_level);
                }
                let known = Arc::new(Known::from(situation));
                known_sender.send_replace(Some(Arc::clone(&known)));
                follow(&net, &known);
            }
            Ok(None) => {}
            Err(ChannelError::Closed { .. }) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}

/// What must not wait: whoever is not welcome any more loses its connections now.
fn follow(net: &Arc<Net>, known: &Arc<Known>) {
    net.peers.follow(known);
    net.open.follow(known);
    net.forget_strangers(known);
    net.book.follow(known);
    net.conduct.follow(known);
}

async fn tell(net: Arc<Net>) {
    let mut every = tokio::time::interval(TELL);
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        every.tick().await;
        net.rates.forget_quiet();
        net.handshakes.forget_quiet();
        let metrics = net.counters.read(net.open.count(), net.peers.count(), net.waiters.total());
        if let Err(error) = net.keeper.ask(&Request::Metrics(metrics), TELL).await {
            tracing::debug!(%error, "the keeper was not told of the counters");
        }
    }
}

/// Bytes of records in one message, so that it is not longer than `max` however badly it compresses.
fn page_limit(max: usize) -> u32 {
    PAGE.min(u32::try_from(max / 2).unwrap_or(PAGE))
}
