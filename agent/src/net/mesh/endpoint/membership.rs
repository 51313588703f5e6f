//! `POST /api/gossip/membership`: a datagram of the membership protocol, from one peer to another. What the machine has to say
//! to that peer at once goes back with the answer.

use std::sync::Arc;
use std::time::Duration;

use hyper::Request;
use hyper::body::Incoming;
use reverie_core::mesh::round::MAX_DATAGRAM;
use tokio::sync::oneshot;

use super::super::rounds::Event;
use super::super::state::Net;
use super::gate;
use crate::net::http::{Answer, Caller, Refusal, content_type, read};

/// What a datagram is called.
pub const MEDIA: &str = "application/octet-stream";
const BODY: Duration = Duration::from_secs(5);
/// The machine answers at once.
const DEADLINE: Duration = Duration::from_secs(2);

pub async fn answer(net: &Arc<Net>, caller: &Caller, request: Request<Incoming>) -> Result<Answer, Refusal> {
    let peer = gate::peer(net, caller)?;
    if content_type(request.headers()) != MEDIA {
        return Err(Refusal::media(MEDIA));
    }
    let bytes = read(request.into_body(), MAX_DATAGRAM, BODY).await?;
    let (sender, answer) = oneshot::channel();
    let event = Event::Membership { from: peer.node.clone(), bytes, answer: Some(sender) };
    net.rounds.try_send(event).map_err(|_| Refusal::unavailable("the rounds are behind"))?;
    match tokio::time::timeout(DEADLINE, answer).await {
        Ok(Ok(bytes)) => Ok(Answer::bytes(MEDIA, bytes)),
        _ => Ok(Answer::nothing()),
    }
}
