//! Messages with descriptors over `AF_UNIX` `SOCK_SEQPACKET`: whole or not at all.
//!
//! A message that does not fit a datagram travels in a sealed memfd, which neither side notices. The first byte
//! of each datagram says which it is.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, SocketAddrUnix, SocketFlags, SocketType,
};
use zeroize::{Zeroize, Zeroizing};

use crate::sealed;

/// The most descriptors one message may carry.
pub const MAX_DESCRIPTORS: usize = 4;

/// The longest message that travels in the datagram itself, in bytes.
const MAX_INLINE: usize = 60 * 1024;

/// Room for as many descriptors as the kernel lets one message carry (`SCM_MAX_FD`), so that what we refuse
/// for its number has still been received, and is closed.
const CONTROL_SPACE: usize = rustix::cmsg_space!(ScmRights(253));

const INLINE: u8 = 0;
const IN_MEMFD: u8 = 1;

/// A message as it was received.
#[derive(Debug)]
pub struct Message {
    /// The bytes, wiped when dropped: they may hold keys.
    pub bytes: Zeroizing<Vec<u8>>,
    /// The descriptors that came with them, close-on-exec.
    pub descriptors: Vec<OwnedFd>,
}

/// Two connected ends.
pub fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?)
}

/// Connects to a listening socket in the file system.
pub fn connect(path: &Path) -> io::Result<OwnedFd> {
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)?;
    Ok(socket)
}

/// Sends one message. On a non-blocking socket it is `WouldBlock` until there is room, and nothing was sent.
///
/// More than [`MAX_DESCRIPTORS`] descriptors are `InvalidInput`.
pub fn send(socket: impl AsFd, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    if descriptors.len() > MAX_DESCRIPTORS {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "too many descriptors for one message"));
    }
    if bytes.len() <= MAX_INLINE {
        return send_datagram(socket.as_fd(), INLINE, bytes, descriptors);
    }
    let memfd = sealed::seal(bytes)?;
    let mut all = Vec::with_capacity(1 + descriptors.len());
    all.push(memfd.as_fd());
    all.extend_from_slice(descriptors);
    send_datagram(socket.as_fd(), IN_MEMFD, &[], &all)
}

fn send_datagram(socket: BorrowedFd<'_>, kind: u8, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS + 1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let parts = [IoSlice::new(std::slice::from_ref(&kind)), IoSlice::new(bytes)];
    loop {
        match rustix::net::sendmsg(socket, &parts, &mut control, SendFlags::NOSIGNAL) {
            // SOCK_SEQPACKET sends all or nothing.
            Ok(_) => return Ok(()),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Receives messages; keeps the buffer between them.
#[derive(Debug)]
pub struct Receiver {
    buffer: Box<[u8]>,
    limit: usize,
}

impl Receiver {
    /// A receiver that refuses messages longer than `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self { buffer: vec![0; 1 + MAX_INLINE].into(), limit }
    }

    /// The next message; `None` when the peer has closed its end.
    ///
    /// `InvalidData` says that this message was refused (cut off, too long, unsealed, too many descriptors) and is
    /// gone, while the next one can be received; any other error is the end of the connection. On a non-blocking
    /// socket `WouldBlock` says that there is none yet.
    pub fn recv(&mut self, socket: impl AsFd) -> io::Result<Option<Message>> {
        let mut space = [MaybeUninit::uninit(); CONTROL_SPACE];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let received = loop {
            let mut parts = [IoSliceMut::new(&mut self.buffer)];
            match rustix::net::recvmsg(&socket, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC) {
                Ok(received) => break received,
                Err(rustix::io::Errno::INTR) => {}
                // The peer closed without having read all that we sent.
                Err(rustix::io::Errno::CONNRESET) => return Ok(None),
                Err(error) => return Err(error.into()),
            }
        };
        // Taken out first: whatever is wrong with the message, the descriptors must be closed.
        let mut descriptors: Vec<OwnedFd> = Vec::new();
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = message {
                descriptors.extend(rights);
            }
        }
        if received.bytes == 0 {
            return Ok(None);
        }
        let datagram = &mut self.buffer[..received.bytes];
        let message = open_datagram(datagram, received.flags, descriptors, self.limit);
        datagram.zeroize();
        message.map(Some)
    }
}

fn open_datagram(datagram: &[u8], flags: ReturnFlags, mut descriptors: Vec<OwnedFd>, limit: usize) -> io::Result<Message> {
    let refuse = |reason| Err(io::Error::new(io::ErrorKind::InvalidData, reason));
    if flags.contains(ReturnFlags::TRUNC) {
        return refuse("a message was longer than a datagram may be");
    }
    if flags.contains(ReturnFlags::CTRUNC) {
        return refuse("descriptors of a message were lost; raise the limit of open files (LimitNOFILE=)");
    }
    let bytes = match datagram.split_first() {
        Some((&INLINE, rest)) if rest.len() <= limit => Zeroizing::new(rest.to_vec()),
        Some((&INLINE, _)) => return refuse("a message was longer than the limit"),
        Some((&IN_MEMFD, [])) if !descriptors.is_empty() => sealed::read(descriptors.remove(0), limit)?,
        _ => return refuse("a datagram was not a message"),
    };
    if descriptors.len() > MAX_DESCRIPTORS {
        return refuse("a message came with too many descriptors");
    }
    Ok(Message { bytes, descriptors })
}

#[cfg(test)]
#[path = "seqpacket_tests.rs"]
mod tests;
