//! Our side of a connection that we open.

use std::sync::Arc;

use reverie_core::ipc::net::{MeshIdentity, Side};
use reverie_core::mesh::crypto::SigningPublicKey;
use reverie_core::mesh::join::request::EXPORTER_LABEL;
use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use rustls::sign::SingleCertAndKey;
use rustls::{ClientConfig, version};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::verifier::PinnedServer;
use super::{Exchange, Secured, fingerprint, is_hybrid, provider, signer, signing_key_of};
use crate::net::keeper::Keeper;

/// Which servers a client goes on with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pin {
    /// Those with one of these keys.
    Keys(Vec<SigningPublicKey>),
    /// Anyone, since Kerberos proves who it is, bound to this very certificate.
    ByKerberos,
}

impl Pin {
    pub(super) fn admits(&self, key: &SigningPublicKey) -> bool {
        match self {
            Self::Keys(keys) => keys.contains(key),
            Self::ByKerberos => true,
        }
    }
}

/// What connecting needs for TLS.
#[derive(Debug, Clone, Default)]
pub struct ClientTls {
    /// What we show; none while we join.
    certified: Option<Arc<SingleCertAndKey>>,
}

impl ClientTls {
    /// As this host, with its certificate if it has one.
    pub fn new(keeper: &Arc<Keeper>, identity: &MeshIdentity) -> Self {
        let has_certificate = !identity.certificate_chain.is_empty();
        Self { certified: has_certificate.then(|| signer::certified(keeper, identity, Side::Client)) }
    }

    /// As nobody.
    pub fn anonymous() -> Self {
        Self::default()
    }

    /// Shakes hands with a server that `pin` admits. The caller sets the deadline.
    pub async fn connect<IO: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: IO,
        name: ServerName<'static>,
        pin: Pin,
        http2: bool,
    ) -> std::io::Result<(TlsStream<IO>, Secured)> {
        let other = std::io::Error::other;
        let provider = provider(Exchange::Hybrid);
        let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&version::TLS13])
            .map_err(other)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(PinnedServer { pin, provider }));
        let mut config = match &self.certified {
            Some(certified) => config.with_client_cert_resolver(Arc::clone(certified) as Arc<_>),
            None => config.with_no_client_auth(),
        };
        config.resumption = Resumption::disabled();
        config.alpn_protocols = vec![if http2 { b"h2".to_vec() } else { b"http/1.1".to_vec() }];
        let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
        let connection = stream.get_ref().1;
        let leaf = connection.peer_certificates().and_then(|chain| chain.first());
        let leaf = leaf.ok_or_else(|| std::io::Error::other("the server showed no certificate"))?;
        let secured = Secured {
            key: signing_key_of(leaf),
            hybrid: is_hybrid(connection.negotiated_key_exchange_group()),
            exporter: connection.export_keying_material([0; 32], EXPORTER_LABEL, None).map_err(other)?,
            server_certificate: fingerprint(leaf),
        };
        Ok((stream, secured))
    }
}
