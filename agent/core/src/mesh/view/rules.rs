//! Who may write what.

use crate::id::NodeId;
use crate::mesh::collection::{
    Admission, AuditHead, BundleRoot, Collection, Eviction, HostIntermediate, HostKey, IssuingLimits, Node, Revocation,
    RevocationList, SharedIdentity, Standing, TokenKey, WrappingKeyVersion, split,
};
use crate::mesh::join::request::are_bounded;
use crate::mesh::members::Members;
use crate::mesh::record::Fields;
use crate::mesh::set::{Entry, Set};

/// Bytes of an audit head.
const MAX_AUDIT_HEAD: usize = 4 << 10;

/// Whether a record counts: its key has not ended, or what ended it upholds the record; its author may write there, and the value says what it should.
pub(super) fn counts(set: &Set, members: &Members, entry: &Entry) -> bool {
    let Some(standing) = members.standing_of(set, entry) else { return false };
    let fields = entry.fields();
    let author = set.node(entry.author);
    may_write(set, members, standing, author, &fields) && says(members, author, &fields)
}

fn may_write(set: &Set, members: &Members, standing: Standing, author: &NodeId, fields: &Fields<'_>) -> bool {
    let authority = standing == Standing::Authority;
    let (key, own) = (fields.key, fields.key == author.as_str());
    match fields.collection {
        Collection::Nodes => own || authority,
        // Who is admitted, evicted, and by which keys is decided as a whole, in `members`.
        Collection::Admissions | Collection::Confirmations => authority,
        Collection::Evictions => authority || split(key).is_some_and(|(node, _)| node == author.as_str()),
        Collection::HostKeys => split(key).is_some_and(|(node, _)| node == author.as_str()),
        Collection::Revocations => authority || split(key).is_some_and(|(issuer, _)| holds(set, members, author, issuer)),
        Collection::Crls => holds(set, members, author, key),
        Collection::AuditHeads | Collection::Floors => own,
        Collection::Lockouts => split(key).is_some_and(|(_, node)| node == author.as_str()),
        Collection::SigningKeys | Collection::RefreshFamilies | Collection::Upheld => true,
        Collection::Intermediates => authority && signed_by_root_of(set, members, author, fields),
        Collection::Bundles
        | Collection::WrappingKeys
        | Collection::IssuingLimits
        | Collection::Clients
        | Collection::Scopes
        | Collection::Hbac
        | Collection::Identities
        | Collection::Roles
        | Collection::Users
        | Collection::Invalidations => authority,
    }
}

/// Whether `author` holds that issuer: a root that it published, or an intermediate that an authority signed for it.
fn holds(set: &Set, members: &Members, author: &NodeId, issuer: &str) -> bool {
    holds_root(set, members, author, issuer)
        || set.under(Collection::Intermediates, issuer).any(|entry| {
            let value = entry.fields().value.and_then(|value| minicbor::decode::<HostIntermediate>(value).ok());
            value.is_some_and(|value| value.node == *author) && counts(set, members, entry)
        })
}

fn holds_root(set: &Set, members: &Members, author: &NodeId, root: &str) -> bool {
    let of_author = |entry: &&Entry| set.node(entry.author) == author && !entry.tombstone;
    set.under(Collection::Bundles, root).filter(of_author).any(|entry| counts(set, members, entry))
}

fn signed_by_root_of(set: &Set, members: &Members, author: &NodeId, fields: &Fields<'_>) -> bool {
    let Some(value) = fields.value else { return true };
    minicbor::decode::<HostIntermediate>(value).is_ok_and(|value| holds_root(set, members, author, &value.root))
}

/// Whether the value reads as its collection says. Those that later versions fill in are left to them.
fn says(members: &Members, author: &NodeId, fields: &Fields<'_>) -> bool {
    let Some(value) = fields.value else { return true };
    fn read<T: for<'b> minicbor::Decode<'b, ()>>(value: &[u8]) -> Option<T> {
        minicbor::decode(value).ok()
    }
    match fields.collection {
        Collection::Nodes => read::<Node>(value).is_some_and(|node| {
            let subject = fields.key.parse::<NodeId>().ok();
            let known = subject.and_then(|subject| members.get(&subject)).is_some_and(|m| m.kids.contains(&node.signing_kid));
            known && are_bounded(&node.addresses)
        }),
        Collection::Admissions => read::<Admission>(value).is_some(),
        Collection::HostKeys => read::<HostKey>(value).is_some(),
        Collection::Evictions => read::<Eviction>(value).is_some(),
        Collection::Revocations => read::<Revocation>(value).is_some(),
        Collection::Bundles => read::<BundleRoot>(value).is_some_and(|root| is_named(fields.key, &root.certificate)),
        Collection::Intermediates => {
            read::<HostIntermediate>(value).is_some_and(|intermediate| is_named(fields.key, &intermediate.certificate))
        }
        Collection::Crls => read::<RevocationList>(value).is_some(),
        Collection::SigningKeys => read::<TokenKey>(value).is_some_and(|key| key.public_key.kid().to_string() == fields.key),
        Collection::WrappingKeys => {
            read::<WrappingKeyVersion>(value).is_some_and(|version| version.version.to_string() == fields.key)
        }
        Collection::IssuingLimits => fields.key.parse::<NodeId>().is_ok() && read::<IssuingLimits>(value).is_some(),
        Collection::AuditHeads => {
            fields.key == author.as_str() && read::<AuditHead>(value).is_some_and(|head| head.signed.len() <= MAX_AUDIT_HEAD)
        }
        // Whatever this version does not know could be a command, a path or an owner: it is void as a whole.
        Collection::Identities => SharedIdentity::read(value).is_some(),
        _ => true,
    }
}

fn is_named(key: &str, certificate: &[u8]) -> bool {
    use sha2::{Digest, Sha256};
    key == data_encoding::HEXLOWER.encode(&Sha256::digest(certificate))
}
