//! The asking end.

use std::collections::HashMap;
use std::marker::PhantomData;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use reverie_core::ipc::{self, Numbered};
use reverie_sys::seqpacket::Receiver;
use serde::{Serialize, de::DeserializeOwned};
use tokio::net::UnixStream;
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinHandle;
use zeroize::Zeroizing;

use super::ChannelError;
use super::wire::{closed, deadline, greet, receive, send};

/// Calls that may be on their way at once; a further one waits its turn, within its deadline.
const MAX_IN_FLIGHT: usize = 256;

/// Requests `Q` to a role, and its replies `R`. Shared by reference; dropping it ends the other process.
pub struct Channel<Q, R> {
    link: Arc<Link<R>>,
    turns: Semaphore,
    next_id: AtomicU64,
    reader: JoinHandle<()>,
    request: PhantomData<fn(&Q)>,
}

struct Link<R> {
    role: String,
    socket: UnixStream,
    pending: Mutex<Pending<R>>,
}

struct Pending<R> {
    waiting: HashMap<u64, oneshot::Sender<(R, Vec<OwnedFd>)>>,
    /// Why no reply will come any more.
    closed: Option<String>,
}

impl<Q, R> std::fmt::Debug for Channel<Q, R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Channel").field("role", &self.link.role).field("closed", &self.is_closed()).finish_non_exhaustive()
    }
}

impl<Q: Serialize, R: DeserializeOwned + Send + 'static> Channel<Q, R> {
    /// Greets the process at the other end of `socket` as the keeper, and checks that it is `role` in our version.
    pub async fn connect(socket: OwnedFd, role: &str) -> Result<Self, ChannelError> {
        Self::connect_as(socket, "keeper", role, MAX_IN_FLIGHT).await
    }

    /// The same for any role that asks, as `ours`, with at most `at_once` calls on their way.
    pub async fn connect_as(socket: OwnedFd, ours: &str, role: &str, at_once: usize) -> Result<Self, ChannelError> {
        let (socket, receiver) = greet(socket, ours, role).await?;
        let pending = Mutex::new(Pending { waiting: HashMap::new(), closed: None });
        let link = Arc::new(Link { role: role.to_owned(), socket, pending });
        let reader = tokio::spawn(Arc::clone(&link).read_replies(receiver));
        Ok(Self { link, turns: Semaphore::new(at_once), next_id: AtomicU64::new(0), reader, request: PhantomData })
    }

    /// Sends `request`, with a descriptor if it goes with one, and waits for its reply until `within` has passed.
    pub async fn call(&self, request: &Q, descriptor: Option<BorrowedFd<'_>>, within: Duration) -> Result<R, ChannelError> {
        self.call_for(request, descriptor, within).await.map(|(reply, _)| reply)
    }

    /// The same, with the descriptors that came beside the reply.
    pub async fn call_for(
        &self,
        request: &Q,
        descriptor: Option<BorrowedFd<'_>>,
        within: Duration,
    ) -> Result<(R, Vec<OwnedFd>), ChannelError> {
        tokio::time::timeout(within, self.ask(request, descriptor))
            .await
            .unwrap_or_else(|_| Err(deadline(&self.link.role, within)))
    }

    async fn ask(&self, request: &Q, descriptor: Option<BorrowedFd<'_>>) -> Result<(R, Vec<OwnedFd>), ChannelError> {
        let _turn = self.turns.acquire().await.map_err(|_| self.link.closed())?;
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        // It may hold a private key on its way to a file.
        let bytes = Zeroizing::new(ipc::encode(&Numbered { id, body: request })?);
        if bytes.len() > ipc::MAX_MESSAGE {
            return Err(ChannelError::TooLong { bytes: bytes.len(), limit: ipc::MAX_MESSAGE });
        }
        let (sender, reply) = oneshot::channel();
        let _waiting = self.link.wait_for(id, sender)?;
        if let Err(error) = send(&self.link.socket, &bytes, descriptor.as_slice()).await {
            self.link.close(&error.to_string());
        }
        reply.await.map_err(|_| self.link.closed())
    }
}

impl<Q, R> Channel<Q, R> {
    /// True once the other process is gone: connect a new one.
    pub fn is_closed(&self) -> bool {
        self.link.pending().closed.is_some()
    }
}

impl<Q, R> Drop for Channel<Q, R> {
    fn drop(&mut self) {
        // The reader holds the socket; the other process ends when it is closed.
        self.reader.abort();
    }
}

impl<R> Link<R> {
    fn pending(&self) -> MutexGuard<'_, Pending<R>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn closed(&self) -> ChannelError {
        closed(&self.role, self.pending().closed.as_deref().unwrap_or("it was disconnected"))
    }

    fn close(&self, reason: &str) {
        let mut pending = self.pending();
        pending.closed.get_or_insert_with(|| reason.to_owned());
        // Dropping the senders fails every waiting call.
        pending.waiting.clear();
    }

    fn wait_for(&self, id: u64, sender: oneshot::Sender<(R, Vec<OwnedFd>)>) -> Result<Waiting<'_, R>, ChannelError> {
        let mut pending = self.pending();
        if let Some(reason) = &pending.closed {
            return Err(closed(&self.role, reason));
        }
        pending.waiting.insert(id, sender);
        Ok(Waiting { link: self, id })
    }
}

impl<R: DeserializeOwned> Link<R> {
    async fn read_replies(self: Arc<Self>, mut receiver: Receiver) {
        let reason = loop {
            match receive(&self.socket, &mut receiver).await {
                Ok(Some(message)) => match ipc::decode::<Numbered<R>>(&message.bytes) {
                    Ok(Numbered { id, body }) => {
                        // A reply that nobody waits for came after its deadline.
                        if let Some(sender) = self.pending().waiting.remove(&id) {
                            let _ = sender.send((body, message.descriptors));
                        }
                    }
                    Err(error) => break error.to_string(),
                },
                Ok(None) => break "it closed the connection".to_owned(),
                // Descriptors that found no place here: its asker waits in vain, the next message is whole.
                Err(error) if error.kind() == std::io::ErrorKind::InvalidData => {
                    tracing::warn!(%error, "an answer was lost; is the limit of open files reached?");
                }
                Err(error) => break error.to_string(),
            }
        };
        self.close(&reason);
    }
}

/// Forgets a call that is no longer waited for, whichever way it ended.
struct Waiting<'a, R> {
    link: &'a Link<R>,
    id: u64,
}

impl<R> Drop for Waiting<'_, R> {
    fn drop(&mut self) {
        self.link.pending().waiting.remove(&self.id);
    }
}
