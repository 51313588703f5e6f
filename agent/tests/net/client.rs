//! A client of our own making: TLS by rustls, HTTP/1.1 by hand.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use reverie_crypto::aws::SigningKey;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::aws_lc_rs::kx_group::{X25519, X25519MLKEM768};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::fixture::{Host, Keys, self_signing};

/// How to connect.
#[derive(Clone)]
pub struct Client {
    pub config: Arc<ClientConfig>,
    pub from: IpAddr,
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

#[derive(Debug)]
struct Anyone;

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        panic!("TLS 1.2")
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = rustls::crypto::aws_lc_rs::default_provider().signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, &algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ECDSA_NISTP256_SHA256]
    }
}

fn config(identity: Option<(&[u8], &SigningKey)>, hybrid: bool) -> ClientConfig {
    let mut provider = rustls::crypto::aws_lc_rs::default_provider();
    provider.kx_groups = if hybrid { vec![X25519MLKEM768] } else { vec![X25519] };
    let config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anyone));
    match identity {
        None => config.with_no_client_auth(),
        Some((certificate, key)) => {
            let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.to_pkcs8_der().unwrap().to_vec()));
            config.with_client_auth_cert(vec![CertificateDer::from(certificate.to_vec())], key).unwrap()
        }
    }
}

impl Client {
    /// Shows no certificate.
    pub fn nobody() -> Self {
        Self::of(config(None, true))
    }

    /// Shows the certificate of a host.
    pub fn host(keys: &Keys) -> Self {
        Self::of(config(Some((&keys.certificate, &keys.signing)), true))
    }

    /// The same without post-quantum key exchange.
    pub fn host_over_x25519(keys: &Keys) -> Self {
        Self::of(config(Some((&keys.certificate, &keys.signing)), false))
    }

    /// Shows a certificate that `issuer`, a host of the mesh, made for one of its services.
    pub fn service_of(issuer: &Keys) -> Self {
        let authority = self_signing(&issuer.signing);
        let mut params = rcgen::CertificateParams::new(vec![issuer.node.to_string()]).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let issuer = rcgen::Issuer::new(params, authority);
        let service = SigningKey::generate().unwrap();
        let params = rcgen::CertificateParams::new(vec!["web.example.org".to_owned()]).unwrap();
        let leaf = params.signed_by(&self_signing(&service), &issuer).unwrap();
        Self::of(config(Some((leaf.der(), &service)), true))
    }

    pub fn of(config: ClientConfig) -> Self {
        Self { config: Arc::new(config), from: "127.0.0.1".parse().unwrap() }
    }

    /// Comes from that address.
    pub fn from(mut self, from: &str) -> Self {
        self.from = from.parse().unwrap();
        self
    }

    pub async fn tcp(&self, to: SocketAddr) -> std::io::Result<tokio::net::TcpStream> {
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::new(self.from, 0))?;
        socket.connect(to).await
    }

    pub async fn connect(&self, to: SocketAddr) -> std::io::Result<TlsStream<tokio::net::TcpStream>> {
        let stream = self.tcp(to).await?;
        TlsConnector::from(Arc::clone(&self.config)).connect(ServerName::try_from("localhost").unwrap(), stream).await
    }

    /// One request on a connection of its own; `head` is the request line and headers without the final empty line.
    pub async fn try_send(&self, to: SocketAddr, head: &str, body: &[u8]) -> std::io::Result<Answer> {
        let mut stream = self.connect(to).await?;
        let length = if head.to_ascii_lowercase().contains("content-length") {
            String::new()
        } else {
            format!("content-length: {}\r\n", body.len())
        };
        stream.write_all(format!("{head}\r\nhost: x\r\nconnection: close\r\n{length}\r\n").as_bytes()).await?;
        stream.write_all(body).await?;
        read_answer(&mut stream).await
    }

    pub async fn send(&self, to: &Host, head: &str, body: &[u8]) -> Answer {
        self.try_send(to.address, head, body).await.unwrap()
    }

    pub async fn get(&self, to: &Host, path: &str) -> Answer {
        self.send(to, &format!("GET {path} HTTP/1.1"), b"").await
    }

    pub async fn sync(&self, to: &Host, envelope: &[u8]) -> Answer {
        self.send(to, "POST /api/gossip/sync HTTP/1.1\r\ncontent-type: application/pkcs7-mime", envelope).await
    }
}

/// Up to the end of the connection.
pub async fn read_answer(stream: &mut TlsStream<tokio::net::TcpStream>) -> std::io::Result<Answer> {
    let mut bytes = Vec::new();
    let read = async {
        let mut buffer = vec![0; 16 * 1024];
        loop {
            match stream.read(&mut buffer).await {
                Ok(0) => return Ok(()),
                Ok(count) => bytes.extend_from_slice(&buffer[..count]),
                // Closed without a farewell, after an answer.
                Err(_) if !bytes.is_empty() => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(30), read).await.map_err(std::io::Error::other)??;
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").ok_or_else(|| std::io::Error::other("no head"))?;
    let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
    let status =
        head.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or_else(|| std::io::Error::other("no status"))?;
    Ok(Answer { status, head, body: bytes[end + 4..].to_vec() })
}
