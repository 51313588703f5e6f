//! Every signing key that was ever admitted. Whether a record can be verified rests on this, whether it *counts* does not:
//! an eviction takes nothing from here, or acceptance would depend on what came first.

use std::collections::BTreeMap;

use super::super::collection::Standing;
use super::super::crypto::{Kid, PublicOperations, SigningPublicKey};
use super::super::record::{Parsed, Verified};
use super::super::vector::Position;
use super::{Anchor, Refusal};
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

impl Keys {
    pub(super) fn new(anchor: &Anchor) -> Self {
        let name = (anchor.key.kid(), anchor.node.clone());
        Self {
            known: BTreeMap::from([(
                name,
                Known { key: anchor.key.clone(), authority: true, introduced: vec![(anchor.node.clone(), Position::default())] },
            )]),
            grants: BTreeMap::new(),
        }
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
                match self.known.get_mut(&granted) {
                    Some(known) => {
                        if !known.introduced.contains(&introduction) {
                            known.introduced.push(introduction);
                        }
                        if known.authority || !gives_authority {
                            continue;
                        }
                        known.authority = true;
                    }
                    None => {
                        let introduced = vec![introduction];
                        let known = Known { key: grant.key.clone(), authority: gives_authority, introduced };
                        self.known.insert(granted.clone(), known);
                    }
                }
                changed.push(granted);
            }
        }
    }
}
