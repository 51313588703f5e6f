//! Certificates and keys in DER, as one file holds one of them.

use reverie_core::ipc::warden::File;
use zeroize::Zeroizing;

use crate::keeper::identity::issuers::Issuers;
use crate::keeper::identity::store::Generation;

/// What a PEM text holds, in its order.
pub(super) fn blocks(text: &str) -> Result<Vec<Vec<u8>>, pem::PemError> {
    Ok(pem::parse_many(text)?.into_iter().map(pem::Pem::into_contents).collect())
}

/// The key of a PEM text (PKCS #8).
pub(super) fn private_key(text: &str) -> Result<Zeroizing<Vec<u8>>, pem::PemError> {
    pem::parse(text).map(|key| Zeroizing::new(key.into_contents()))
}

/// `tls.der`, `intermediate.der`, `tls.key.der`, and each root as `ca-N.der`.
pub(super) fn files(mode: u32, generation: &Generation, issuers: &Issuers) -> Result<Vec<File>, pem::PemError> {
    let file = |name: String, mode, content| File { name, mode, content, made_from: None };
    let (chain, roots) = (blocks(&generation.chain_pem)?, blocks(&issuers.bundle_pem)?);
    let names = ["tls.der", "intermediate.der"].into_iter().map(str::to_owned);
    let chain = names.zip(chain).map(|(name, der)| file(name, 0o444, der));
    let roots = roots.into_iter().enumerate().map(|(index, der)| file(format!("ca-{}.der", index + 1), 0o444, der));
    let mut files: Vec<File> = chain.chain(roots).collect();
    files.push(file("tls.key.der".to_owned(), mode, std::mem::take(&mut *private_key(&generation.key_pem)?)));
    Ok(files)
}
