//! Our TLS: version 1.3 alone, both sides with certificates, nothing resumed, and the SPIFFE ID decides on both sides.

use std::sync::Arc;

use reverie_core::config::KeyExchange;
use reverie_core::ipc::net::Side;
use reverie_core::ipc::tunnel::Tunnel;
use reverie_core::moment::Moment;
use rustls::client::Resumption;
use rustls::client::UnbufferedClientConnection;
use rustls::client::danger::{ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::kx_group::{X25519, X25519MLKEM768};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{NoServerSessionStorage, UnbufferedServerConnection};
use rustls::{CertificateError, ClientConfig, DistinguishedName, Error, OtherError, ServerConfig, SignatureScheme, version};

use super::clock;
use super::keeper::Keeper;
use super::session::Session;
use super::trust::{Peer, Refused, Trust, Usage};
use crate::ops::certificate_verify::{self, tls13_signatures};

/// What a leaf's key may be.
const SCHEMES: [SignatureScheme; 2] = [SignatureScheme::ECDSA_NISTP256_SHA256, SignatureScheme::ED25519];

/// One side's configuration, made anew when certificate, trust or peers change.
#[derive(Debug, Clone)]
pub(super) enum Tls {
    Client(Arc<ClientConfig>),
    Server(Arc<ServerConfig>),
}

fn provider(exchange: KeyExchange) -> Arc<CryptoProvider> {
    let mut provider = rustls::crypto::aws_lc_rs::default_provider();
    provider.kx_groups = match exchange {
        KeyExchange::PreferHybrid => vec![X25519MLKEM768, X25519],
        KeyExchange::Hybrid => vec![X25519MLKEM768],
        KeyExchange::X25519 => vec![X25519],
    };
    Arc::new(provider)
}

impl Tls {
    /// `None` while there is no certificate to show.
    pub(super) fn new(keeper: &Arc<Keeper>, tunnel: &Tunnel, verifier: Arc<Verifier>) -> Option<Self> {
        let shown = tunnel.shown.as_ref()?;
        let provider = provider(tunnel.declared.key_exchange);
        let is_client = tunnel.declared.is_client();
        let side = if is_client { Side::Client } else { Side::Server };
        let scheme = if shown.is_ed25519 { SCHEMES[1] } else { SCHEMES[0] };
        let (keeper, name, serial) = (Arc::clone(keeper), tunnel.declared.name.clone(), shown.serial.clone());
        let certified = certificate_verify::certified(&shown.chain, side, scheme, move |side, transcript| {
            keeper.sign(name.clone(), serial.clone(), side, transcript)
        });
        match is_client {
            true => {
                let config = ClientConfig::builder_with_provider(provider).with_protocol_versions(&[&version::TLS13]).ok()?;
                let config = config.dangerous().with_custom_certificate_verifier(verifier);
                let mut config = config.with_client_cert_resolver(certified);
                config.resumption = Resumption::disabled();
                // Who is there is known by its SPIFFE ID; no name is told to who listens in.
                config.enable_sni = false;
                Some(Self::Client(Arc::new(config)))
            }
            false => {
                let config = ServerConfig::builder_with_provider(provider).with_protocol_versions(&[&version::TLS13]).ok()?;
                let mut config = config.with_client_cert_verifier(verifier).with_cert_resolver(certified);
                // A resumed session skips the verifier.
                config.send_tls13_tickets = 0;
                config.session_storage = Arc::new(NoServerSessionStorage {});
                Some(Self::Server(Arc::new(config)))
            }
        }
    }

    /// A handshake that has not begun.
    pub(super) fn begin(&self) -> Result<Session, Error> {
        match self {
            Self::Client(config) => {
                // Not told, and not looked at.
                let name = ServerName::try_from("tunnel.invalid").map_err(|_| Error::General("no name".to_owned()))?;
                Ok(Session::client(UnbufferedClientConnection::new(Arc::clone(config), name)?))
            }
            Self::Server(config) => Ok(Session::server(UnbufferedServerConnection::new(Arc::clone(config))?)),
        }
    }
}

/// Who may be at the other end of one tunnel.
#[derive(Debug)]
pub(super) struct Verifier {
    pub(super) trust: Arc<Trust>,
    pub(super) declared: reverie_core::config::Tunnel,
    algorithms: rustls::crypto::WebPkiSupportedAlgorithms,
}

impl Verifier {
    pub(super) fn new(trust: Arc<Trust>, declared: reverie_core::config::Tunnel) -> Self {
        Self { trust, declared, algorithms: super::trust::algorithms() }
    }

    /// Who it is, if it may be there.
    pub(super) fn judge(
        &self,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        now: Moment,
    ) -> Result<Arc<Peer>, Refused> {
        let usage = if self.declared.is_client() { Usage::Server } else { Usage::Client };
        let peer = self.trust.verify(leaf, others, usage, now)?;
        self.permits(&peer)?;
        Ok(peer)
    }

    fn permits(&self, peer: &Peer) -> Result<(), Refused> {
        match self.declared.admits(&peer.id) {
            true => Ok(()),
            false => Err(Refused { id: Some(peer.id.clone()), why: "it is not among the `peers` of the tunnel".to_owned() }),
        }
    }

    /// The same of a connection that is there.
    pub(super) fn still_permits(&self, peer: &Peer) -> Result<(), Refused> {
        self.permits(peer)?;
        self.trust.still_holds(peer)
    }

    fn verify(&self, leaf: &CertificateDer<'_>, others: &[CertificateDer<'_>]) -> Result<(), Error> {
        match self.judge(leaf, others, clock::now()) {
            Ok(_) => Ok(()),
            Err(refused) => Err(Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(refused))))),
        }
    }
}

/// Why our verifier did not go on, if it was that.
pub(super) fn refusal(error: &Error) -> Option<Refused> {
    match error {
        Error::InvalidCertificate(CertificateError::Other(OtherError(inner))) => inner.downcast_ref::<Refused>().cloned(),
        Error::NoCertificatesPresented => Some(Refused { id: None, why: "it showed no certificate".to_owned() }),
        _ => None,
    }
}

impl ClientCertVerifier for Verifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.verify(leaf, intermediates).map(|()| ClientCertVerified::assertion())
    }

    tls13_signatures!(self => self.algorithms, SCHEMES);
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.verify(leaf, intermediates).map(|()| ServerCertVerified::assertion())
    }

    tls13_signatures!(self => self.algorithms, SCHEMES);
}
