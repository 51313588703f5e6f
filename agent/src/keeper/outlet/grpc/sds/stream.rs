//! One stream of Envoy's: requests come, and what is due goes out when it changes.

use std::sync::Arc;
use std::time::Duration;

use reverie_core::api::{Code, Problem};
use reverie_core::config::Identity;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Response, Status, Streaming};

use super::super::changes::Changes;
use super::super::failure::refuse;
use super::super::feed::{Messages, OpenStream, STALL, stopping};
use super::super::holdings;
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
    call: &'static str,
    protocol: P,
    requests: Streaming<P::Request>,
) -> Response<Messages<P::Response>> {
    let (responses, receiver) = mpsc::channel(1);
    keeper.tasks.spawn(serve(Arc::clone(keeper), Arc::clone(peer), call, protocol, requests, responses));
    Response::new(ReceiverStream::new(receiver))
}

async fn serve<P: Protocol>(
    keeper: Arc<Keeper>,
    peer: Arc<Peer>,
    call: &'static str,
    mut protocol: P,
    mut requests: Streaming<P::Request>,
    responses: mpsc::Sender<Result<P::Response, Status>>,
) {
    let _gauge = OpenStream::new(call);
    let ended = converse(&keeper, &peer, call, &mut protocol, &mut requests, &responses).await;
    let status = match ended {
        Ok(Some(status)) => status,
        Ok(None) => return,
        Err(failure) => refuse(&keeper, &peer, call, failure).await,
    };
    let _ = tokio::time::timeout(STALL, responses.send(Err(status))).await;
}

async fn converse<P: Protocol>(
    keeper: &Arc<Keeper>,
    peer: &Peer,
    call: &'static str,
    protocol: &mut P,
    requests: &mut Streaming<P::Request>,
    responses: &mpsc::Sender<Result<P::Response, Status>>,
) -> Result<Option<Status>, Failure> {
    let (mut changes, mut denied) = (Changes::watch(keeper), Denied::default());
    let Ok(first) = tokio::time::timeout(FIRST_REQUEST, requests.message()).await else {
        return Ok(Some(Status::deadline_exceeded("no request came on this stream")));
    };
    let mut request = first;
    loop {
        let look = match request {
            Ok(Some(request)) => {
                let taken = protocol.take(request)?;
                if let Some(said) = &taken.rejected {
                    metrics::counter!("reverie_sds_rejections_total").increment(1);
                    tracing::warn!(pid = peer.caller.pid, "Envoy rejects a secret and goes on with what it had: {said}");
                }
                taken.look
            }
            // It has gone.
            Ok(None) => return Ok(None),
            Err(status) => return Ok(Some(status)),
        };
        let mut look = look;
        request = loop {
            if look && !push(keeper, peer, call, protocol, responses, &mut denied).await? {
                return Ok(None);
            }
            tokio::select! {
                request = requests.message() => break request,
                () = changes.next(keeper, peer) => look = true,
                () = responses.closed() => return Ok(None),
                () = keeper.stopping.cancelled() => return Ok(Some(stopping())),
            }
        };
        // Each may lead to a key that is handed out.
        if matches!(&request, Ok(Some(_))) && !keeper.rates.admit(peer.caller.uid, &keeper.policy().config.limits) {
            return Err(Problem::new(Code::TooMany, "this user makes too many requests").advise("wait a second").into());
        }
    }
}

/// Sends what is due, if anything is. False if the reader has gone, or takes nothing.
async fn push<P: Protocol>(
    keeper: &Arc<Keeper>,
    peer: &Peer,
    call: &'static str,
    protocol: &mut P,
    responses: &mpsc::Sender<Result<P::Response, Status>>,
    denied: &mut Denied,
) -> Result<bool, Failure> {
    let Ok(Ok(place)) = tokio::time::timeout(STALL, responses.reserve()).await else {
        tracing::debug!(call, pid = peer.caller.pid, "a reader went, or takes nothing");
        return Ok(false);
    };
    if let Some(response) = due(keeper, peer, protocol, denied).await? {
        metrics::counter!("reverie_pushes_total", "call" => call).increment(1);
        place.send(Ok(response));
    }
    Ok(true)
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
