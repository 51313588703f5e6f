//! One stream of Envoy's: requests come, and what is due goes out when it changes.

use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::unfold;
use reverie_core::api::{Code, Problem};
use reverie_core::config::Identity;
use tonic::{Status, Streaming};

use super::super::changes::Changes;
use super::super::failure::refuse;
use super::super::feed::{Messages, OpenStream, stopping};
use super::super::holdings;
use super::super::room::Room;
use super::found::{Denied, find};
use super::protocol::Protocol;
use crate::keeper::Keeper;
use crate::keeper::identity::store::Generation;
use crate::keeper::local::answer::Failure;
use crate::keeper::local::peer::Peer;

/// Who opens a stream says what for.
const FIRST_REQUEST: Duration = Duration::from_secs(30);

pub(super) fn follow<P: Protocol>(
    keeper: &Arc<Keeper>,
    peer: &Arc<Peer>,
    room: &Arc<Room>,
    call: &'static str,
    protocol: P,
    requests: Streaming<P::Request>,
) -> Messages<P::Response> {
    let conversation = Conversation {
        changes: Changes::watch(keeper),
        keeper: Arc::clone(keeper),
        peer: Arc::clone(peer),
        room: Arc::clone(room),
        call,
        protocol,
        requests,
        denied: Denied::default(),
        begun: false,
        _gauge: OpenStream::new(call),
    };
    Box::pin(unfold(Some(conversation), |conversation| async {
        let mut conversation = conversation?;
        let status = match conversation.next().await {
            Ok(response) => return Some((Ok(response), Some(conversation))),
            Err(Ended::Gone) => return None,
            Err(Ended::Said(status)) => status,
            Err(Ended::Failed(failure)) => refuse(&conversation.keeper, &conversation.peer, conversation.call, failure).await,
        };
        Some((Err(status), None))
    }))
}

struct Conversation<P: Protocol> {
    keeper: Arc<Keeper>,
    peer: Arc<Peer>,
    room: Arc<Room>,
    call: &'static str,
    protocol: P,
    requests: Streaming<P::Request>,
    changes: Changes,
    denied: Denied,
    /// The first request has come.
    begun: bool,
    _gauge: OpenStream,
}

/// Why a stream ends.
enum Ended {
    /// The client has nothing more to say.
    Gone,
    Said(Status),
    Failed(Failure),
}

impl From<Failure> for Ended {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl<P: Protocol> Conversation<P> {
    /// The response that is due next.
    async fn next(&mut self) -> Result<P::Response, Ended> {
        loop {
            if !self.wait().await? {
                continue;
            }
            self.room.reserve().await?;
            if let Some(response) = due(&self.keeper, &self.peer, &mut self.protocol, &mut self.denied).await? {
                metrics::counter!("reverie_pushes_total", "call" => self.call).increment(1);
                return Ok(response);
            }
            self.room.release();
        }
    }

    /// Waits for a request or a change; true if it is worth to look again.
    async fn wait(&mut self) -> Result<bool, Ended> {
        let request = if self.begun {
            tokio::select! {
                request = self.requests.message() => request,
                () = self.changes.next(&self.keeper, &self.peer) => return Ok(true),
                () = self.keeper.stopping.cancelled() => return Err(Ended::Said(stopping())),
            }
        } else {
            // Who has nothing keeps no stream open, and sends nothing that is kept.
            holdings::identities(&self.keeper, &self.peer).await?;
            let first = tokio::time::timeout(FIRST_REQUEST, self.requests.message()).await;
            first.map_err(|_| Ended::Said(Status::deadline_exceeded("no request came on this stream")))?
        };
        let request = request.map_err(Ended::Said)?.ok_or(Ended::Gone)?;
        // Each may lead to a key that is handed out.
        let limits = &self.keeper.policy().config.limits;
        if std::mem::replace(&mut self.begun, true) && !self.keeper.rates.admit(self.peer.caller.uid, limits) {
            let excess = Problem::new(Code::TooMany, "this user makes too many requests").advise("wait a second");
            return Err(Ended::Failed(excess.into()));
        }
        let taken = self.protocol.take(request)?;
        if let Some(said) = &taken.rejected {
            metrics::counter!("reverie_sds_rejections_total").increment(1);
            tracing::warn!(pid = self.peer.caller.pid, "Envoy rejects a secret and goes on with what it had: {said}");
        }
        Ok(taken.look)
    }
}

/// What is to be sent now. What holds a key is in the audit log when this returns.
pub(super) async fn due<P: Protocol>(
    keeper: &Arc<Keeper>,
    peer: &Peer,
    protocol: &mut P,
    denied: &mut Denied,
) -> Result<Option<P::Response>, Failure> {
    loop {
        let found = find(keeper, peer, &protocol.names(), denied).await?;
        let Some(due) = protocol.due(&found) else { return Ok(None) };
        let handed: Vec<_> = due.changed.iter().filter_map(|name| found.get(name)?.handed()).collect();
        holdings::record(keeper, peer, &handed, "by Envoy SDS").await?;
        let own = if handed.is_empty() { vec![] } else { holdings::identities(keeper, peer).await? };
        let stands = |(identity, generation): &(&Identity, &Generation)| {
            own.contains(identity) && holdings::is_current(keeper, generation)
        };
        if handed.iter().all(stands) {
            let mut nonce = [0; 16];
            aws_lc_rs::rand::fill(&mut nonce).map_err(|_| Problem::new(Code::Internal, "there is no randomness"))?;
            let nonce = data_encoding::HEXLOWER.encode(&nonce);
            return Ok(Some(protocol.respond(keeper, &found, &due, nonce)));
        }
    }
}
