//! What everyone may know: roots, revocation lists, and the description of this API.

use std::sync::LazyLock;

use reverie_core::api::document;
use reverie_core::api::local::{Bundle, Crls};
use zeroize::Zeroizing;

use super::answer::{Answer, Reply};
use super::call::Call;
use super::secrets::unknown_format;

static DOCUMENT: LazyLock<Vec<u8>> =
    LazyLock::new(|| serde_json::to_vec(&document(env!("CARGO_PKG_VERSION"))).unwrap_or_default());

pub(super) fn bundle(call: &Call<'_>) -> Answer {
    let issuers = call.keeper.issuers();
    match call.query("format") {
        Some("pem") => Reply::text("application/x-pem-file", &issuers.bundle_pem),
        None | Some("json") => {
            Reply::json(&Bundle { trust_domain: call.keeper.host.trust_domain.to_string(), roots: blocks(&issuers.bundle_pem) })
        }
        Some(other) => Err(unknown_format(other, "json or pem")),
    }
}

pub(super) fn crls(call: &Call<'_>) -> Answer {
    let issuers = call.keeper.issuers();
    match call.query("format") {
        Some("pem") => Reply::text("application/x-pem-file", &issuers.crl_pem),
        None | Some("json") => Reply::json(&Crls { crls: blocks(&issuers.crl_pem) }),
        Some(other) => Err(unknown_format(other, "json or pem")),
    }
}

pub(super) fn openapi() -> Answer {
    Ok(Reply::Json(Zeroizing::new(DOCUMENT.clone())))
}

/// One string per PEM block.
fn blocks(pem: &str) -> Vec<String> {
    pem.split_inclusive("-----END").fold(Vec::<String>::new(), |mut blocks, part| {
        match part.split_once("-----\n").filter(|(label, _)| !label.contains("BEGIN")) {
            // The rest of an end line closes the block before.
            Some((label, next)) => {
                if let Some(last) = blocks.last_mut() {
                    last.push_str(label);
                    last.push_str("-----\n");
                }
                if !next.is_empty() {
                    blocks.push(next.to_owned());
                }
            }
            None => blocks.push(part.to_owned()),
        }
        blocks
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_several_certificates_is_cut_into_blocks() {
        let one = "-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n";
        let two = "-----BEGIN X509 CRL-----\nBBBB\n-----END X509 CRL-----\n";
        assert_eq!(blocks(&format!("{one}{two}")), [one, two]);
        assert_eq!(blocks(""), [""; 0]);
    }
}
