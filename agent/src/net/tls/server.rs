//! Our side of a connection that came to us.

use std::sync::Arc;

use reverie_core::ipc::net::{MeshIdentity, Side};
use reverie_core::mesh::join::request::EXPORTER_LABEL;
use rustls::server::NoServerSessionStorage;
use rustls::{ServerConfig, version};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::verifier::AnyClient;
use super::{Exchange, Secured, fingerprint, is_hybrid, provider, server_protocols, signer, signing_key_of};
use crate::net::keeper::Keeper;

/// What a listener needs for TLS. Made anew when our certificate changes.
#[derive(Clone)]
pub struct ServerTls {
    config: Arc<ServerConfig>,
    certificate: [u8; 32],
}

impl std::fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServerTls").finish_non_exhaustive()
    }
}

impl ServerTls {
    /// For this host; `None` before it has a certificate.
    pub fn new(keeper: &Arc<Keeper>, identity: &MeshIdentity) -> Option<Self> {
        let certificate = fingerprint(identity.certificate_chain.first()?);
        let provider = provider(Exchange::Any);
        let mut config = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&version::TLS13])
            .inspect_err(|error| tracing::error!(%error, "TLS cannot be set up"))
            .ok()?
            .with_client_cert_verifier(Arc::new(AnyClient(provider)))
            .with_cert_resolver(signer::certified(keeper, identity, Side::Server));
        // A resumed session skips the verifier and the signature: whoever was put out would come back by it.
        config.send_tls13_tickets = 0;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.alpn_protocols = server_protocols();
        Some(Self { config: Arc::new(config), certificate })
    }

    /// Shakes hands. The caller sets the deadline.
    pub async fn accept<IO: AsyncRead + AsyncWrite + Unpin>(&self, stream: IO) -> std::io::Result<(TlsStream<IO>, Secured)> {
        let stream = TlsAcceptor::from(Arc::clone(&self.config)).accept(stream).await?;
        let connection = stream.get_ref().1;
        let exporter = connection.export_keying_material([0; 32], EXPORTER_LABEL, None).map_err(std::io::Error::other)?;
        let secured = Secured {
            key: connection.peer_certificates().and_then(|chain| signing_key_of(chain.first()?)),
            hybrid: is_hybrid(connection.negotiated_key_exchange_group()),
            exporter,
            server_certificate: self.certificate,
        };
        Ok((stream, secured))
    }
}
