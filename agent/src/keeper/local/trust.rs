//! What everyone may know: roots, revocation lists, and the description of this API.

use std::sync::LazyLock;

use reverie_core::api::local::{Bundle, Crls};
use reverie_core::api::{Code, Problem, document};
use zeroize::Zeroizing;

use super::answer::{Answer, Reply};
use super::call::Call;
use super::secrets::unknown_format;
use crate::keeper::federation;
use crate::keeper::identity::issuers::to_pem;

static DOCUMENT: LazyLock<Vec<u8>> =
    LazyLock::new(|| serde_json::to_vec(&document(env!("CARGO_PKG_VERSION"))).unwrap_or_default());

pub(super) fn bundle(call: &Call<'_>) -> Answer {
    let own = call.keeper.host.trust_domain.as_str();
    let (domain, roots) = match call.query("trust_domain").filter(|domain| *domain != own) {
        None => (own.to_owned(), call.keeper.issuers().bundle_pem.clone()),
        Some(domain) => {
            let bundles = call.keeper.federations.bundles();
            let known = bundles.iter().find(|(known, _)| known.as_str() == domain);
            let (domain, bundle) = known.ok_or_else(|| {
                let shown: String = domain.chars().take(80).collect();
                Problem::new(Code::NotFound, format!("no bundle of the trust domain {shown:?} is known here"))
                    .advise("declare it as [[federation]]; `agentctl status` says whether it could be fetched")
            })?;
            (domain.to_string(), bundle.roots.iter().map(|der| to_pem("CERTIFICATE", der)).collect())
        }
    };
    match call.query("format") {
        Some("pem") => Reply::text("application/x-pem-file", &roots),
        Some("spiffe") if domain == own => Ok(Reply::Json(Zeroizing::new(federation::own_bundle(call.keeper)))),
        None | Some("json") => Reply::json(&Bundle { trust_domain: domain, roots: blocks(&roots) }),
        Some(other) => Err(unknown_format(other, "json, pem or, for the agent's own trust domain, spiffe")),
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
