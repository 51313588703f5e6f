//! Sealing by a 0600 key file, where there is neither a TPM nor systemd's host key.
//!
//! A sealed secret is `"reverie-sealed-1\n"`, the key's id (16 bytes), the name's length (u8) and the name, a nonce
//! (12 bytes), AES-256-GCM ciphertext and tag, then the SHA-256 of all that. What comes before the nonce is
//! authenticated; the plain digest only tells damage from a wrong key.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use aws_lc_rs::aead::{AES_256_GCM, Aad, Nonce, RandomizedNonceKey};
use aws_lc_rs::digest::{SHA256, SHA256_OUTPUT_LEN, digest};
use aws_lc_rs::{hmac, rand};
use data_encoding::HEXLOWER;
use nix::unistd::geteuid;
use zeroize::Zeroizing;

use crate::durable;
use crate::seal::{check_name, check_sealed, check_secret};
use crate::systemd_creds::damaged;
use crate::{Description, Mode, Policy, Seal, SealError};

const MAGIC: &[u8] = b"reverie-sealed-1\n";
const KEY_LEN: usize = 32;
const ID_LEN: usize = 16;
const NONCE_LEN: usize = 12;

/// Seals with 32 random bytes in a file of this user's own. Made by [`KeyFile::create`], and never anew by itself.
#[derive(Debug, Clone)]
pub struct KeyFile {
    path: PathBuf,
}

impl KeyFile {
    /// Uses the key at `path`, which is read at each call.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// Where the key is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes the key, unless a usable one is there already.
    pub fn create(&self) -> Result<(), SealError> {
        match self.key() {
            Err(SealError::KeyFileAbsent { .. }) => {}
            found => return found.map(drop),
        }
        let mut key = Zeroizing::new([0; KEY_LEN]);
        fill_random(&mut *key)?;
        let mut unique = [0; 8];
        fill_random(&mut unique)?;
        let temporary = self.path.with_extension(format!("{}.new", HEXLOWER.encode(&unique)));
        durable::write_fresh(&temporary, &*key)?;
        // A link, since a rename would replace a key that another process has just made.
        let linked = fs::hard_link(&temporary, &self.path);
        fs::remove_file(&temporary).map_err(SealError::io("remove", &temporary))?;
        match linked {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(SealError::io("create", &self.path)(error)),
            _ => {}
        }
        durable::sync_dir(self.path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new(".")))?;
        self.key().map(drop)
    }

    fn key(&self) -> Result<Key, SealError> {
        let path = || self.path.clone();
        let file = durable::open_plain(&self.path).map_err(|error| match error.raw_os_error() {
            _ if error.kind() == io::ErrorKind::NotFound => SealError::KeyFileAbsent { path: path() },
            Some(code) if code == nix::libc::ELOOP => SealError::KeyFileUnsafe {
                path: path(),
                why: "it is a symbolic link".to_owned(),
                remedy: "put the file itself there",
            },
            _ if error.kind() == io::ErrorKind::PermissionDenied => SealError::NotPermitted {
                what: format!("the key file {}", self.path.display()),
                detail: error.to_string(),
                remedy: "run as the user who owns it",
            },
            _ => SealError::io("open", path())(error),
        })?;
        // Asked of the open file, not of the path, which may name another by now.
        let facts = file.metadata().map_err(SealError::io("inspect", &self.path))?;
        let unsafe_because = |why, remedy| Err(SealError::KeyFileUnsafe { path: path(), why, remedy });
        if facts.uid() != geteuid().as_raw() {
            return unsafe_because(format!("it belongs to uid {}", facts.uid()), "run as that user, or chown it to this one");
        }
        if facts.mode() & 0o077 != 0 {
            let mode = facts.mode() & 0o7777;
            return unsafe_because(format!("others have access to it (mode {mode:04o})"), "chmod 0600, and renew what it sealed");
        }
        let bytes = durable::read_open(file, &self.path, "the key file", KEY_LEN)?;
        let bytes: &[u8; KEY_LEN] = bytes.as_slice().try_into().map_err(|_| SealError::Damaged {
            what: format!("the key file {}", self.path.display()),
            why: format!("it holds {} bytes where a key has {KEY_LEN}", bytes.len()),
        })?;
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, bytes), b"reverie key id");
        let mut id = [0; ID_LEN];
        id.copy_from_slice(&tag.as_ref()[..ID_LEN]);
        let aead = RandomizedNonceKey::new(&AES_256_GCM, bytes).map_err(|_| random_failed())?;
        Ok(Key { id, aead })
    }
}

struct Key {
    id: [u8; ID_LEN],
    aead: RandomizedNonceKey,
}

/// 32 bytes (or as many as `out` takes) from the system's generator by way of aws-lc.
pub(crate) fn fill_random(out: &mut [u8]) -> Result<(), SealError> {
    rand::fill(out).map_err(|_| random_failed())
}

fn random_failed() -> SealError {
    SealError::Io { doing: "draw randomness from", path: "aws-lc".into(), source: io::Error::other("the generator failed") }
}

fn head(id: &[u8; ID_LEN], name: &str) -> Vec<u8> {
    let name_len = u8::try_from(name.len()).unwrap_or(u8::MAX); // checked: at most 128
    [MAGIC, id, &[name_len], name.as_bytes()].concat()
}

impl Seal for KeyFile {
    fn seal(&self, name: &str, secret: &[u8], policy: &Policy) -> Result<Vec<u8>, SealError> {
        check_name(name)?;
        check_secret(secret)?;
        if !policy.is_empty() {
            return Err(SealError::PolicyNeedsTpm { mode: Mode::File, pcrs: policy.pcrs().to_vec() });
        }
        let key = self.key()?;
        let head = head(&key.id, name);
        let mut text = Zeroizing::new(Vec::with_capacity(secret.len() + AES_256_GCM.tag_len()));
        text.extend_from_slice(secret);
        let nonce = key.aead.seal_in_place_append_tag(Aad::from(&head), &mut *text).map_err(|_| random_failed())?;
        let mut blob = [&head, nonce.as_ref().as_slice(), &text].concat();
        let sum = digest(&SHA256, &blob);
        blob.extend_from_slice(sum.as_ref());
        Ok(blob)
    }

    fn unseal(&self, name: &str, blob: &[u8]) -> Result<Zeroizing<Vec<u8>>, SealError> {
        check_name(name)?;
        check_sealed(blob)?;
        let key = self.key()?;
        let Parts { head, name: sealed_as, body } = parse(blob, &key.id, &self.path)?;
        if sealed_as != name.as_bytes() {
            let sealed_as = String::from_utf8_lossy(sealed_as).into_owned();
            return Err(SealError::OtherName { expected: name.to_owned(), sealed_as });
        }
        let (nonce, sealed) = body.split_at_checked(NONCE_LEN).ok_or_else(|| damaged("it is cut short"))?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| damaged("it is cut short"))?;
        let mut text = Zeroizing::new(sealed.to_vec());
        let len = key.aead.open_in_place(nonce, Aad::from(head), &mut text).map_err(|_| damaged("it does not decrypt"))?.len();
        text.truncate(len);
        Ok(text)
    }

    fn describe(&self) -> Description {
        Description::new(Mode::File, format!("the key file {}", self.path.display()))
    }
}

struct Parts<'a> {
    /// All that is authenticated beside the secret.
    head: &'a [u8],
    name: &'a [u8],
    /// Nonce, ciphertext and tag.
    body: &'a [u8],
}

fn parse<'a>(blob: &'a [u8], id: &[u8; ID_LEN], path: &Path) -> Result<Parts<'a>, SealError> {
    let short = || damaged("it is cut short");
    let (blob, sum) = blob.split_last_chunk::<SHA256_OUTPUT_LEN>().ok_or_else(short)?;
    if digest(&SHA256, blob).as_ref() != sum {
        return Err(damaged("its checksum does not fit"));
    }
    let rest = blob.strip_prefix(MAGIC).ok_or_else(|| damaged("it was not sealed by a key file"))?;
    let (sealed_by, rest) = rest.split_at_checked(ID_LEN).ok_or_else(short)?;
    let (len, rest) = rest.split_first().ok_or_else(short)?;
    let (name, body) = rest.split_at_checked(usize::from(*len)).ok_or_else(short)?;
    if sealed_by != id {
        return Err(SealError::OtherKeyFile { path: path.to_owned() });
    }
    Ok(Parts { head: &blob[..blob.len() - body.len()], name, body })
}
