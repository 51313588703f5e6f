//! One TLS session without buffers of its own: bytes in, bytes out (rustls' unbuffered API). What is idle holds no buffer.

use rustls::Error;
use rustls::client::UnbufferedClientConnection;
use rustls::pki_types::CertificateDer;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, EncryptError, InsufficientSizeError, UnbufferedStatus};

use super::buffers::Buffer;

/// Content of a record.
const RECORD: usize = 16 * 1024;
/// A record as it may come: the content may be padded and expanded by so much (RFC 8446 §5.2).
pub(super) const MAX_RECORD: usize = 5 + RECORD + 256;

enum Side {
    Client(Box<UnbufferedClientConnection>),
    Server(Box<UnbufferedServerConnection>),
}

/// See above.
pub(super) struct Session {
    side: Side,
    /// Bytes of a record, or of a handshake message, that is not complete.
    rest: Option<Buffer>,
    /// Records of the protocol itself, to be sent before anything else.
    pending: Vec<u8>,
    peer_closed: bool,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Session")
    }
}

/// Where a session stands once it has digested what came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    /// The handshake needs more.
    Shaking,
    /// Data may be sent.
    Open,
    /// And the other side sends no more.
    PeerClosed,
}

macro_rules! each {
    ($side:expr, $connection:ident => $body:expr) => {
        match $side {
            Side::Client($connection) => $body,
            Side::Server($connection) => $body,
        }
    };
}

impl Session {
    pub(super) fn client(connection: UnbufferedClientConnection) -> Self {
        Self::new(Side::Client(Box::new(connection)))
    }

    pub(super) fn server(connection: UnbufferedServerConnection) -> Self {
        Self::new(Side::Server(Box::new(connection)))
    }

    fn new(side: Side) -> Self {
        Self { side, rest: None, pending: vec![], peer_closed: false }
    }

    /// The other side's chain.
    pub(super) fn peer_certificates(&self) -> Option<&[CertificateDer<'static>]> {
        each!(&self.side, connection => connection.peer_certificates())
    }

    /// Where the next bytes go.
    pub(super) fn incoming(&mut self) -> &mut Buffer {
        self.rest.get_or_insert_with(Buffer::take)
    }

    /// Gives a buffer back that nothing came into.
    pub(super) fn let_go(&mut self) {
        self.rest.take_if(|rest| rest.is_empty());
    }

    /// What the protocol itself wants sent.
    pub(super) fn take_pending(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.pending)
    }

    /// Digests what came; what it says goes to `plain`. After an error, [`Self::take_pending`] has the alert.
    pub(super) fn digest(&mut self, plain: &mut Buffer) -> Result<Progress, Error> {
        let Self { side, rest, pending, peer_closed } = self;
        let mut nothing = [];
        let incoming = rest.as_mut().map_or(&mut nothing[..], |rest| rest.filled());
        let digested = each!(side, connection => {
            let mut used = 0;
            let result = loop {
                let UnbufferedStatus { discard, state, .. } = connection.process_tls_records(&mut incoming[used..]);
                let stands = match state {
                    Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                        let mut more = 0;
                        while let Some(record) = traffic.next_record() {
                            match record {
                                Ok(record) => {
                                    more += record.discard;
                                    plain.extend(record.payload);
                                }
                                Err(error) => return Err(error),
                            }
                        }
                        used += more;
                        None
                    }
                    Ok(ConnectionState::EncodeTlsData(mut data)) => match append(pending, |room| data.encode(room)) {
                        Ok(()) => None,
                        Err(error) => Some(Err(error)),
                    },
                    Ok(ConnectionState::TransmitTlsData(data)) => {
                        data.done();
                        None
                    }
                    Ok(ConnectionState::BlockedHandshake) => Some(Ok(Progress::Shaking)),
                    Ok(ConnectionState::WriteTraffic(_)) => Some(Ok(Progress::Open)),
                    Ok(ConnectionState::PeerClosed) => {
                        *peer_closed = true;
                        None
                    }
                    Ok(ConnectionState::Closed) => Some(Ok(Progress::PeerClosed)),
                    Ok(_) => Some(Err(Error::General("early data was not offered".to_owned()))),
                    Err(error) => Some(Err(error)),
                };
                used += discard;
                if let Some(result) = stands {
                    break result;
                }
            };
            if result.is_err() {
                // The alert that says so. Always with the rest of the same bytes: rustls remembers places in them.
                let alert = connection.process_tls_records(&mut incoming[used..]).state;
                if let Ok(ConnectionState::EncodeTlsData(mut data)) = alert {
                    append(pending, |room| data.encode(room))?;
                }
            }
            result.map(|progress| (progress, used))
        });
        let (progress, used) = digested?;
        if let Some(rest) = rest {
            rest.discard(used);
        }
        self.let_go();
        match progress {
            Progress::Open if self.peer_closed => Ok(Progress::PeerClosed),
            progress => Ok(progress),
        }
    }

    /// Puts what `plain` holds behind `out`, as records.
    pub(super) fn encrypt(&mut self, plain: &[u8], out: &mut Buffer) -> Result<(), Error> {
        self.write(out, Some(plain))
    }

    /// Nothing more comes from here.
    pub(super) fn close(&mut self, out: &mut Buffer) -> Result<(), Error> {
        self.write(out, None)
    }

    fn write(&mut self, out: &mut Buffer, plain: Option<&[u8]>) -> Result<(), Error> {
        let Self { side, rest, pending, peer_closed } = self;
        let mut nothing = [];
        let incoming = rest.as_mut().map_or(&mut nothing[..], |rest| rest.filled());
        let mut used = 0;
        each!(side, connection => loop {
            // All that is complete was digested: there is only what the protocol itself wants sent, before data.
            let UnbufferedStatus { discard, state, .. } = connection.process_tls_records(&mut incoming[used..]);
            match state? {
                ConnectionState::WriteTraffic(mut traffic) => {
                    out.extend(pending);
                    *pending = vec![];
                    match plain {
                        Some(plain) => put(out, |room| traffic.encrypt(plain, room))?,
                        None => put(out, |room| traffic.queue_close_notify(room))?,
                    }
                    used += discard;
                    break;
                }
                ConnectionState::EncodeTlsData(mut data) => append(pending, |room| data.encode(room))?,
                ConnectionState::TransmitTlsData(data) => data.done(),
                ConnectionState::PeerClosed => *peer_closed = true,
                _ => return Err(Error::General("nothing can be sent now".to_owned())),
            }
            used += discard;
        });
        if let Some(rest) = rest {
            rest.discard(used);
        }
        Ok(())
    }
}

/// What says how much room it needs.
trait Insufficient {
    fn needs(&self) -> Option<usize>;
}

impl Insufficient for EncodeError {
    fn needs(&self) -> Option<usize> {
        match self {
            Self::InsufficientSize(InsufficientSizeError { required_size }) => Some(*required_size),
            Self::AlreadyEncoded => None,
        }
    }
}

impl Insufficient for EncryptError {
    fn needs(&self) -> Option<usize> {
        match self {
            Self::InsufficientSize(InsufficientSizeError { required_size }) => Some(*required_size),
            Self::EncryptExhausted => None,
        }
    }
}

/// Puts what is written behind `out`.
fn put<E: Insufficient + std::fmt::Display>(
    out: &mut Buffer,
    mut write: impl FnMut(&mut [u8]) -> Result<usize, E>,
) -> Result<(), Error> {
    loop {
        let room = out.spare().len();
        match write(out.spare()) {
            Ok(written) => {
                out.advance(written);
                return Ok(());
            }
            Err(error) => match error.needs().filter(|needs| *needs > room) {
                Some(needs) => out.reserve(needs),
                None => return Err(Error::General(error.to_string())),
            },
        }
    }
}

/// The same for what the protocol itself says, which is short.
fn append<E: Insufficient + std::fmt::Display>(
    out: &mut Vec<u8>,
    mut write: impl FnMut(&mut [u8]) -> Result<usize, E>,
) -> Result<(), Error> {
    let (begin, mut room) = (out.len(), 1024);
    loop {
        out.resize(begin + room, 0);
        match write(&mut out[begin..]) {
            Ok(written) => {
                out.truncate(begin + written);
                return Ok(());
            }
            Err(error) => match error.needs().filter(|needs| *needs > room) {
                Some(needs) => room = needs,
                None => {
                    out.truncate(begin);
                    return Err(Error::General(error.to_string()));
                }
            },
        }
    }
}
