//! A handshake over a stream. The caller sets the deadline.

use std::io;
use std::sync::Arc;

use tokio::sync::Semaphore;

use super::buffers::Buffer;
use super::clock;
use super::session::{Progress, Session};
use super::stream::Stream;
use super::tls::{Tls, Verifier, refusal};
use super::trust::{Peer, Refused};

/// What may have come of a message that is not complete: a chain of four, each with many names.
const MAX_UNFINISHED: usize = 32 * 1024;

/// A session whose other side is known and permitted.
#[derive(Debug)]
pub(super) struct Secured {
    pub(super) session: Session,
    pub(super) peer: Arc<Peer>,
    /// Data that came with the end of the handshake.
    pub(super) early: Buffer,
    pub(super) progress: Progress,
}

/// Why there is none.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// The other side is not let in.
    #[error("the other side is refused: {0}")]
    Peer(#[from] Refused),
    /// TLS failed otherwise.
    #[error(transparent)]
    Tls(#[from] rustls::Error),
    /// The stream did.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Each step takes one of `turns`, and waits for the other side without.
pub(super) async fn shake(stream: &Stream, tls: &Tls, verifier: &Verifier, turns: &Arc<Semaphore>) -> Result<Secured, Failure> {
    let mut session = tls.begin()?;
    if !verifier.declared.is_client() {
        read(stream, &mut session).await?;
    }
    loop {
        let turn = Arc::clone(turns).acquire_owned().await.map_err(io::Error::other)?;
        // The keeper's signature is waited for in there, in place: not on a thread that others' connections need.
        let digest = move || {
            let mut early = Buffer::take();
            let digested = session.digest(&mut early);
            // Here, since nobody stops this once it has begun.
            drop(turn);
            (session, early, digested)
        };
        let (early, digested);
        (session, early, digested) = tokio::task::spawn_blocking(digest).await.map_err(io::Error::other)?;
        let pending = session.take_pending();
        if !pending.is_empty() {
            stream.write_all(&pending).await?;
        }
        match digested {
            Ok(Progress::Shaking) => {}
            Ok(progress) => {
                let chain = session.peer_certificates().and_then(<[_]>::split_first);
                let (leaf, others) = chain.ok_or(rustls::Error::NoCertificatesPresented)?;
                // Known by now: what it was verified by may be another trust already, and then this is the first look.
                let peer = verifier.judge(leaf, others, clock::now())?;
                return Ok(Secured { session, peer, early, progress });
            }
            Err(error) => return Err(refusal(&error).map_or(Failure::Tls(error), Failure::Peer)),
        }
        drop(early);
        read(stream, &mut session).await?;
    }
}

async fn read(stream: &Stream, session: &mut Session) -> Result<(), Failure> {
    loop {
        stream.readable().await?;
        let incoming = session.incoming();
        if incoming.data().len() > MAX_UNFINISHED || !incoming.make_room() {
            return Err(io::Error::other("a handshake that does not end").into());
        }
        match stream.try_read(incoming.spare()) {
            Ok(0) => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
            Ok(count) => {
                incoming.advance(count);
                return Ok(());
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => session.let_go(),
            Err(error) => return Err(error.into()),
        }
    }
}
