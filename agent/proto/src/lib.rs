//! The messages and services of `workload.sock` as they are on the wire, made from the files beside this.

#![forbid(unsafe_code)]

/// For reflection: what is served, as a `FileDescriptorSet`.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

#[allow(clippy::all, clippy::wildcard_imports, missing_debug_implementations, rust_2018_idioms, reason = "it is generated")]
mod generated {
    include!(concat!(env!("OUT_DIR"), "/proto.rs"));
}

pub use generated::google::protobuf::value::Kind;
pub use generated::google::protobuf::{ListValue, Struct, Value};

/// The SPIFFE Workload API. Its package has no name.
pub mod workload {
    pub use super::generated::spiffe_workload_api_server::*;
    pub use super::generated::{
        JwtBundlesRequest, JwtBundlesResponse, Jwtsvid, JwtsvidRequest, JwtsvidResponse, ValidateJwtsvidRequest,
        ValidateJwtsvidResponse, WitBundlesRequest, WitBundlesResponse, Witsvid, WitsvidRequest, WitsvidResponse,
        X509BundlesRequest, X509BundlesResponse, X509svid, X509svidRequest, X509svidResponse,
    };
}

/// Envoy's secret discovery service.
pub mod sds {
    pub use super::generated::envoy::config::core::v3::data_source::Specifier;
    pub use super::generated::envoy::config::core::v3::{DataSource, TypedExtensionConfig};
    pub use super::generated::envoy::extensions::transport_sockets::tls::v3::secret::Type;
    pub use super::generated::envoy::extensions::transport_sockets::tls::v3::spiffe_cert_validator_config::TrustDomain;
    pub use super::generated::envoy::extensions::transport_sockets::tls::v3::{
        CertificateValidationContext, Secret, SpiffeCertValidatorConfig, TlsCertificate,
    };
    pub use super::generated::envoy::service::discovery::v3::{
        DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse, Resource,
    };
    pub use super::generated::envoy::service::secret::v3::secret_discovery_service_server::*;
    pub use super::generated::google::protobuf::Any;
    pub use super::generated::google::rpc::Status;
}
