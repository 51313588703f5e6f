//! Server-sent events: the present first, then every rotation of the caller's identities and every change of trust.
//! The caller is judged again before each event.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Bytes, Frame};
use reverie_core::api::local::WatchEvent;
use reverie_core::api::{Code, Problem};
use reverie_core::rule::Verdict;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::answer::{Answer, Reply};
use super::call::Call;
use super::peer::Peer;
use crate::keeper::Keeper;

/// Events that may wait for a slow reader; past that the stream ends, and the reader starts over with the present.
const QUEUE: usize = 64;
/// A comment line, so that both sides notice a dead peer.
const KEEPALIVE: Duration = Duration::from_secs(20);

type Frames = mpsc::Sender<Result<Frame<Bytes>, Infallible>>;

pub(super) async fn watch(call: &Call<'_>) -> Answer {
    if own_identities(call.keeper, call.peer).is_empty() {
        return Err(Problem::new(Code::NotPermitted, "this process has no identity to watch")
            .advise("an administrator's `agentctl explain --pid PID` shows which rule comes nearest")
            .into());
    }
    let (frames, receiver) = mpsc::channel(QUEUE);
    let (keeper, peer) = (Arc::clone(call.keeper), Arc::clone(call.peer));
    call.keeper.tasks.spawn(feed(keeper, peer, frames));
    Ok(Reply::Events(StreamBody::new(ReceiverStream::new(receiver)).boxed_unsync()))
}

fn own_identities(keeper: &Keeper, peer: &Peer) -> Vec<reverie_core::id::IdentityName> {
    match keeper.policy().judge.judge(&peer.caller) {
        Verdict::Allow(rules) => rules.iter().map(|rule| rule.name.clone()).collect(),
        Verdict::Deny(_) => vec![],
    }
}

/// Is the caller still who it was, and may it still watch `name`?
async fn may_see(keeper: &Keeper, peer: &Peer, name: &reverie_core::id::IdentityName) -> bool {
    let policy = keeper.policy();
    let Ok(rule) = policy.judge.judge_for(&peer.caller, name) else { return false };
    !rule.rests_on_executable() || peer.check_executable(keeper).await.is_ok()
}

async fn feed(keeper: Arc<Keeper>, peer: Arc<Peer>, frames: Frames) {
    // Subscribed before the present is read, so that nothing falls between.
    let (mut generations, mut trust, mut policies) = (keeper.store.watch(), keeper.watch_issuers(), keeper.watch_policy());
    if !send_present(&keeper, &peer, &frames).await {
        return;
    }
    loop {
        let going_on = tokio::select! {
            generation = generations.recv() => match generation {
                Ok(generation) => {
                    let event = WatchEvent::Rotation {
                        identity: generation.identity.to_string(),
                        serial: generation.serial.to_string(),
                        generation: generation.number,
                    };
                    match may_see(&keeper, &peer, &generation.identity).await {
                        true => send(&frames, &event),
                        false => true,
                    }
                }
                Err(RecvError::Lagged(_)) => send_present(&keeper, &peer, &frames).await,
                Err(RecvError::Closed) => false,
            },
            changed = trust.changed() => {
                let digest = trust.borrow_and_update().digest.clone();
                // One who may see nothing any more learns of it below, and of nothing before.
                changed.is_ok() && (!is_admitted(&keeper, &peer) || send(&frames, &WatchEvent::Trust { digest }))
            }
            changed = policies.changed() => changed.is_ok(),
            () = tokio::time::sleep(KEEPALIVE) => send_text(&frames, ":\n\n".to_owned()),
            () = frames.closed() => false,
            () = keeper.stopping.cancelled() => false,
        };
        let refused = !is_admitted(&keeper, &peer);
        if refused {
            send(&frames, &WatchEvent::Refused);
        }
        if refused || !going_on {
            return;
        }
    }
}

fn is_admitted(keeper: &Keeper, peer: &Peer) -> bool {
    peer.check_alive().is_ok() && !own_identities(keeper, peer).is_empty()
}

async fn send_present(keeper: &Keeper, peer: &Peer, frames: &Frames) -> bool {
    for name in own_identities(keeper, peer) {
        if let Some(generation) = keeper.store.current(&name)
            && may_see(keeper, peer, &name).await
        {
            let serial = generation.serial.to_string();
            if !send(frames, &WatchEvent::Rotation { identity: name.to_string(), serial, generation: generation.number }) {
                return false;
            }
        }
    }
    send(frames, &WatchEvent::Trust { digest: keeper.issuers().digest.clone() })
}

fn send(frames: &Frames, event: &WatchEvent) -> bool {
    match serde_json::to_string(event) {
        Ok(data) => send_text(frames, format!("data: {data}\n\n")),
        Err(_) => false,
    }
}

/// False if the reader is gone, or so slow that its queue is full.
fn send_text(frames: &Frames, text: String) -> bool {
    frames.try_send(Ok(Frame::data(Bytes::from(text)))).is_ok()
}
