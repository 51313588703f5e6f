//! What a client sends, with its `:authority` written over: see [`reverie_core::http2`].

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use reverie_core::http2::Authorities;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What is received at once, in bytes.
const CHUNK: usize = 8 * 1024;

/// A connection as HTTP/2 is to see it.
pub(super) struct Masked<T> {
    inner: T,
    authorities: Authorities,
    ready: Vec<u8>,
    given: usize,
}

impl<T> Masked<T> {
    pub(super) fn new(inner: T) -> Self {
        Self { inner, authorities: Authorities::default(), ready: vec![], given: 0 }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Masked<T> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        while this.given == this.ready.len() {
            let mut chunk = [0; CHUNK];
            let mut received = ReadBuf::new(&mut chunk);
            ready!(Pin::new(&mut this.inner).poll_read(context, &mut received))?;
            if received.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
            this.given = 0;
            this.ready.clear();
            this.authorities.take(received.filled(), &mut this.ready);
        }
        let count = into.remaining().min(this.ready.len() - this.given);
        into.put_slice(&this.ready[this.given..this.given + count]);
        this.given += count;
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Masked<T> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}
