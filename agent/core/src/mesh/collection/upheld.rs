//! Which records of a key that ended still count: named by hash, so that nobody adds to them who has the key.

use minicbor::bytes::ByteArray;
use minicbor::{Decode, Encode};
use sha2::{Digest, Sha256};

use crate::mesh::record::Hash;

/// Bytes of a mark: the leftmost 160 bits of a record's hash. Half as many could be met by two records that were made to.
const MARK: usize = 20;
/// Marks beside each other; more are put into lists.
const INLINE: usize = 32;
/// Marks in one list.
const LISTED: usize = 1_600;
/// Lists that are looked into.
const MAX_LISTS: usize = 16;

/// What still counts of a key that ended.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Upheld {
    /// Marks, ascending, end to end.
    #[n(0)]
    #[cbor(with = "minicbor::bytes")]
    pub marks: Vec<u8>,
    /// `upheld/<this, in lower-case hex>` has further ones.
    #[n(1)]
    pub lists: Vec<ByteArray<32>>,
}

/// `upheld/<SHA-256 of this value>`: marks that did not fit where they belong.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct UpheldList {
    /// Marks, ascending, end to end.
    #[n(0)]
    #[cbor(with = "minicbor::bytes")]
    pub marks: Vec<u8>,
}

#[derive(Decode)]
#[cbor(map)]
struct Borrowed<'a> {
    #[b(0)]
    #[cbor(with = "minicbor::bytes")]
    marks: &'a [u8],
}

impl Upheld {
    /// The most records that can be named; of more the last are left out.
    pub const MOST: usize = MAX_LISTS * LISTED;

    /// Names records by their hashes. Lists, if there are any, are `(key, value)` of records in `upheld` to be said before.
    pub fn of(hashes: &[Hash]) -> (Self, Vec<(String, UpheldList)>) {
        let hashes = &hashes[..hashes.len().min(Self::MOST)];
        if hashes.len() <= INLINE {
            return (Self { marks: packed(hashes), lists: vec![] }, vec![]);
        }
        let mut upheld = Self::default();
        let lists = hashes.chunks(LISTED).map(|chunk| UpheldList { marks: packed(chunk) });
        let named = lists.map(|list| {
            let name = Sha256::digest(minicbor::to_vec(&list).unwrap_or_default());
            upheld.lists.push(ByteArray::from(<[u8; 32]>::from(name)));
            (data_encoding::HEXLOWER.encode(&name), list)
        });
        let named = named.collect();
        (upheld, named)
    }

    /// Whether a record is named. `list` finds the value of a list by its key.
    pub fn holds<'a>(&self, hash: &Hash, list: impl Fn(&str) -> Option<&'a [u8]>) -> bool {
        contains(&self.marks, hash)
            || self.lists.iter().take(MAX_LISTS).any(|name| {
                let value = list(&data_encoding::HEXLOWER.encode(&name[..]));
                value.and_then(|value| minicbor::decode(value).ok()).is_some_and(|list: Borrowed<'_>| contains(list.marks, hash))
            })
    }
}

fn packed(hashes: &[Hash]) -> Vec<u8> {
    let mut marks: Vec<&[u8]> = hashes.iter().map(|hash| &hash[..MARK]).collect();
    marks.sort_unstable();
    marks.concat()
}

fn contains(marks: &[u8], hash: &Hash) -> bool {
    let (marks, _) = marks.as_chunks::<MARK>();
    marks.binary_search_by(|mark| mark[..].cmp(&hash[..MARK])).is_ok()
}
