//! What the role asks of the keeper, with a deadline for each.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdStream;
use std::time::Duration;

use reverie_core::config::Tunnel;
use reverie_core::id::TunnelName;
use reverie_core::ipc::net::Side;
use reverie_core::ipc::tunnel::{MAX_TRUST, Reply, Request, Situation, Trust};

use crate::ops::channel::{Channel, ChannelError, detach};

/// Calls on their way at once.
const AT_ONCE: usize = 4096;
/// The keeper answers what waits after 25 s at the latest.
const WATCH: Duration = Duration::from_secs(40);
/// The keeper signs in well under a millisecond; a handshake that waits longer is given up.
const SIGN: Duration = Duration::from_secs(5);
/// For everything else.
const DEADLINE: Duration = Duration::from_secs(10);

/// The keeper, at the other end of the channel.
#[derive(Debug)]
pub(super) struct Keeper {
    channel: Channel<Request, Reply>,
}

fn odd(reply: &Reply) -> String {
    match reply {
        Reply::Failed(why) => why.clone(),
        _ => "the keeper gave an answer to another question".to_owned(),
    }
}

impl Keeper {
    pub(super) async fn connect(socket: OwnedFd) -> Result<Self, ChannelError> {
        Ok(Self { channel: Channel::connect_as(socket, "tunnel", "keeper", AT_ONCE).await? })
    }

    /// The situation, once it is another than number `seen`; `None` if it stayed the same for a while.
    pub(super) async fn watch(&self, seen: u64) -> Result<Option<Box<Situation>>, ChannelError> {
        match self.channel.call(&Request::Watch { seen }, None, WATCH).await {
            Ok(Reply::Situation(situation)) => Ok(situation),
            Ok(other) => {
                tracing::warn!(why = odd(&other), "the keeper did not tell the situation");
                tokio::time::sleep(Duration::from_secs(1)).await;
                Ok(None)
            }
            Err(ChannelError::Deadline { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The trust of that number; `None` if there is another by now.
    pub(super) async fn trust(&self, number: u64) -> Result<Option<Trust>, ChannelError> {
        match self.channel.call_for(&Request::Trust { number }, None, DEADLINE).await {
            Ok((Reply::Trust, descriptors)) => match descriptors.first() {
                Some(attached) => Ok(Some(detach(attached, MAX_TRUST)?)),
                None => Ok(None),
            },
            // What is open goes on by what was trusted before, until the keeper has time.
            Ok(_) | Err(ChannelError::Deadline { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The next caller of a tunnel's socket, by its uid; `None` if none came for a while.
    pub(super) async fn accept(&self, declared: &Tunnel) -> Result<Option<(u32, StdStream)>, String> {
        let request = Request::Accept { tunnel: declared.name.clone(), identity: declared.identity.clone() };
        match self.channel.call_for(&request, None, WATCH).await {
            Ok((Reply::Connection { uid }, descriptors)) => Ok(one(descriptors).map(|stream| (uid, stream))),
            Ok((Reply::Nothing, _)) | Err(ChannelError::Deadline { .. }) => Ok(None),
            Ok((other, _)) => Err(odd(&other)),
            Err(error) => Err(error.to_string()),
        }
    }

    /// A connection to the unix socket that a tunnel leads to.
    pub(super) async fn open(&self, tunnel: &TunnelName) -> Result<StdStream, String> {
        match self.channel.call_for(&Request::Connect(tunnel.clone()), None, DEADLINE).await {
            Ok((Reply::Connection { .. }, descriptors)) => one(descriptors).ok_or_else(|| "no connection came".to_owned()),
            Ok((other, _)) => Err(odd(&other)),
            Err(error) => Err(error.to_string()),
        }
    }

    /// A handshake's signature. Blocks: for threads that may.
    pub(super) fn sign(&self, tunnel: TunnelName, serial: String, side: Side, transcript: Vec<u8>) -> Result<Vec<u8>, String> {
        let request = Request::SignHandshake { tunnel, serial, side, transcript };
        let ask = self.channel.call(&request, None, SIGN);
        match tokio::runtime::Handle::current().block_on(ask) {
            Ok(Reply::Signature(signature)) => Ok(signature),
            Ok(other) => Err(odd(&other)),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Tells it something.
    pub(super) async fn tell(&self, request: &Request) {
        if let Err(error) = self.channel.call(request, None, DEADLINE).await {
            tracing::debug!(%error, "the keeper was not told");
        }
    }
}

fn one(descriptors: Vec<OwnedFd>) -> Option<StdStream> {
    let [descriptor] = <[OwnedFd; 1]>::try_from(descriptors).ok()?;
    Some(descriptor.into())
}
