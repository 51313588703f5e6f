//! Compiles what is beside it without `protoc`, with the descriptors that reflection serves.

use std::error::Error;
use std::path::PathBuf;

use prost::Message;

const ROOTS: [&str; 3] =
    ["workload.proto", "envoy/service/secret/v3/sds.proto", "envoy/extensions/transport_sockets/tls/v3/secret.proto"];

/// Messages with private keys: wiped when they have been sent.
const SECRET: [&str; 5] =
    [".X509SVID", ".JWTSVID", ".WITSVID", ".envoy.config.core.v3.DataSource.specifier", ".google.protobuf.Any"];

fn main() -> Result<(), Box<dyn Error>> {
    for source in ["workload.proto", "envoy", "google", "build.rs"] {
        println!("cargo::rerun-if-changed={source}");
    }
    let descriptors = protox::compile(ROOTS, ["."])?;
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(out.join("descriptors.bin"), descriptors.encode_to_vec())?;
    let mut builder = tonic_prost_build::configure()
        .build_client(false)
        .compile_well_known_types(true)
        .build_transport(false)
        .include_file("proto.rs");
    for message in SECRET {
        builder = builder.type_attribute(message, "#[derive(::zeroize::Zeroize, ::zeroize::ZeroizeOnDrop)]");
    }
    // Lists of revoked certificates may be large, and every stream gets the same ones.
    let shared = [".X509SVIDResponse.crl", ".X509BundlesResponse.crl"];
    shared.iter().fold(builder, |builder, field| builder.bytes(field)).compile_fds(descriptors)?;
    Ok(())
}
