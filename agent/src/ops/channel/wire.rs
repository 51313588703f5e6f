//! Messages over a `SOCK_SEQPACKET` socket in tokio, and the greeting.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::Duration;

use reverie_core::ipc::{self, Hello};
use reverie_sys::seqpacket::{self, Message, Receiver};
use tokio::io::Interest;
use tokio::net::UnixStream;

use super::{ChannelError, HELLO_DEADLINE};

/// Greets as `ours`, and checks that the other end is `theirs` in our version.
pub(super) async fn greet(socket: OwnedFd, ours: &str, theirs: &str) -> Result<(UnixStream, Receiver), ChannelError> {
    rustix::io::ioctl_fionbio(&socket, true).map_err(io::Error::from)?;
    // Not a stream: the type only lends its readiness (`AsyncFd` would be unsafe), and `seqpacket` does the I/O.
    let socket = UnixStream::from_std(socket.into())?;
    let mut receiver = Receiver::new(ipc::MAX_MESSAGE);
    let greeting = async {
        send(&socket, &ipc::encode(&Hello::from_role(ours))?, &[]).await?;
        match receive(&socket, &mut receiver).await? {
            Some(message) => Ok(ipc::decode::<Hello>(&message.bytes)?.expect_role(theirs)?),
            None => Err(closed(theirs, "it ended before it greeted")),
        }
    };
    tokio::time::timeout(HELLO_DEADLINE, greeting).await.map_err(|_| deadline(theirs, HELLO_DEADLINE))??;
    Ok((socket, receiver))
}

pub(super) async fn send(socket: &UnixStream, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> Result<(), ChannelError> {
    Ok(socket.async_io(Interest::WRITABLE, || seqpacket::send(socket, bytes, descriptors)).await?)
}

pub(super) async fn receive(socket: &UnixStream, receiver: &mut Receiver) -> io::Result<Option<Message>> {
    socket.async_io(Interest::READABLE, || receiver.recv(socket)).await
}

pub(super) fn closed(role: &str, reason: &str) -> ChannelError {
    ChannelError::Closed { role: role.to_owned(), reason: reason.to_owned() }
}

pub(super) fn deadline(role: &str, deadline: Duration) -> ChannelError {
    ChannelError::Deadline { role: role.to_owned(), deadline }
}
