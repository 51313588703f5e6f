//! One byte stream, TCP or unix, without a buffer of its own.

use std::io;
use std::os::unix::net::UnixStream as StdUnix;
use std::time::Duration;

use rustix::net::Shutdown;
use rustix::net::sockopt;
use tokio::net::{TcpStream, UnixStream};

/// A peer that has vanished is found out after two minutes.
const KEEPALIVE: (Duration, Duration, u32) = (Duration::from_secs(60), Duration::from_secs(15), 4);

/// See above.
#[derive(Debug)]
pub(super) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

macro_rules! either {
    ($stream:expr, $inner:ident => $body:expr) => {
        match $stream {
            Stream::Tcp($inner) => $body,
            Stream::Unix($inner) => $body,
        }
    };
}

impl Stream {
    /// Sends at once, and notices when the other side is gone.
    pub(super) fn tcp(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        sockopt::set_socket_keepalive(&stream, true)?;
        sockopt::set_tcp_keepidle(&stream, KEEPALIVE.0)?;
        sockopt::set_tcp_keepintvl(&stream, KEEPALIVE.1)?;
        sockopt::set_tcp_keepcnt(&stream, KEEPALIVE.2)?;
        Ok(Self::Tcp(stream))
    }

    /// A connection that the keeper made.
    pub(super) fn unix(stream: StdUnix) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        Ok(Self::Unix(UnixStream::from_std(stream)?))
    }

    pub(super) async fn readable(&self) -> io::Result<()> {
        either!(self, inner => inner.readable().await)
    }

    pub(super) fn try_read(&self, bytes: &mut [u8]) -> io::Result<usize> {
        either!(self, inner => inner.try_read(bytes))
    }

    /// All of it.
    pub(super) async fn write_all(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match either!(self, inner => inner.try_write(bytes)) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => bytes = &bytes[written..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => either!(self, inner => inner.writable().await)?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// The other side reads its end, and may go on sending.
    pub(super) fn end(&self) -> io::Result<()> {
        match either!(self, inner => rustix::net::shutdown(inner, Shutdown::Write)) {
            // It is gone already, both ways.
            Err(rustix::io::Errno::NOTCONN) => Ok(()),
            other => Ok(other?),
        }
    }

    /// What is closed from now on was not ended, also if this process is killed: TCP says so with a reset, a unix socket cannot.
    pub(super) fn break_off(&self) {
        self.set_linger(Some(Duration::ZERO));
    }

    /// It was ended, both ways: what is under way still arrives.
    pub(super) fn finish(&self) {
        self.set_linger(None);
    }

    fn set_linger(&self, linger: Option<Duration>) {
        if let Self::Tcp(stream) = self {
            let _ = sockopt::set_socket_linger(stream, linger);
        }
    }
}
