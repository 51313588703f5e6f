//! Every signing key that was ever admitted. Whether a record can be verified rests on this, whether it *counts* does not:
//! an eviction takes nothing from here, or acceptance would depend on what came first.

use std::collections::{BTreeMap, BTreeSet};

use super::super::collection::{Admission, Collection, HostKey, Standing};
use super::super::crypto::{Kid, PublicOperations, SigningPublicKey};
use super::super::record::{Fields, Parsed, Verified};
use super::super::vector::{Position, VersionVector};
use super::{Anchor, Refusal, Set};
use crate::id::NodeId;

type Name = (Kid, NodeId);

/// Keys by name. To be shared between the threads that verify.
#[derive(Debug, Clone, Default)]
pub struct Keys {
    known: BTreeMap<Name, Known>,
    /// What each key grants once it may.
    grants: BTreeMap<Name, Vec<Grant>>,
}

#[derive(Debug, Clone)]
struct Known {
    key: SigningPublicKey,
    authority: bool,
    /// By whose records; the anchor's is known without one.
    introduced: Vec<(NodeId, Position)>,
    /// Which of them made it an authority's; of a host's next key with the key before, which must be one already.
    raised: Vec<(NodeId, Position, Option<Kid>)>,
}

/// What one record says of a key.
#[derive(Debug, Clone)]
pub(super) struct Grant {
    pub(super) by: NodeId,
    pub(super) at: Position,
    pub(super) node: NodeId,
    pub(super) key: SigningPublicKey,
    /// `None`: a host's next key, of the standing that the one before has.
    pub(super) standing: Option<Standing>,
}

impl Grant {
    /// A key that does not bear the name it is filed under is none.
    pub(super) fn of(fields: &Fields<'_>) -> Option<Self> {
        let value = fields.value.filter(|_| matches!(fields.collection, Collection::Admissions | Collection::HostKeys))?;
        let (author, at): (NodeId, _) = (fields.author.parse().ok()?, fields.position);
        let named = |node: &NodeId, kid: Kid| fields.key.split_once('/') == Some((node.as_str(), &kid.to_string()));
        match fields.collection {
            Collection::Admissions => {
                let admission: Admission = minicbor::decode(value).ok()?;
                let standing = Some(admission.standing);
                let grant = Self { by: author, at, standing, node: admission.node, key: admission.signing_key };
                named(&grant.node, grant.key.kid()).then_some(grant)
            }
            Collection::HostKeys => {
                let next: HostKey = minicbor::decode(value).ok()?;
                let grant = Self { by: author.clone(), at, standing: None, node: author, key: next.signing_key };
                (next.previous == fields.kid && named(&grant.node, grant.key.kid())).then_some(grant)
            }
            _ => None,
        }
    }
}

impl Keys {
    pub(super) fn new(anchor: &Anchor) -> Self {
        let name = (anchor.key.kid(), anchor.node.clone());
        let known = Known {
            key: anchor.key.clone(),
            authority: true,
            introduced: vec![(anchor.node.clone(), Position::default())],
            raised: vec![(anchor.node.clone(), Position::default(), None)],
        };
        Self { known: BTreeMap::from([(name, known)]), grants: BTreeMap::new() }
    }

    /// Of what stands in a set.
    pub(super) fn of(set: &Set) -> Self {
        let mut keys = Self::new(set.anchor());
        for entry in [Collection::Admissions, Collection::HostKeys].into_iter().flat_map(|kind| set.chains(kind)).flatten() {
            let fields = entry.fields();
            if let Some(grant) = Grant::of(&fields) {
                keys.note(fields.kid, grant);
            }
        }
        keys
    }

    /// The key that `node` names so.
    pub fn find(&self, node: &NodeId, kid: Kid) -> Option<&SigningPublicKey> {
        self.known.get(&(kid, node.clone())).map(|known| &known.key)
    }

    /// Whose records made a key known.
    pub(super) fn introductions(&self, node: &NodeId, kid: Kid) -> impl Iterator<Item = (&NodeId, Position)> {
        let known = self.known.get(&(kid, node.clone())).into_iter();
        known.flat_map(|known| &known.introduced).map(|(by, at)| (by, *at))
    }

    /// Whether a key is, or ever was, an authority's. Once it is it stays so, whatever becomes of the host.
    pub fn is_authority(&self, node: &NodeId, kid: Kid) -> bool {
        self.known.get(&(kid, node.clone())).is_some_and(|known| known.authority)
    }

    /// Whether it is to a host that has heard so much.
    pub(super) fn is_authority_by(&self, node: &NodeId, kid: Kid, vector: &VersionVector) -> bool {
        let (mut asked, mut seen) = (vec![kid], BTreeSet::new());
        while let Some(kid) = asked.pop().filter(|kid| seen.insert(*kid)) {
            let known = self.known.get(&(kid, node.clone())).into_iter().flat_map(|known| &known.raised);
            for (_, _, previous) in known.filter(|(by, at, _)| vector.get(by) >= *at) {
                match previous {
                    None => return true,
                    Some(previous) => asked.push(*previous),
                }
            }
        }
        false
    }

    /// Whether a record's key is known, and may write there. If not it comes again, once it is.
    pub fn admits(&self, parsed: &Parsed) -> bool {
        let Some(known) = self.known.get(&(parsed.kid, parsed.author.clone())) else { return false };
        let is_for_authorities = |fields: Fields<'_>| fields.collection.is_for_authorities(fields.key, fields.author);
        known.authority || !parsed.fields().is_ok_and(is_for_authorities)
    }

    /// Notes the keys that a verified record introduces, as taking it would: so a message is verified before any of it is taken.
    pub fn learn(&mut self, verified: &Verified) {
        if let Ok(fields) = verified.parsed().fields()
            && let Some(grant) = Grant::of(&fields)
        {
            self.note(fields.kid, grant);
        }
    }

    /// Verifies a record's signature.
    pub fn verify(&self, parsed: Parsed, operations: &dyn PublicOperations) -> Result<Verified, Refusal> {
        let key = self.find(parsed.author(), parsed.kid()).ok_or(Refusal::UnknownKey)?;
        parsed.verify(key, operations).map_err(|_| Refusal::BadSignature)
    }

    /// Notes what the holder of `signer` grants, and follows up whatever that makes known. A member's admissions grant
    /// nothing: else it could make itself as many authors as it likes, each with a share of its own.
    pub(super) fn note(&mut self, signer: Kid, grant: Grant) {
        let name = (signer, grant.by.clone());
        self.grants.entry(name.clone()).or_default().push(grant);
        let mut changed = vec![name];
        while let Some(name) = changed.pop() {
            let Some(authority) = self.known.get(&name).map(|known| known.authority) else { continue };
            for grant in self.grants.get(&name).into_iter().flatten() {
                let gives_authority = match grant.standing {
                    Some(standing) if authority => standing == Standing::Authority,
                    Some(_) => continue,
                    None => authority,
                };
                let granted = (grant.key.kid(), grant.node.clone());
                let introduction = (grant.by.clone(), grant.at);
                let raise = (grant.by.clone(), grant.at, grant.standing.is_none().then_some(name.0));
                match self.known.get_mut(&granted) {
                    Some(known) => {
                        if !known.introduced.contains(&introduction) {
                            known.introduced.push(introduction);
                        }
                        if gives_authority && !known.raised.contains(&raise) {
                            known.raised.push(raise);
                        }
                        if known.authority || !gives_authority {
                            continue;
                        }
                        known.authority = true;
                    }
                    None => {
                        let (introduced, raised) = (vec![introduction], gives_authority.then_some(raise).into_iter().collect());
                        let known = Known { key: grant.key.clone(), authority: gives_authority, introduced, raised };
                        self.known.insert(granted.clone(), known);
                    }
                }
                changed.push(granted);
            }
        }
    }
}
