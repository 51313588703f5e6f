//! Sums of hashes modulo 2^256: the order in which they were added does not show, and each can be taken out again.

/// A sum; the least significant word first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Sum([u64; 4]);

fn words(hash: &[u8; 32]) -> [u64; 4] {
    let word = |i: usize| hash[32 - 8 * (i + 1)..32 - 8 * i].iter().fold(0, |word, &byte| word << 8 | u64::from(byte));
    [word(0), word(1), word(2), word(3)]
}

impl Sum {
    pub(super) fn add(&mut self, hash: &[u8; 32]) {
        let mut carry = false;
        for (word, more) in self.0.iter_mut().zip(words(hash)) {
            let (sum, first) = word.overflowing_add(more);
            let (sum, second) = sum.overflowing_add(u64::from(carry));
            (*word, carry) = (sum, first || second);
        }
    }

    pub(super) fn subtract(&mut self, hash: &[u8; 32]) {
        let mut borrow = false;
        for (word, less) in self.0.iter_mut().zip(words(hash)) {
            let (rest, first) = word.overflowing_sub(less);
            let (rest, second) = rest.overflowing_sub(u64::from(borrow));
            (*word, borrow) = (rest, first || second);
        }
    }

    /// Big endian.
    pub(super) fn to_bytes(self) -> [u8; 32] {
        let mut bytes = [0; 32];
        for (i, word) in self.0.iter().rev().enumerate() {
            bytes[8 * i..8 * (i + 1)].copy_from_slice(&word.to_be_bytes());
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sum_shows_no_order_and_what_is_taken_out_is_gone() {
        let (a, b) = ([0xff; 32], [0x81; 32]);
        let (mut ab, mut ba) = (Sum::default(), Sum::default());
        ab.add(&a);
        ab.add(&b);
        ba.add(&b);
        ba.add(&a);
        assert_eq!(ab, ba);
        ab.subtract(&a);
        assert_eq!(ab.to_bytes(), b);
        ab.subtract(&b);
        assert_eq!(ab, Sum::default());
    }
}
