//! One host of the mesh, over the network as any client meets it: TLS 1.3, verified by the mesh's roots.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http_body_util::{BodyExt, Empty, Limited};
use hyper::Request;
use hyper::body::Bytes;
use hyper::client::conn::http1::SendRequest;
use hyper::header::HOST;
use hyper_util::rt::TokioIo;
use reverie_core::api::local::Bundle;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::failure::{Exit, Failure};

/// An answer is a line.
const MAX_ANSWER: usize = 64 << 10;

/// A host to wait on.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    /// Its name, which its certificate must carry.
    pub(crate) node: String,
    /// `host:port`.
    pub(crate) address: String,
}

/// A kept connection to one host.
pub(crate) struct Connection {
    target: Target,
    sender: SendRequest<Empty<Bytes>>,
}

impl Connection {
    /// Over TLS 1.3, verified by the roots of the mesh.
    pub(crate) async fn open(target: &Target, bundle: &Bundle, patience: Duration) -> Result<Self, Failure> {
        match tokio::time::timeout(patience, Self::connect(target, bundle)).await {
            Ok(Ok(sender)) => Ok(Self { target: target.clone(), sender }),
            Ok(Err(why)) => Err(away(target, &why)),
            Err(_) => Err(away(target, &"no answer in time")),
        }
    }

    async fn connect(
        target: &Target,
        bundle: &Bundle,
    ) -> Result<SendRequest<Empty<Bytes>>, Box<dyn std::error::Error + Send + Sync>> {
        let mut roots = RootCertStore::empty();
        for root in &bundle.roots {
            roots.add(CertificateDer::from_pem_slice(root.as_bytes())?)?;
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_protocol_versions(&[&rustls::version::TLS13])?;
        let config = config.with_root_certificates(roots).with_no_client_auth();
        let stream = TcpStream::connect(&target.address).await?;
        stream.set_nodelay(true)?;
        let name = ServerName::try_from(target.node.clone())?;
        let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(sender)
    }

    /// `GET /api/gossip/await-client`: when the host has the client.
    pub(crate) async fn wait(&mut self, id: &str, patience: Duration) -> Result<Instant, Failure> {
        let path = format!("/api/gossip/await-client?client_id={id}&timeout_ms={}", patience.as_millis());
        let request = Request::builder().uri(path).header(HOST, &self.target.node).body(Empty::new());
        let request = request.map_err(|why| Failure::new(Exit::Internal, why))?;
        let exchange = async {
            let response = self.sender.send_request(request).await?;
            let at = Instant::now();
            let status = response.status();
            // The body is read, so that the connection is good for the next.
            Limited::new(response.into_body(), MAX_ANSWER).collect().await?;
            Ok::<_, Box<dyn std::error::Error + Send + Sync>>((status, at))
        };
        match tokio::time::timeout(patience * 2, exchange).await {
            Ok(Ok((status, at))) if status.is_success() => Ok(at),
            Ok(Ok((status, _))) if status.as_u16() == 408 => {
                let what = format!("{} did not hear of {id} within {} s", self.target.node, patience.as_secs());
                Err(Failure::new(Exit::TempFail, what).advise("agentctl mesh peers says whether it is reached"))
            }
            Ok(Ok((status, _))) => Err(away(&self.target, &format!("it answers {status}"))),
            Ok(Err(why)) => Err(away(&self.target, &why)),
            Err(_) => Err(away(&self.target, &"no answer in time")),
        }
    }
}

fn away(target: &Target, why: &dyn std::fmt::Display) -> Failure {
    Failure::new(Exit::Unavailable, format_args!("cannot wait on {} at {}: {why}", target.node, target.address))
        .advise("agentctl mesh peers says who is reached; hosts that are down are left out")
}
