//! What another host lacks, in pages.

use super::Set;
use crate::id::NodeId;
use crate::mesh::record::Fields;
use crate::mesh::vector::{Position, VersionVector};

/// Some of the records that a host lacks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Page {
    /// Each author's in ascending position; every key before what is signed with it.
    pub records: Vec<Box<[u8]>>,
    /// What the host has once it took them: asked with this, the next page follows.
    pub vector: VersionVector,
    /// More pages follow.
    pub more: bool,
}

impl Set {
    /// The records that a host with `vector` lacks; at most `limit` bytes, but always at least one record.
    ///
    /// Costs a look at each author, and what is sent.
    pub fn since(&self, vector: &VersionVector, limit: usize) -> Page {
        let mut page = Page { records: Vec::new(), vector: vector.clone(), more: false };
        let lacking = self.ledgers.iter().enumerate().filter(|(_, l)| l.len() > 0 && vector.get(&l.node) < l.head.0);
        let mut lacking: Vec<u32> = lacking.map(|(author, _)| author as u32).collect();
        let mut size = 0;
        // An author whose next record is signed with a key that comes with another's waits for that.
        while !lacking.is_empty() {
            let before = lacking.len();
            let mut advanced = false;
            let mut waiting = Vec::new();
            for author in lacking {
                let ledger = &self.ledgers[author as usize];
                let mut complete = true;
                for (position, id) in ledger.after(page.vector.get(&ledger.node)) {
                    let entry = self.entry(id);
                    if !self.is_taken_by(&page.vector, &ledger.node, &entry.fields()) {
                        complete = false;
                        break;
                    }
                    // Two statements at one position stay together: the vector cannot name one of them.
                    let together = page.vector.get(&ledger.node) == position;
                    if size + entry.raw.len() > limit && !page.records.is_empty() && !together {
                        page.more = true;
                        return page;
                    }
                    let evidence = self.evidence_between(&ledger.node, page.vector.get(&ledger.node), position, &page.vector);
                    size += entry.raw.len() + evidence.iter().map(|raw| raw.len()).sum::<usize>();
                    page.records.extend(evidence);
                    page.records.push(entry.raw.clone());
                    page.vector.advance(&ledger.node, position);
                    advanced = true;
                }
                if !complete {
                    waiting.push(author);
                }
            }
            if !advanced && waiting.len() == before {
                break;
            }
            lacking = waiting;
        }
        page
    }

    /// Whether a host with that vector knows the key, and that it may write there.
    fn is_taken_by(&self, vector: &VersionVector, author: &NodeId, fields: &Fields<'_>) -> bool {
        let (keys, kid) = (self.keys(), fields.kid);
        keys.introductions(author, kid).any(|(by, position)| vector.get(by) >= position)
            && (!fields.collection.is_for_authorities(fields.key, fields.author) || keys.is_authority_by(author, kid, vector))
    }

    /// The proof that an author has two histories, if it lies there: it goes along at its place in the history, so that the
    /// vector hides nothing. Of its records those that the host takes by then.
    fn evidence_between(&self, author: &NodeId, after: Position, to: Position, known: &VersionVector) -> Vec<Box<[u8]>> {
        let Some(evidence) = self.evidence.get(author).filter(|e| after < e.position && e.position <= to) else { return vec![] };
        let pair = [evidence.first.clone(), evidence.second.clone()];
        pair.into_iter().filter(|raw| self.is_taken_by(known, author, &Fields::read_filed(raw))).collect()
    }
}
