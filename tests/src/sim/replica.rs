//! What a host holds. The rounds do not care; figures for a thousand hosts are taken with [`Plain`].

use std::rc::Rc;

use reverie_core::id::NodeId;
use reverie_core::moment::Moment;
use sha2::{Digest as _, Sha256};

/// Everything the mesh's driver needs of a store.
pub trait Replica {
    type Vector: Clone;
    type Record: Clone;
    type Summary: Clone;
    /// Histories that are wanted anew, and up to where they came.
    type Histories: Clone + Default + PartialEq;

    fn vector(&mut self) -> Self::Vector;
    fn digest(&self) -> [u8; 32];
    /// A page of what somebody with that vector lacks, and whether there is more.
    fn since(&self, vector: &Self::Vector, to: usize) -> (Vec<Self::Record>, bool);
    /// How many were new.
    fn merge(&mut self, now: Moment, records: &[Self::Record]) -> u32;
    /// Our own history, if whoever has that claims to have records of ours that we never wrote.
    fn claimed(&self, theirs: &Self::Vector) -> Self::Histories;
    /// `a` has nothing that `b` lacks.
    fn covers(b: &Self::Vector, a: &Self::Vector) -> bool;
    /// Entries of a vector, for sizes.
    fn entries(vector: &Self::Vector) -> usize;
    /// Bytes of a record.
    fn size(record: &Self::Record) -> usize;
    /// Whom to speak with, if that changed since it was asked last.
    fn peers(&mut self, now: Moment) -> Option<Vec<NodeId>>;
    /// Where two that are heard equally far differ.
    fn summary(&self) -> Self::Summary;
    /// Of the authors that differ from that, nothing has come yet.
    fn differing(&self, theirs: &Self::Summary) -> Self::Histories;
    /// What we have, but of those only what came.
    fn asking(&mut self, anew: &Self::Histories) -> Self::Vector;
    /// Up to where they have come with these records.
    fn came(anew: &Self::Histories, records: &[Self::Record]) -> Self::Histories;
}

/// Counters: how far each author was heard. A record is an author and a number.
pub struct Plain {
    heard: Rc<Vec<u32>>,
    digest: [u64; 4],
}

impl Plain {
    pub fn new(authors: usize) -> Self {
        Self { heard: Rc::new(vec![1; authors]), digest: [0; 4] }
    }

    /// Its author writes; gives the number.
    pub fn write(&mut self, author: usize) -> u32 {
        let next = self.heard[author] + 1;
        self.take(author, next);
        next
    }

    pub fn heard(&self, author: usize) -> u32 {
        self.heard[author]
    }

    fn take(&mut self, author: usize, number: u32) {
        Rc::make_mut(&mut self.heard)[author] = number;
        let hash = Sha256::digest([(author as u64).to_le_bytes(), u64::from(number).to_le_bytes()].concat());
        for (sum, bytes) in self.digest.iter_mut().zip(hash.chunks_exact(8)) {
            *sum = sum.wrapping_add(u64::from_le_bytes(bytes.try_into().unwrap()));
        }
    }
}

impl Replica for Plain {
    type Vector = Rc<Vec<u32>>;
    type Record = (usize, u32);
    type Summary = ();
    type Histories = ();

    fn vector(&mut self) -> Self::Vector {
        self.heard.clone()
    }

    fn digest(&self) -> [u8; 32] {
        let mut digest = [0; 32];
        for (to, from) in digest.chunks_exact_mut(8).zip(self.digest) {
            to.copy_from_slice(&from.to_le_bytes());
        }
        digest
    }

    fn since(&self, vector: &Self::Vector, _: usize) -> (Vec<Self::Record>, bool) {
        if Rc::ptr_eq(vector, &self.heard) {
            return (Vec::new(), false);
        }
        let both = self.heard.iter().zip(vector.iter()).enumerate();
        let lacking = both.flat_map(|(author, (have, has))| (has + 1..=*have).map(move |number| (author, number)));
        (lacking.collect(), false)
    }

    fn merge(&mut self, _: Moment, records: &[Self::Record]) -> u32 {
        let mut taken = 0;
        for (author, number) in records {
            if *number == self.heard[*author] + 1 {
                self.take(*author, *number);
                taken += 1;
            }
        }
        taken
    }

    fn claimed(&self, _: &Self::Vector) {}

    fn covers(b: &Self::Vector, a: &Self::Vector) -> bool {
        Rc::ptr_eq(a, b) || a.iter().zip(b.iter()).all(|(a, b)| a <= b)
    }

    fn entries(vector: &Self::Vector) -> usize {
        vector.len()
    }

    fn size(_: &Self::Record) -> usize {
        // A signed record of some 150 bytes of value.
        400
    }

    fn peers(&mut self, _: Moment) -> Option<Vec<NodeId>> {
        None
    }

    fn summary(&self) {}

    fn differing(&self, _: &()) {}

    fn asking(&mut self, _: &()) -> Self::Vector {
        self.vector()
    }

    fn came(_: &(), _: &[Self::Record]) {}
}
