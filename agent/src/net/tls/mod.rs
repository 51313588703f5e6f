//! TLS 1.3 as the mesh speaks it: post-quantum hybrid first, keys pinned, nothing resumed.
//!
//! A certificate only carries a key here. Who a peer is, its pinned key says; whether the key is its own, the handshake's
//! signature proves. So dates, chains and names of a peer's certificate are not looked at.

mod client;
mod key;
mod server;
mod signer;
mod verifier;

use std::sync::Arc;

use rustls::NamedGroup;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::kx_group::{X25519, X25519MLKEM768};
use sha2::{Digest, Sha256};

pub use client::{ClientTls, Pin};
pub use key::signing_key_of;
pub use server::ServerTls;

/// HTTP/2 for peers and whoever can, HTTP/1.1 for the rest.
fn server_protocols() -> Vec<Vec<u8>> {
    vec![b"h2".to_vec(), b"http/1.1".to_vec()]
}

/// Whom the key exchange is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Exchange {
    /// Agents among themselves: hybrid or nothing.
    Hybrid,
    /// Whoever comes to our listener; peers that do not use the hybrid are refused later, with a sentence.
    Any,
}

fn provider(exchange: Exchange) -> Arc<CryptoProvider> {
    let mut provider = rustls::crypto::aws_lc_rs::default_provider();
    provider.kx_groups = match exchange {
        Exchange::Hybrid => vec![X25519MLKEM768],
        Exchange::Any => vec![X25519MLKEM768, X25519],
    };
    Arc::new(provider)
}

/// What is of interest of a connection once its handshake is done.
#[derive(Debug, Clone)]
pub struct Secured {
    /// The key that the other side proved to have.
    pub key: Option<reverie_core::mesh::crypto::SigningPublicKey>,
    /// Its key exchange was the post-quantum hybrid.
    pub hybrid: bool,
    /// Ties a join to this connection (RFC 8446 §7.5).
    pub exporter: [u8; 32],
    /// SHA-256 of the server's certificate: the channel binding `tls-server-end-point` (RFC 5929 §4).
    pub server_certificate: [u8; 32],
}

/// True if the group that was agreed on is the hybrid.
fn is_hybrid(group: Option<&'static dyn rustls::crypto::SupportedKxGroup>) -> bool {
    group.is_some_and(|group| group.name() == NamedGroup::X25519MLKEM768)
}

fn fingerprint(certificate: &[u8]) -> [u8; 32] {
    Sha256::digest(certificate).into()
}
