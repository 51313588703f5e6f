//! One GET. No redirect is followed: the URL is what the operator believes (SPIFFE Federation §7.5.1).

use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper::header::{ACCEPT, HOST, USER_AGENT};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use reverie_core::federation::MAX_DOCUMENT;
use reverie_core::ipc::net::{BundleEndpoint, Verification};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::verifier::SpiffeServer;

/// For all of it: name, connection, handshake, answer.
const DEADLINE: Duration = Duration::from_secs(20);
/// Addresses of one name that are tried.
const MOST_ADDRESSES: usize = 4;
const CONNECT: Duration = Duration::from_secs(5);

/// The document at the endpoint, or why there is none.
pub async fn fetch(endpoint: &BundleEndpoint) -> Result<Vec<u8>, String> {
    match tokio::time::timeout(DEADLINE, get(endpoint)).await {
        Ok(outcome) => outcome.map_err(|error| format!("{}: {error}", endpoint.url)),
        Err(_) => Err(format!("{} did not answer within {} s", endpoint.url, DEADLINE.as_secs())),
    }
}

async fn get(endpoint: &BundleEndpoint) -> Result<Vec<u8>, Box<dyn std::error::Error + Send + Sync>> {
    let url = &endpoint.url;
    let tcp = connect(&url.host, url.port).await?;
    let name = ServerName::try_from(url.host.clone())?;
    let stream = TlsConnector::from(Arc::new(config(&endpoint.verification)?)).connect(name, tcp).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let _driven = tokio_util::task::AbortOnDropHandle::new(tokio::spawn(connection));
    let host = if url.host.contains(':') { format!("[{}]:{}", url.host, url.port) } else { format!("{}:{}", url.host, url.port) };
    let request = Request::get(&url.path)
        .header(HOST, host)
        .header(ACCEPT, "application/json")
        .header(USER_AGENT, concat!("reverie-agent/", env!("CARGO_PKG_VERSION")))
        .body(Empty::<Bytes>::new())?;
    let response = sender.send_request(request).await?;
    match response.status() {
        StatusCode::OK => {}
        status if status.is_redirection() => {
            return Err(format!(
                "it answers {status}, and redirections are not followed; put the final URL into the configuration"
            )
            .into());
        }
        status => return Err(format!("it answers {status}").into()),
    }
    let body = Limited::new(response.into_body(), MAX_DOCUMENT).collect().await;
    Ok(body.map_err(|error| format!("its answer cannot be taken: {error}"))?.to_bytes().into())
}

async fn connect(host: &str, port: u16) -> std::io::Result<TcpStream> {
    let mut last = std::io::Error::other("its name has no address");
    for address in tokio::net::lookup_host((host, port)).await?.take(MOST_ADDRESSES) {
        match tokio::time::timeout(CONNECT, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => last = error,
            Err(_) => last = std::io::ErrorKind::TimedOut.into(),
        }
    }
    Err(last)
}

/// TLS 1.2 too: servers are others' (SPIFFE Federation §5). Nothing is resumed: each fetch verifies anew.
fn config(verification: &Verification) -> Result<ClientConfig, Box<dyn std::error::Error + Send + Sync>> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions()?;
    let builder = match verification {
        Verification::Web { authorities } => {
            builder.with_root_certificates(roots(pem::parse_many(authorities)?.iter().map(pem::Pem::contents))?)
        }
        Verification::Spiffe { spiffe_id, roots: known } => {
            let roots = roots(known.iter().map(Vec::as_slice))?;
            builder.dangerous().with_custom_certificate_verifier(Arc::new(SpiffeServer::new(spiffe_id.clone(), roots, provider)))
        }
    };
    let mut config = builder.with_no_client_auth();
    config.resumption = rustls::client::Resumption::disabled();
    Ok(config)
}

/// Authorities that cannot be read are left out, as the system's lists have some; none at all is an error.
fn roots<'a>(certificates: impl Iterator<Item = &'a [u8]>) -> Result<RootCertStore, &'static str> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(certificates.map(|der| der.to_vec().into()));
    match roots.is_empty() {
        true => Err("there is no authority to trust; check `ca_file` or `bundle_file`"),
        false => Ok(roots),
    }
}
