//! What another host lacks, in pages.

use super::Set;
use crate::mesh::record::Hash;
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
                    if !self.has_key(&page.vector, entry.kid) {
                        complete = false;
                        break;
                    }
                    // Two statements at one position stay together: the vector cannot name one of them.
                    let together = page.vector.get(&ledger.node) == position;
                    if size + entry.raw.len() > limit && !page.records.is_empty() && !together {
                        page.more = true;
                        return page;
                    }
                    size += entry.raw.len();
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

    /// Whether a host with that vector knows the key.
    fn has_key(&self, vector: &VersionVector, kid: u32) -> bool {
        let (author, kid) = self.kids[kid as usize];
        self.keys.introductions(self.node(author), kid).any(|(by, position)| vector.get(by) >= position)
    }

    /// What stands of an author beyond `after`, in pages, for a host whose digest of the author differs.
    pub fn history_page(&self, author: &crate::id::NodeId, after: Position, limit: usize) -> Page {
        let mut page = Page::default();
        let mut size = 0;
        if let Some(evidence) = self.evidence.get(author).filter(|_| after == Position::default()) {
            page.records.extend([evidence.first.clone(), evidence.second.clone()]);
        }
        for (position, id) in self.ledger(author).into_iter().flat_map(|ledger| ledger.after(after)) {
            let raw = &self.entry(id).raw;
            if size + raw.len() > limit && size > 0 && page.vector.get(author) != position {
                page.more = true;
                break;
            }
            size += raw.len();
            page.records.push(raw.clone());
            page.vector.advance(author, position);
        }
        page
    }

    /// Hashes of everything that stands of an author: what a host has that took the author's history.
    pub fn hashes(&self, author: &crate::id::NodeId) -> Vec<Hash> {
        let ledger = self.ledger(author).into_iter();
        ledger.flat_map(|ledger| ledger.after(Position::default())).map(|(_, id)| self.entry(id).hash()).collect()
    }
}
