//! A TLS handshake up to the server's certificate, and not further.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use reverie_core::ipc::prober::Preamble;
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
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
    let witness = Arc::new(Witness::default());
    let mut connection = connection(address, server_name, Arc::clone(&witness))?;
    // The service may go on to ask for a certificate of ours and refuse us: by then we have seen its own.
    while connection.is_handshaking() {
        let step = connection.complete_io(&mut stream);
        if let Some(leaf) = witness.seen() {
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

/// Accepts whatever it is shown, since it only tells: the keeper compares the serial with its own.
#[derive(Debug, Default)]
struct Witness(Mutex<Option<Vec<u8>>>);

impl Witness {
    fn seen(&self) -> Option<Vec<u8>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
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
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(leaf.to_vec());
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    /// Every one that a service's certificate may call for; none is ever checked.
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![
            SignatureScheme::ECDSA_NISTP256_SHA256,
            SignatureScheme::ECDSA_NISTP384_SHA384,
            SignatureScheme::ECDSA_NISTP521_SHA512,
            SignatureScheme::ED25519,
            SignatureScheme::ED448,
            SignatureScheme::ML_DSA_44,
            SignatureScheme::ML_DSA_65,
            SignatureScheme::ML_DSA_87,
            SignatureScheme::RSA_PSS_SHA256,
            SignatureScheme::RSA_PSS_SHA384,
            SignatureScheme::RSA_PSS_SHA512,
            SignatureScheme::RSA_PKCS1_SHA256,
            SignatureScheme::RSA_PKCS1_SHA384,
            SignatureScheme::RSA_PKCS1_SHA512,
        ]
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
