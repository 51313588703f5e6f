//! The answering end in tokio, for the keeper: another role asks, many requests at once.

use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use reverie_core::ipc::{self, Numbered, ProtocolError};
use reverie_sys::seqpacket::Receiver;
use serde::{Serialize, de::DeserializeOwned};
use tokio::net::UnixStream;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use zeroize::Zeroizing;

use super::ChannelError;
use super::wire::{closed, greet, receive, send};

/// Receives requests `Q` and sends replies `R`.
#[derive(Debug)]
pub struct Answering<Q, R> {
    role: String,
    socket: Arc<UnixStream>,
    receiver: Receiver,
    request: PhantomData<fn() -> Q>,
    reply: PhantomData<fn(&R)>,
}

/// A reply, and a descriptor if one goes with it.
#[derive(Debug)]
pub struct Answer<R> {
    body: R,
    descriptor: Option<OwnedFd>,
}

impl<R> From<R> for Answer<R> {
    fn from(body: R) -> Self {
        Self { body, descriptor: None }
    }
}

impl<R> Answer<R> {
    /// With a descriptor beside it.
    pub fn with(body: R, descriptor: OwnedFd) -> Self {
        Self { body, descriptor: Some(descriptor) }
    }
}

impl<Q: DeserializeOwned + Send + 'static, R: Serialize + Send + 'static> Answering<Q, R> {
    /// Greets the process at the other end of `socket` as the keeper, and checks that it is `role` in our version.
    pub async fn accept(socket: OwnedFd, role: &str) -> Result<Self, ChannelError> {
        let (socket, receiver) = greet(socket, "keeper", role).await?;
        Ok(Self { role: role.to_owned(), socket: Arc::new(socket), receiver, request: PhantomData, reply: PhantomData })
    }

    /// Answers until the other end closes, with at most `at_once` requests in work; a further one is not even read.
    /// `answer` gets an error for a request whose bytes made no sense. When this ends or is dropped, what is in work is dropped.
    pub async fn serve<H, F>(mut self, at_once: usize, answer: H) -> Result<(), ChannelError>
    where
        H: Fn(Result<Q, ProtocolError>, Vec<OwnedFd>) -> F,
        F: Future<Output: Into<Answer<R>> + Send> + Send + 'static,
    {
        let turns = Arc::new(Semaphore::new(at_once));
        let mut work = JoinSet::new();
        loop {
            let turn = Arc::clone(&turns).acquire_owned().await.map_err(|_| closed(&self.role, "it was disconnected"))?;
            while work.try_join_next().is_some() {}
            let message = match receive(&self.socket, &mut self.receiver).await {
                Ok(Some(message)) => message,
                Ok(None) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                    tracing::warn!(role = self.role, %error, "a message from another role was dropped");
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            // The number apart from the rest, so that nonsense can be answered.
            let Ok((id, body)) = postcard::take_from_bytes::<u64>(&message.bytes) else {
                tracing::warn!(role = self.role, "a message from another role without a number was dropped");
                continue;
            };
            let answer = answer(ipc::decode(body), message.descriptors);
            let (socket, role) = (Arc::clone(&self.socket), self.role.clone());
            work.spawn(async move {
                let answer: Answer<R> = answer.await.into();
                let descriptors: Vec<_> = answer.descriptor.iter().map(AsFd::as_fd).collect();
                let sent = match encode(id, &answer.body) {
                    Ok(bytes) => send(&socket, &bytes, &descriptors).await,
                    Err(error) => Err(error),
                };
                // A reply that is not sent is missed at the other end by its deadline.
                sent.unwrap_or_else(|error| tracing::warn!(role, %error, "a reply to another role was not sent"));
                drop(turn);
            });
        }
    }
}

fn encode<R: Serialize>(id: u64, body: &R) -> Result<Zeroizing<Vec<u8>>, ChannelError> {
    let bytes = Zeroizing::new(ipc::encode(&Numbered { id, body })?);
    match bytes.len() > ipc::MAX_MESSAGE {
        true => Err(ChannelError::TooLong { bytes: bytes.len(), limit: ipc::MAX_MESSAGE }),
        false => Ok(bytes),
    }
}
