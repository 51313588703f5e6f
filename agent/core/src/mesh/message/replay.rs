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
    /// When quiet senders are forgotten next.
    sweep: Moment,
    senders: BTreeMap<NodeId, Sender>,
}

#[derive(Debug)]
struct Sender {
    seen: BTreeSet<(Moment, Nonce)>,
    /// Nothing issued at or before this is taken.
    floor: Option<Moment>,
}

impl Sender {
    /// Forgets what is refused by its age; false if nothing is left.
    fn forget(&mut self, stale: Moment) -> bool {
        if self.seen.first().is_some_and(|(at, _)| *at < stale) {
            self.seen = self.seen.split_off(&(stale, [0; 16]));
        }
        self.floor = self.floor.filter(|floor| *floor >= stale);
        !self.seen.is_empty() || self.floor.is_some()
    }
}

impl ReplayWindow {
    /// A window that knows what was seen from `since` on: the start of the process.
    pub fn new(since: Moment) -> Self {
        Self { since, sweep: since.after(MAX_AGE), senders: BTreeMap::new() }
    }

    /// Takes a message once. It must have been read by [`Message::unpack`], so that it is neither stale nor far ahead.
    pub fn take(&mut self, message: &Message, now: Moment) -> Result<(), MessageError> {
        let stale = now.before(MAX_AGE);
        if message.issued_at < self.since.max(stale) {
            return Err(MessageError::Replayed);
        }
        // Now and then, so that a message costs no walk over all hosts.
        if now >= self.sweep || self.sweep > now.after(MAX_AGE) {
            self.sweep = now.after(MAX_AGE);
            self.senders.retain(|_, sender| sender.forget(stale));
        }
        let sender = self.senders.entry(message.sender.clone()).or_insert_with(|| Sender { seen: BTreeSet::new(), floor: None });
        sender.forget(stale);
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
