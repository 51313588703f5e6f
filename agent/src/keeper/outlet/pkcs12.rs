//! An identity as one PKCS#12 file: key, chain, and the roots as what Java calls trusted certificates.

use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};

use aws_lc_rs::digest::{Context, Digest, SHA256, digest};
use p12_keystore::{Certificate, EncryptionAlgorithm, KeyStore, KeyStoreEntry, MacAlgorithm, PrivateKeyChain};
use reverie_core::config::pkcs12::{Password, Pkcs12, Profile, password};
use reverie_core::id::SecretName;
use reverie_core::ipc::warden::File;
use zeroize::Zeroizing;

use super::der;
use crate::keeper::Keeper;
use crate::keeper::identity::issuers::Issuers;
use crate::keeper::identity::store::Generation;
use crate::keeper::state::StateError;

/// Java's own count. What guards the password is who may read it, and it is as long as its owner made it.
const ITERATIONS: u64 = 10_000;
/// More than the longest password, in bytes.
const MAX_PASSWORD_FILE: u64 = 1024;

/// Why there is no such file.
#[derive(Debug, thiserror::Error)]
pub enum Pkcs12Error {
    /// The secret has no value.
    #[error("the secret {0:?} that is its password has no value yet; give it one: agentctl secret seal {0}")]
    NoValue(SecretName),
    /// The secret or the file holds no such password.
    #[error("{place}: {why}")]
    Unusable {
        /// Which secret or file.
        place: String,
        /// What is wrong with it.
        why: String,
    },
    /// The store failed.
    #[error(transparent)]
    State(#[from] StateError),
    /// It could not be written down.
    #[error("it could not be written as PKCS#12: {0}")]
    Format(String),
}

/// The file `tls.p12`.
pub async fn file(
    keeper: &Keeper,
    rule: &Pkcs12,
    mode: u32,
    generation: &Generation,
    issuers: &Issuers,
) -> Result<File, Pkcs12Error> {
    let password = read_password(keeper, &rule.password).await?;
    let (name, profile) = (generation.identity.to_string(), rule.profile);
    let (chain, key, roots) = (generation.chain_pem.clone(), generation.key_pem.clone(), issuers.bundle_pem.clone());
    // Deriving keys from a password takes its time on purpose.
    let rendered = tokio::task::spawn_blocking(move || {
        let content = render(&name, profile, &password, &chain, &key, &roots)?;
        let made_from = made_from(profile, &[password.as_bytes(), key.as_bytes(), chain.as_bytes(), roots.as_bytes()]);
        Ok(File { name: "tls.p12".to_owned(), mode, content, made_from: made_from.as_ref().try_into().ok() })
    });
    rendered.await.map_err(|error| Pkcs12Error::Format(error.to_string()))?
}

/// The key is among the parts, so that nobody learns from the digest which password it is.
fn made_from(profile: Profile, parts: &[&[u8]]) -> Digest {
    let mut context = Context::new(&SHA256);
    context.update(match profile {
        Profile::Modern => b"pkcs12 modern",
        Profile::Legacy => b"pkcs12 legacy",
    });
    for part in parts {
        context.update(digest(&SHA256, part).as_ref());
    }
    context.finish()
}

/// The library keeps copies that it does not wipe: as long as memory is reused, and that is locked and in no core dump.
fn render(name: &str, profile: Profile, password: &str, chain: &str, key: &str, roots: &str) -> Result<Vec<u8>, Pkcs12Error> {
    let failed = |error: p12_keystore::error::Error| Pkcs12Error::Format(error.to_string());
    let read = |text: &str| {
        let certificates = der::blocks(text).map_err(|error| Pkcs12Error::Format(error.to_string()))?;
        certificates.iter().map(|der| Certificate::from_der(der).map_err(failed)).collect::<Result<Vec<_>, _>>()
    };
    let chain = read(chain)?;
    let leaf = chain.first().ok_or_else(|| Pkcs12Error::Format("it has no certificate".to_owned()))?;
    let id = digest(&SHA256, leaf.as_der());
    let key = super::der::private_key(key).map_err(|error| Pkcs12Error::Format(error.to_string()))?;
    let mut keystore = KeyStore::new();
    keystore.add_entry(name, KeyStoreEntry::PrivateKeyChain(PrivateKeyChain::new(&*key, id, chain)));
    for (index, root) in read(roots)?.into_iter().enumerate() {
        // No identity has a name with a colon.
        keystore.add_entry(&format!("ca:{}", index + 1), KeyStoreEntry::Certificate(root));
    }
    let writer = keystore.writer(password).encryption_iterations(ITERATIONS).mac_iterations(ITERATIONS);
    let writer = match profile {
        Profile::Modern => {
            writer.encryption_algorithm(EncryptionAlgorithm::PbeWithHmacSha256AndAes256).mac_algorithm(MacAlgorithm::HmacSha256)
        }
        Profile::Legacy => {
            writer.encryption_algorithm(EncryptionAlgorithm::PbeWithShaAnd3KeyTripleDesCbc).mac_algorithm(MacAlgorithm::HmacSha1)
        }
    };
    writer.write().map_err(failed)
}

async fn read_password(keeper: &Keeper, place: &Password) -> Result<Zeroizing<String>, Pkcs12Error> {
    let (bytes, place) = match place {
        Password::Secret(name) => {
            let stored = keeper.secrets.read(&keeper.state, name)?.ok_or_else(|| Pkcs12Error::NoValue(name.clone()))?;
            (stored.value, format!("the secret {name:?}"))
        }
        Password::File(path) => {
            let (own, unusable) = (path.clone(), |why| Pkcs12Error::Unusable { place: path.clone(), why });
            let read = tokio::task::spawn_blocking(move || read_file(&own)).await;
            let bytes = read.map_err(io::Error::other).flatten().map_err(|error| unusable(error.to_string()))?;
            (bytes, path.clone())
        }
    };
    let text = password(&bytes).map_err(|why| Pkcs12Error::Unusable { place, why: why.to_owned() })?;
    Ok(Zeroizing::new(text.to_owned()))
}

fn read_file(path: &str) -> io::Result<Zeroizing<Vec<u8>>> {
    // A pipe must not be waited for.
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    let meta = file.metadata()?;
    if !meta.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    if meta.mode() & 0o027 != 0 {
        return Err(io::Error::other("others may read it or its group may write it: chown root:reverie, chmod 0640"));
    }
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_PASSWORD_FILE as usize + 1));
    file.take(MAX_PASSWORD_FILE + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}
