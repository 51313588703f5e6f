//! What happens to a message between two hosts.

use std::collections::BTreeSet;

use super::chance::Chance;

/// How what is lost is noticed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// A lost message never arrives; the exchange ends at its deadline. Harder than any real connection.
    Silent,
    /// As over TCP: a lost message is sent again after 200 ms, doubled each time (RFC 6298 with Linux' minimum).
    Resent,
}

#[derive(Debug, Clone)]
pub struct Network {
    /// One way, microseconds, uniform.
    pub delay: (u64, u64),
    /// Of each message, both ways alike.
    pub loss: f64,
    pub how: Loss,
    /// Of each message: it comes a second time.
    pub duplication: f64,
    /// Of each message: it takes up to so many microseconds longer and is overtaken.
    pub reordering: (f64, u64),
    /// Messages from the first to the second are dropped.
    pub cut: BTreeSet<(usize, usize)>,
}

/// Who can reach whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Topology {
    Full,
    /// Each reaches the one before and the one after.
    Chain,
    /// And the first the last.
    Ring,
}

impl Network {
    /// A local network: 1 to 5 ms one way, nothing lost.
    pub fn lan() -> Self {
        Self { delay: (1_000, 5_000), loss: 0.0, how: Loss::Silent, duplication: 0.0, reordering: (0.0, 0), cut: BTreeSet::new() }
    }

    pub fn shape(&mut self, hosts: usize, topology: Topology) {
        self.cut.clear();
        if topology == Topology::Full {
            return;
        }
        for a in 0..hosts {
            for b in 0..hosts {
                let apart = a.abs_diff(b);
                if apart > 1 && !(topology == Topology::Ring && apart == hosts - 1) {
                    self.cut.insert((a, b));
                }
            }
        }
    }

    /// Nothing passes between those inside and those outside.
    pub fn part(&mut self, hosts: usize, inside: &BTreeSet<usize>) {
        for a in 0..hosts {
            for b in (0..hosts).filter(|b| inside.contains(&a) != inside.contains(b)) {
                self.cut.insert((a, b));
            }
        }
    }

    /// After how many microseconds it arrives, for each time it does.
    pub fn carry(&self, chance: &mut Chance, from: usize, to: usize) -> Vec<u64> {
        if self.cut.contains(&(from, to)) {
            return Vec::new();
        }
        let mut arrivals = Vec::with_capacity(1);
        let copies = 1 + usize::from(chance.happens(self.duplication));
        for _ in 0..copies {
            let mut delay = chance.between(self.delay.0, self.delay.1);
            if chance.happens(self.reordering.0) {
                delay += chance.between(0, self.reordering.1);
            }
            let mut wait = 200_000;
            let mut lost = false;
            while chance.happens(self.loss) {
                if self.how == Loss::Silent || wait > 6_400_000 {
                    lost = true;
                    break;
                }
                delay += wait;
                wait *= 2;
            }
            if !lost {
                arrivals.push(delay);
            }
        }
        arrivals
    }
}
