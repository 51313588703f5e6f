//! A TLS handshake up to the server's certificate and the proof that it has the key, and not further.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use reverie_core::ipc::prober::Preamble;
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme};

/// PostgreSQL's `SSLRequest` (protocol documentation, "Message Formats"): length 8, code 80877103.
const SSL_REQUEST: [u8; 8] = [0x00, 0x00, 0x00, 0x08, 0x04, 0xD2, 0x16, 0x2F];

/// The leaf, DER, that the service at `address` presents before `until`.
pub(super) fn leaf(address: SocketAddr, preamble: Preamble, server_name: Option<&str>, until: Instant) -> io::Result<Vec<u8>> {
    let left = until.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(too_late());
    }
    let mut stream = Limited { stream: TcpStream::connect_timeout(&address, left)?, until };
    if preamble == Preamble::Postgres {
        ask_for_tls(&mut stream)?;
    }
    let witness = Arc::new(Witness::new());
    let mut connection = connection(address, server_name, Arc::clone(&witness))?;
    // The service may go on to ask for a certificate of ours and refuse us: by then we have seen its own.
    while connection.is_handshaking() {
        let step = connection.complete_io(&mut stream);
        if let Some(leaf) = witness.proven() {
            return Ok(leaf);
        }
        step?;
    }
    Err(io::Error::new(io::ErrorKind::InvalidData, "it completed the handshake without a certificate"))
}

fn ask_for_tls(stream: &mut Limited) -> io::Result<()> {
    stream.write_all(&SSL_REQUEST)?;
    let mut answer = [0];
    stream.read_exact(&mut answer)?;
    match answer[0] {
        b'S' => Ok(()),
        b'N' => Err(io::Error::new(io::ErrorKind::Unsupported, "PostgreSQL declined TLS (ssl = off?)")),
        _ => Err(io::Error::new(io::ErrorKind::InvalidData, "it did not answer as PostgreSQL does")),
    }
}

fn connection(address: SocketAddr, server_name: Option<&str>, witness: Arc<Witness>) -> io::Result<ClientConnection> {
    let invalid = |error: &dyn std::fmt::Display| io::Error::new(io::ErrorKind::InvalidInput, error.to_string());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(rustls::ALL_VERSIONS)
        .map_err(|error| invalid(&error))?
        .dangerous()
        .with_custom_certificate_verifier(witness)
        .with_no_client_auth();
    config.resumption = Resumption::disabled();
    config.enable_sni = server_name.is_some();
    let name = match server_name {
        Some(name) => ServerName::try_from(name.to_owned()).map_err(|error| invalid(&error))?,
        None => ServerName::IpAddress(address.ip().into()),
    };
    ClientConnection::new(Arc::new(config), name).map_err(|error| invalid(&error))
}

/// Accepts any certificate, since it only tells, and the keeper compares the serial with its own; but only from one who
/// proves to have its key: a certificate alone is public.
#[derive(Debug)]
struct Witness {
    algorithms: WebPkiSupportedAlgorithms,
    shown: Mutex<Option<Vec<u8>>>,
    proven: AtomicBool,
}

impl Witness {
    fn new() -> Self {
        let algorithms = rustls::crypto::aws_lc_rs::default_provider().signature_verification_algorithms;
        Self { algorithms, shown: Mutex::default(), proven: AtomicBool::new(false) }
    }

    fn proven(&self) -> Option<Vec<u8>> {
        let proven = self.proven.load(Ordering::Relaxed);
        proven.then(|| self.shown.lock().unwrap_or_else(PoisonError::into_inner).clone()).flatten()
    }

    fn judge(&self, signature: Result<HandshakeSignatureValid, rustls::Error>) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.proven.store(signature.is_ok(), Ordering::Relaxed);
        signature
    }
}

impl ServerCertVerifier for Witness {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        *self.shown.lock().unwrap_or_else(PoisonError::into_inner) = Some(leaf.to_vec());
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.judge(verify_tls12_signature(message, cert, dss, &self.algorithms))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.judge(verify_tls13_signature(message, cert, dss, &self.algorithms))
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// A stream whose every read and write ends at one deadline.
struct Limited {
    stream: TcpStream,
    until: Instant,
}

impl Limited {
    fn limit(&self) -> io::Result<()> {
        let left = self.until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(too_late());
        }
        self.stream.set_read_timeout(Some(left))?;
        self.stream.set_write_timeout(Some(left))
    }
}

impl Read for Limited {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.limit()?;
        self.stream.read(buffer).map_err(name_timeout)
    }
}

impl Write for Limited {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.limit()?;
        self.stream.write(bytes).map_err(name_timeout)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

fn name_timeout(error: io::Error) -> io::Error {
    if error.kind() == io::ErrorKind::WouldBlock { too_late() } else { error }
}

fn too_late() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "it did not answer in time")
}
