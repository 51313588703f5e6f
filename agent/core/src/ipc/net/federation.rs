//! Bundle endpoints of other trust domains, and how their servers are known.

use serde::{Deserialize, Serialize};

use crate::config::HttpsUrl;
use crate::id::{SpiffeId, TrustDomain};

/// All of them. Numbered; a new number for every change.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FederationEndpoints {
    /// Its number.
    pub number: u64,
    /// One for each trust domain.
    pub endpoints: Vec<BundleEndpoint>,
}

/// Where the bundle of a trust domain is fetched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BundleEndpoint {
    /// Which.
    pub trust_domain: TrustDomain,
    /// Where.
    pub url: HttpsUrl,
    /// How its server is known.
    pub verification: Verification,
}

/// How a server is known (SPIFFE Federation §5.2).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verification {
    /// By a certificate for the host in the URL, under one of these authorities (PEM).
    Web {
        /// PEM, one after the other.
        authorities: String,
    },
    /// By this SPIFFE ID, in a certificate under one of these roots.
    Spiffe {
        /// Of the server.
        spiffe_id: SpiffeId,
        /// Roots of the trust domain of `spiffe_id`, DER.
        roots: Vec<Vec<u8>>,
    },
}
