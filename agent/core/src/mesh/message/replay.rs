//! Which messages were seen. Bounded: what is forgotten is refused, never taken twice.

use std::collections::{BTreeMap, BTreeSet};

use super::{MAX_AGE, Message, MessageError, Nonce};
use crate::id::NodeId;
use crate::moment::Moment;

/// Messages remembered for one sender. The oldest are forgotten first, and with them all that is older.
const PER_SENDER: usize = 1024;

/// The nonces of the last [`MAX_AGE`], by sender. Senders are hosts whose pinned key signed, so they are as few as the peers.
#[derive(Debug)]
pub struct ReplayWindow {
    /// Nothing issued before is taken: what was seen by then is not known.
    since: Moment,
    senders: BTreeMap<NodeId, Sender>,
}

#[derive(Debug)]
struct Sender {
    seen: BTreeSet<(Moment, Nonce)>,
    /// Nothing issued at or before this is taken.
    floor: Option<Moment>,
}

impl ReplayWindow {
    /// A window that knows what was seen from `since` on: the start of the process.
    pub fn new(since: Moment) -> Self {
        Self { since, senders: BTreeMap::new() }
    }

    /// Takes a message once. It must have been read by [`Message::unpack`], so that it is neither stale nor far ahead.
    pub fn take(&mut self, message: &Message, now: Moment) -> Result<(), MessageError> {
        let stale = now.before(MAX_AGE);
        if message.issued_at < self.since.max(stale) {
            return Err(MessageError::Replayed);
        }
        self.senders.retain(|_, sender| {
            sender.seen = sender.seen.split_off(&(stale, [0; 16]));
            sender.floor = sender.floor.filter(|floor| *floor >= stale);
            !sender.seen.is_empty() || sender.floor.is_some()
        });
        let sender = self.senders.entry(message.sender.clone()).or_insert_with(|| Sender { seen: BTreeSet::new(), floor: None });
        if sender.floor.is_some_and(|floor| message.issued_at <= floor) {
            return Err(MessageError::Replayed);
        }
        if !sender.seen.insert((message.issued_at, message.nonce)) {
            return Err(MessageError::Replayed);
        }
        if sender.seen.len() > PER_SENDER
            && let Some((oldest, _)) = sender.seen.pop_first()
        {
            sender.floor = Some(oldest);
        }
        Ok(())
    }
}
