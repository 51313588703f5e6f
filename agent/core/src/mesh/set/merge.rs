//! Taking many records at once, with the verification of signatures left to whoever has the cores for it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::{Keys, Offered, Refusal, Set};
use crate::id::NodeId;
use crate::mesh::crypto::PublicOperations;
use crate::mesh::record::{Hash, Parsed, Verified};

/// What became of many records.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Merge {
    /// Those that stand now, in the order they were taken: to be stored.
    pub taken: Vec<Parsed>,
    /// Hashes of those that stand no longer: to be removed from the store. A record of `taken` may be among them.
    pub displaced: Vec<Hash>,
    /// Those that stood already, or are superseded.
    pub known: usize,
    /// Those that were not taken, by author where that much could be read.
    pub refused: Vec<(Option<NodeId>, Refusal)>,
    /// Authors of whom two histories showed.
    pub forks: BTreeSet<NodeId>,
}

impl Merge {
    fn note(&mut self, parsed: Parsed, offered: Offered) {
        match offered {
            Offered::Taken { displaced, fork } => {
                if fork {
                    self.forks.insert(parsed.author.clone());
                }
                self.displaced.extend(displaced);
                self.taken.push(parsed);
            }
            Offered::Known | Offered::Superseded => self.known += 1,
            Offered::Fork => drop(self.forks.insert(parsed.author)),
            Offered::Refused(why) => self.refused.push((Some(parsed.author), why)),
        }
    }
}

impl Set {
    /// Takes records as they came in one message, verifying one after the other.
    pub fn merge(&mut self, records: &[impl AsRef<[u8]>], operations: &dyn PublicOperations) -> Merge {
        self.merge_with(records, |keys, parsed| parsed.into_iter().map(|record| keys.verify(record, operations)).collect())
    }

    /// The same; `verify` is handed all that can be verified now, and gives an answer for each, in the same order. It may use
    /// all cores.
    ///
    /// An author's records are taken in the order of their positions, and none after one that was refused: else the vector
    /// would say that it is there.
    pub fn merge_with(
        &mut self,
        records: &[impl AsRef<[u8]>],
        mut verify: impl FnMut(&Keys, Vec<Parsed>) -> Vec<Result<Verified, Refusal>>,
    ) -> Merge {
        let mut merge = Merge::default();
        let mut by_author: BTreeMap<NodeId, VecDeque<Parsed>> = BTreeMap::new();
        for record in records {
            match Parsed::new(record.as_ref()) {
                Ok(parsed) if self.standing_of(&parsed).is_some() => merge.known += 1,
                Ok(parsed) => by_author.entry(parsed.author.clone()).or_default().push_back(parsed),
                Err(why) => merge.refused.push((None, why.into())),
            }
        }
        for waiting in by_author.values_mut() {
            waiting.make_contiguous().sort_by_key(|parsed| parsed.position);
        }
        // Each turn takes what is signed with known keys, which may make further ones known.
        loop {
            let (mut ready, keys) = (Vec::new(), self.keys());
            for waiting in by_author.values_mut() {
                while let Some(parsed) = waiting.pop_front_if(|next| keys.admits(next)) {
                    ready.push(parsed);
                }
            }
            if ready.is_empty() {
                break;
            }
            let mut asked: Vec<Option<Parsed>> = ready.iter().cloned().map(Some).collect();
            let answers = verify(self.keys(), ready);
            for (parsed, answer) in asked.iter_mut().zip(answers) {
                let Some(parsed) = parsed.take() else { continue };
                // Gone from `by_author`: an earlier one was refused.
                let author = parsed.author.clone();
                if !by_author.contains_key(&author) {
                    merge.refused.push((Some(author), Refusal::AfterRefused));
                    continue;
                }
                match answer.map(|verified| self.take(verified)) {
                    Ok(offered) => merge.note(parsed, offered),
                    Err(why) => {
                        merge.refused.push((Some(author.clone()), why));
                        let rest = by_author.remove(&author).unwrap_or_default();
                        merge.refused.extend(rest.into_iter().map(|_| (Some(author.clone()), Refusal::AfterRefused)));
                    }
                }
            }
        }
        for (author, rest) in by_author {
            for (i, _) in rest.into_iter().enumerate() {
                let why = if i == 0 { Refusal::UnknownKey } else { Refusal::AfterRefused };
                merge.refused.push((Some(author.clone()), why));
            }
        }
        merge
    }

    /// Loads what this host verified before it wrote it to its own store, in any order, without verifying again.
    pub fn load(&mut self, records: impl IntoIterator<Item = impl AsRef<[u8]>>) -> Merge {
        let mut merge = Merge::default();
        for record in records {
            match Parsed::new(record.as_ref()) {
                Ok(parsed) => {
                    let offered = self.take(parsed.clone().trusted());
                    merge.note(parsed, offered);
                }
                Err(why) => merge.refused.push((None, why.into())),
            }
        }
        merge
    }
}
