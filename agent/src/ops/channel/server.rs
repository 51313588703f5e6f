//! The answering end: blocking, for roles without a runtime.

use std::io;
use std::marker::PhantomData;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use reverie_core::ipc::{self, Hello, Numbered, ProtocolError};
use reverie_sys::seqpacket::{self, Receiver};
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use serde::{Serialize, de::DeserializeOwned};
use zeroize::Zeroizing;

use super::{ChannelError, HELLO_DEADLINE};

/// How long the keeper may leave a reply unread before it is given up.
const SEND_DEADLINE: Duration = Duration::from_secs(60);

/// Receives requests `Q` and sends replies `R`.
#[derive(Debug)]
pub struct Server<Q, R> {
    socket: Arc<OwnedFd>,
    receiver: Receiver,
    request: PhantomData<fn() -> Q>,
    reply: PhantomData<fn(&R)>,
}

/// A request as it came.
#[derive(Debug)]
pub struct Incoming<Q> {
    /// What the reply must repeat.
    pub id: u64,
    /// The request, unless its bytes made no sense.
    pub body: Result<Q, ProtocolError>,
    /// The descriptors beside it.
    pub descriptors: Vec<OwnedFd>,
}

/// Where replies go, from any thread.
#[derive(Debug)]
pub struct Replies<R> {
    socket: Arc<OwnedFd>,
    reply: PhantomData<fn(&R)>,
}

impl<R> Clone for Replies<R> {
    fn clone(&self) -> Self {
        Self { socket: Arc::clone(&self.socket), reply: PhantomData }
    }
}

impl<Q: DeserializeOwned, R: Serialize> Server<Q, R> {
    /// Greets the keeper as `role`, and checks that it is a keeper of our version.
    pub fn accept(socket: OwnedFd, role: &str) -> Result<Self, ChannelError> {
        rustix::io::ioctl_fionbio(&socket, false).map_err(io::Error::from)?;
        set_socket_timeout(&socket, Timeout::Send, Some(SEND_DEADLINE)).map_err(io::Error::from)?;
        set_socket_timeout(&socket, Timeout::Recv, Some(HELLO_DEADLINE)).map_err(io::Error::from)?;
        seqpacket::send(&socket, &ipc::encode(&Hello::from_role(role))?, &[])?;
        let mut receiver = Receiver::new(ipc::MAX_MESSAGE);
        let hello = match receiver.recv(&socket) {
            Ok(Some(message)) => ipc::decode::<Hello>(&message.bytes)?,
            Ok(None) => return Err(ChannelError::Closed { role: "keeper".into(), reason: "it ended before it greeted".into() }),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return Err(ChannelError::Deadline { role: "keeper".into(), deadline: HELLO_DEADLINE });
            }
            Err(error) => return Err(error.into()),
        };
        hello.expect_role("keeper")?;
        set_socket_timeout(&socket, Timeout::Recv, None).map_err(io::Error::from)?;
        Ok(Self { socket: Arc::new(socket), receiver, request: PhantomData, reply: PhantomData })
    }

    /// From now on, [`receive`](Self::receive) fails with `WouldBlock` when nothing comes within `timeout`.
    pub fn set_receive_timeout(&self, timeout: Duration) -> Result<(), ChannelError> {
        Ok(set_socket_timeout(&*self.socket, Timeout::Recv, Some(timeout)).map_err(io::Error::from)?)
    }

    /// The next request; `None` when the keeper has closed its end.
    ///
    /// A message from which not even a number can be read is dropped, with a warning: nobody could be answered.
    pub fn receive(&mut self) -> Result<Option<Incoming<Q>>, ChannelError> {
        loop {
            let message = match self.receiver.recv(&*self.socket) {
                Ok(Some(message)) => message,
                Ok(None) => return Ok(None),
                Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                    tracing::warn!(%error, "a message from the keeper was dropped");
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            // The number apart from the rest, so that nonsense can be answered.
            let Ok((id, body)) = postcard::take_from_bytes::<u64>(&message.bytes) else {
                tracing::warn!("a message from the keeper without a number was dropped");
                continue;
            };
            return Ok(Some(Incoming { id, body: ipc::decode(body), descriptors: message.descriptors }));
        }
    }

    /// Where the replies go.
    pub fn replies(&self) -> Replies<R> {
        Replies { socket: Arc::clone(&self.socket), reply: PhantomData }
    }
}

impl<R: Serialize> Replies<R> {
    /// Sends the reply to request `id`.
    pub fn send(&self, id: u64, body: &R) -> Result<(), ChannelError> {
        let bytes = Zeroizing::new(ipc::encode(&Numbered { id, body })?);
        if bytes.len() > ipc::MAX_MESSAGE {
            return Err(ChannelError::TooLong { bytes: bytes.len(), limit: ipc::MAX_MESSAGE });
        }
        Ok(seqpacket::send(&*self.socket, &bytes, &[])?)
    }
}
