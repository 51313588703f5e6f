//! Bytes both ways between the plain side and the TLS side, in one task. Each direction waits for its own reader, ends by itself,
//! and holds no buffer while nothing comes.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use futures_util::future::try_join;

use super::buffers::{Buffer, plain_room};
use super::handshake::Secured;
use super::session::{Progress, Session};
use super::stream::Stream;

/// Bytes of the service's protocol.
#[derive(Debug, Default)]
pub(super) struct Bytes {
    /// To the other host.
    pub(super) sent: AtomicU64,
    /// From it.
    pub(super) received: AtomicU64,
}

struct Relay<'a> {
    plain: &'a Stream,
    tls: &'a Stream,
    session: Mutex<Session>,
    bytes: &'a Bytes,
}

/// Until both directions have ended, or one has broken off: then the other must not seem to have ended.
pub(super) async fn run(plain: &Stream, tls: &Stream, secured: Secured, bytes: &Bytes) -> io::Result<()> {
    let Secured { session, early, progress, .. } = secured;
    let relay = Relay { plain, tls, session: Mutex::new(session), bytes };
    let done = try_join(relay.send(), relay.receive(early, progress)).await;
    if done.is_err() {
        plain.break_off();
        tls.break_off();
    }
    done.map(|_| ())
}

fn would_block<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => Ok(None),
        Err(error) => Err(error),
    }
}

impl Relay<'_> {
    fn session(&self) -> MutexGuard<'_, Session> {
        self.session.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From the plain side to the other host.
    async fn send(&self) -> io::Result<()> {
        loop {
            self.plain.readable().await?;
            let mut plain = Buffer::take();
            let Some(count) = would_block(self.plain.try_read(plain_room(&mut plain)))? else { continue };
            plain.advance(count);
            let mut out = Buffer::take();
            match count {
                0 => self.session().close(&mut out),
                _ => self.session().encrypt(plain.data(), &mut out),
            }
            .map_err(io::Error::other)?;
            drop(plain);
            self.bytes.sent.fetch_add(count as u64, Ordering::Relaxed);
            self.tls.write_all(out.data()).await?;
            if count == 0 {
                return Ok(());
            }
            drop(out);
            tokio::task::coop::consume_budget().await;
        }
    }

    /// From the other host to the plain side.
    async fn receive(&self, mut plain: Buffer, mut progress: Progress) -> io::Result<()> {
        loop {
            if !plain.is_empty() {
                self.plain.write_all(plain.data()).await?;
                self.bytes.received.fetch_add(plain.data().len() as u64, Ordering::Relaxed);
            }
            drop(plain);
            if progress == Progress::PeerClosed {
                return self.plain.end();
            }
            tokio::task::coop::consume_budget().await;
            (plain, progress) = loop {
                self.tls.readable().await?;
                if let Some(some) = self.take()? {
                    break some;
                }
            };
        }
    }

    fn take(&self) -> io::Result<Option<(Buffer, Progress)>> {
        let mut session = self.session();
        let incoming = session.incoming();
        if !incoming.make_room() {
            return Err(io::Error::other("a message that does not end"));
        }
        let count = would_block(self.tls.try_read(incoming.spare()));
        match count {
            Ok(Some(0)) => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the other end broke off without an end of TLS")),
            Ok(Some(count)) => {
                incoming.advance(count);
                let mut plain = Buffer::take();
                let progress = session.digest(&mut plain).map_err(io::Error::other)?;
                Ok(Some((plain, progress)))
            }
            Ok(None) => {
                session.let_go();
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}
