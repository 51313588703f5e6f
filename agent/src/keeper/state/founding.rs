//! Founding a store, and reading what is needed before anything else.

use redb::ReadableTable;
use reverie_core::audit::{ChainHead, SignedHead};
use reverie_core::moment::Moment;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::cipher::{self, Cipher, CipherError, UnwrapError, WrappedKey};
use super::directory::{Directory, Found};
use super::error::{Fault, OpenError, StateError};
use super::file::Faults;
use super::heads::{self, HeadKey};
use super::schema::{self, AUDIT_KEY, EXTENT, FORMAT, FORMAT_ROW, HEADS, ID_ROW, INTERNAL, KEY_ROW, NAMED, PLAIN, TRAIL};
use super::store::{OpenFault, Store};
use super::trail::{self, Extent};
use super::{damage, migration};

/// An open store and what lies in it.
pub(super) struct Opened {
    pub(super) store: Store,
    pub(super) store_id: [u8; 16],
    pub(super) cipher: Cipher,
    pub(super) head_key: HeadKey,
    pub(super) extent: Extent,
    pub(super) head: ChainHead,
    /// The last signed head.
    pub(super) signed: Option<SignedHead>,
    pub(super) transaction: u64,
}

/// Opens the store in that directory, or makes one if there never was one.
pub(super) fn open(directory: &Directory, root: &Zeroizing<[u8; 32]>, faults: &Faults, now: Moment) -> Result<Opened, OpenError> {
    let path = directory.store();
    if directory.find_store()? == Found::Nothing {
        found(directory, root, faults)?;
    }
    let damaged = |what: String| damage::report(&path, what, now);
    let store = match Store::open(&path, faults) {
        Ok(store) => store,
        Err(OpenFault::InUse) => return Err(OpenError::InUse { path }),
        Err(OpenFault::Io(source)) => return Err(OpenError::Io { doing: "open", path, source }),
        Err(OpenFault::Damaged(what)) => return Err(damaged(what)),
    };
    let read = |error: StateError| match error {
        StateError::Damaged { what } => damaged(what),
        error => OpenError::Io { doing: "read", path: path.clone(), source: std::io::Error::other(error.to_string()) },
    };
    let plain = store.read(read_plain).inspect_err(|_| store.close()).map_err(read)?;
    if plain.format > FORMAT {
        return Err(OpenError::Newer { path, found: plain.format, known: FORMAT });
    }
    let data_key = plain.key.unwrap(root, &plain.id).map_err(|error| match error {
        UnwrapError::WrongSecret => OpenError::WrongSecret { path: path.clone() },
        UnwrapError::Damaged => {
            store.close();
            damaged("its data key does not decrypt".into())
        }
    })?;
    directory.mark(&plain.id)?;
    let cipher = Cipher::new(data_key).map_err(|CipherError| library_refused(&path))?;
    let content = store.read(|transaction| read_content(transaction, &cipher)).inspect_err(|_| store.close()).map_err(read)?;
    let transaction = store.transaction_number().map_err(read)?;
    let transaction = migration::bring_up_to_date(&store, plain.format, transaction).map_err(read)?;
    let Content { head_key, extent, head, signed } = content;
    Ok(Opened { store, store_id: plain.id, cipher, head_key, extent, head, signed, transaction })
}

fn library_refused(path: &std::path::Path) -> OpenError {
    let source = std::io::Error::other("the cryptographic library refused");
    OpenError::Io { doing: "set up the keys of", path: path.to_owned(), source }
}

/// Makes a store under another name and renames it: a crash leaves none or a whole one.
fn found(directory: &Directory, root: &Zeroizing<[u8; 32]>, faults: &Faults) -> Result<(), OpenError> {
    directory.clear_new_store()?;
    let path = directory.new_store();
    let failed = |why: String| OpenError::Io { doing: "create", path: path.clone(), source: std::io::Error::other(why) };
    let refused = |CipherError| library_refused(&path);
    let store = Store::create(&path, faults).map_err(|fault| match fault {
        OpenFault::Io(source) => OpenError::Io { doing: "create", path: path.clone(), source },
        OpenFault::Damaged(what) => failed(what),
        OpenFault::InUse => OpenError::InUse { path: path.clone() },
    })?;
    let id = cipher::random::<16>().map_err(refused)?;
    let data_key = Zeroizing::new(cipher::random::<32>().map_err(refused)?);
    let key = encode_key(&WrappedKey::wrap(root, &data_key, &id).map_err(refused)?);
    let cipher = Cipher::new(data_key).map_err(refused)?;
    let head_key = HeadKey::generate().map_err(refused)?;
    let rows = [
        schema::seal_named(&cipher, INTERNAL, AUDIT_KEY, &head_key).map_err(refused)?,
        encode_extent(&cipher, &Extent::default()).map_err(refused)?,
    ];
    let write = |transaction: &redb::WriteTransaction| -> Result<(), Fault> {
        let mut plain = transaction.open_table(PLAIN)?;
        plain.insert(FORMAT_ROW, &FORMAT.to_be_bytes()[..])?;
        plain.insert(ID_ROW, &id[..])?;
        plain.insert(KEY_ROW, &*key)?;
        let mut named = transaction.open_table(NAMED)?;
        for (key, sealed) in &rows {
            named.insert(key, &**sealed)?;
        }
        transaction.open_table(TRAIL)?;
        transaction.open_table(HEADS)?;
        transaction.open_table(schema::ISSUED)?;
        transaction.open_table(schema::ENDING)?;
        transaction.open_table(schema::HOLDER)?;
        transaction.open_table(schema::REVOKED)?;
        transaction.open_table(schema::RECORDS)?;
        Ok(())
    };
    let written = store.write(0, write);
    store.close();
    written.map_err(|error| failed(StateError::from(error.fault).to_string()))?;
    directory.name_new_store()
}

/// The row of a wrapped key: with its own hash, so that a changed byte is not taken for a wrong root secret.
pub(super) fn encode_key(key: &WrappedKey) -> Vec<u8> {
    let bytes = postcard::to_stdvec(key).unwrap_or_default();
    [&Sha256::digest(&bytes)[..], &bytes].concat()
}

fn decode_key(row: &[u8]) -> Option<WrappedKey> {
    let (digest, bytes) = row.split_at_checked(32)?;
    if Sha256::digest(bytes)[..] != *digest {
        return None;
    }
    postcard::from_bytes(bytes).ok()
}

/// The row of the extent.
pub(super) fn encode_extent(cipher: &Cipher, extent: &Extent) -> Result<(schema::NamedKey, Vec<u8>), CipherError> {
    let bytes = postcard::to_stdvec(extent).map_err(|_| CipherError)?;
    schema::seal_named(cipher, INTERNAL, EXTENT, &bytes)
}

struct Plain {
    format: u32,
    id: [u8; 16],
    key: WrappedKey,
}

fn read_plain(transaction: &redb::ReadTransaction) -> Result<Plain, Fault> {
    let plain = transaction.open_table(PLAIN).map_err(structural)?;
    let missing = || Fault::Content("its first page does not read as it was written".into());
    let get =
        |name: &str| -> Result<Vec<u8>, Fault> { Ok(ReadableTable::get(&plain, name)?.ok_or_else(missing)?.value().to_vec()) };
    let format = u32::from_be_bytes(get(FORMAT_ROW)?.try_into().map_err(|_| missing())?);
    if format == 0 {
        return Err(missing());
    }
    if format > FORMAT {
        // What follows may look different there.
        let key = WrappedKey::default();
        return Ok(Plain { format, id: [0; 16], key });
    }
    let id = get(ID_ROW)?.try_into().map_err(|_| missing())?;
    Ok(Plain { format, id, key: decode_key(&get(KEY_ROW)?).ok_or_else(missing)? })
}

struct Content {
    head_key: HeadKey,
    extent: Extent,
    head: ChainHead,
    signed: Option<SignedHead>,
}

/// Every named row must decrypt; the log must be whole.
fn read_content(transaction: &redb::ReadTransaction, cipher: &Cipher) -> Result<Content, Fault> {
    let (mut head_key, mut extent) = (None, None);
    let named = transaction.open_table(NAMED).map_err(structural)?;
    for row in named.iter()? {
        let (key, sealed) = row?;
        let (name, value) = schema::open_row(cipher, key.value(), sealed.value())?;
        match (key.value()[0], &*name) {
            (INTERNAL, AUDIT_KEY) => head_key = HeadKey::from_pkcs8(&value).ok(),
            (INTERNAL, EXTENT) => extent = postcard::from_bytes::<Extent>(&value).ok(),
            _ => {}
        }
    }
    let missing = || Fault::Content("rows that every store has are missing".into());
    let extent = extent.ok_or_else(missing)?;
    let events = transaction.open_table(TRAIL).map_err(structural)?;
    let head = trail::head(&events, cipher, &extent)?;
    transaction.open_table(schema::ISSUED).map_err(structural)?;
    transaction.open_table(schema::ENDING).map_err(structural)?;
    transaction.open_table(schema::HOLDER).map_err(structural)?;
    transaction.open_table(schema::REVOKED).map_err(structural)?;
    let signed = heads::list(&transaction.open_table(HEADS).map_err(structural)?, cipher)?.pop();
    Ok(Content { head_key: head_key.ok_or_else(missing)?, extent, head, signed })
}

/// A table that is not there, or of another shape, is damage.
pub(super) fn structural(error: redb::TableError) -> Fault {
    match error {
        redb::TableError::Storage(error) => error.into(),
        error => Fault::Content(error.to_string()),
    }
}
