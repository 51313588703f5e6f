//! Finding and locating damage: a changed, missing, inserted or cut-off line.

use serde::{Deserialize, Serialize};

use super::chain::chain_hash;
use super::{ChainHead, Hash, Line};

/// What is wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum Fault {
    /// The line is not JSON of the right shape.
    Unreadable {
        /// Number of the last good event before it.
        after: u64,
    },
    /// The line's hash does not follow from the line before: it, or its hash, was changed.
    Altered {
        /// The event's number.
        seq: u64,
    },
    /// Events are missing.
    Missing {
        /// First missing number.
        from: u64,
        /// Last missing number.
        to: u64,
    },
    /// A number that was already seen, or goes backwards.
    OutOfOrder {
        /// The number found.
        seq: u64,
        /// The number expected.
        expected: u64,
    },
    /// The log ends before a head that the host signed.
    Truncated {
        /// Number of the last event present.
        ends_at: u64,
        /// Number that the signed head vouches for.
        signed: u64,
    },
    /// The log agrees with itself but not with a head that the host signed: it was rewritten.
    Rewritten {
        /// The signed head's number.
        seq: u64,
    },
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unreadable { after } => write!(f, "the line after event {after} cannot be read"),
            Self::Altered { seq } => write!(f, "event {seq} was altered"),
            Self::Missing { from, to } if from == to => write!(f, "event {from} is missing"),
            Self::Missing { from, to } => write!(f, "events {from} to {to} are missing"),
            Self::OutOfOrder { seq, expected } => write!(f, "event {seq} stands where {expected} belongs"),
            Self::Truncated { ends_at, signed } => {
                write!(f, "the log ends at event {ends_at}, but the host signed event {signed}: its tail was cut off")
            }
            Self::Rewritten { seq } => write!(f, "event {seq} is not the one the host signed: the log was rewritten"),
        }
    }
}

/// The result of checking a log.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Report {
    /// Lines read.
    pub events: u64,
    /// Number of the first event read.
    pub first: u64,
    /// The last event read.
    pub head: ChainHead,
    /// What is wrong; empty if nothing is. At most [`Report::MAX_FAULTS`].
    pub faults: Vec<Fault>,
}

impl Report {
    /// No more faults than this are collected: one edit can break everything after it.
    pub const MAX_FAULTS: usize = 100;

    /// True if the log is whole.
    pub fn is_whole(&self) -> bool {
        self.faults.is_empty()
    }
}

/// Reads lines in order and notes what is wrong with them.
///
/// After a fault it goes on from the line's own claims, so that one edit yields one fault.
#[derive(Debug, Default)]
pub struct Verifier {
    report: Report,
    signed: Vec<ChainHead>,
}

impl Verifier {
    /// `start` is the head before the first line (the empty chain for a log that begins at 1);
    /// `signed` are heads whose signatures have been checked.
    pub fn new(start: ChainHead, mut signed: Vec<ChainHead>) -> Self {
        signed.sort_by_key(|head| head.seq);
        Self { report: Report { head: start, ..Report::default() }, signed }
    }

    /// Takes the next line, without its newline.
    pub fn line(&mut self, text: &str) {
        self.report.events += 1;
        let Ok(line) = Line::parse(text) else {
            return self.fault(Fault::Unreadable { after: self.report.head.seq });
        };
        let Ok((seq, _)) = line.event() else {
            return self.fault(Fault::Unreadable { after: self.report.head.seq });
        };
        if self.report.first == 0 {
            self.report.first = seq;
        }
        let expected = self.report.head.seq + 1;
        if seq < expected {
            return self.fault(Fault::OutOfOrder { seq, expected });
        }
        if seq > expected {
            let unreadable =
                matches!(self.report.faults.last(), Some(Fault::Unreadable { after }) if *after == self.report.head.seq);
            if !(unreadable && seq == expected + 1) {
                self.fault(Fault::Missing { from: expected, to: seq - 1 });
            }
        } else if chain_hash(self.report.head.hash, line.event.get().as_bytes()) != line.hash {
            self.fault(Fault::Altered { seq });
        }
        self.check_signed(seq, line.hash);
        self.report.head = ChainHead { seq, hash: line.hash };
    }

    /// The verdict, once all lines are in.
    pub fn finish(mut self) -> Report {
        let ends_at = self.report.head.seq;
        if let Some(signed) = self.signed.last().filter(|head| head.seq > ends_at).map(|head| head.seq) {
            self.fault(Fault::Truncated { ends_at, signed });
        }
        self.report
    }

    fn check_signed(&mut self, seq: u64, hash: Hash) {
        let from = self.signed.partition_point(|head| head.seq < seq);
        let disagrees = self.signed[from..].iter().take_while(|head| head.seq == seq).any(|head| head.hash != hash);
        if disagrees {
            self.fault(Fault::Rewritten { seq });
        }
    }

    fn fault(&mut self, fault: Fault) {
        if self.report.faults.len() < Report::MAX_FAULTS {
            self.report.faults.push(fault);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Actor, Event, Kind, Outcome, Subject};
    use super::*;
    use crate::moment::Moment;

    fn log(count: u64) -> (Vec<String>, ChainHead) {
        let mut head = ChainHead::default();
        let lines = (0..count).map(|n| {
            let event = Event {
                time: Moment::from_secs(1_700_000_000 + n as i64),
                kind: Kind::CertificateIssued,
                outcome: Outcome::Done,
                actor: Actor::Agent,
                subject: Subject { identity: Some(format!("id{n}")), ..Subject::default() },
                reason: None,
            };
            let (next, line) = head.append(&event).unwrap();
            head = next;
            line.to_text()
        });
        (lines.collect(), head)
    }

    fn verify(lines: &[String], signed: ChainHead) -> Vec<Fault> {
        let mut verifier = Verifier::new(ChainHead::default(), vec![signed]);
        lines.iter().for_each(|line| verifier.line(line));
        verifier.finish().faults
    }

    #[test]
    fn an_untouched_log_is_whole() {
        let (lines, head) = log(20);
        assert_eq!(verify(&lines, head), []);
    }

    #[test]
    fn an_edited_event_is_found_and_located() {
        let (mut lines, head) = log(20);
        lines[6] = lines[6].replace("id6", "id9");
        assert_eq!(verify(&lines, head), [Fault::Altered { seq: 7 }]);
    }

    #[test]
    fn words_written_beside_the_hashed_bytes_are_found() {
        for addition in ["{\"note\":\"never happened\",", "{ ", "{\"outcome\":\"failed\","] {
            let (mut lines, head) = log(20);
            lines[6] = lines[6].replacen('{', addition, 1);
            assert_eq!(verify(&lines, head)[0], Fault::Unreadable { after: 6 }, "{addition}");
        }
    }

    #[test]
    fn a_deleted_event_is_found_and_located() {
        let (mut lines, head) = log(20);
        lines.drain(4..7);
        assert_eq!(verify(&lines, head), [Fault::Missing { from: 5, to: 7 }]);
    }

    #[test]
    fn a_cut_off_tail_is_found_by_the_signed_head() {
        let (lines, head) = log(20);
        assert_eq!(verify(&lines[..15], head), [Fault::Truncated { ends_at: 15, signed: 20 }]);
    }

    #[test]
    fn a_log_forged_from_the_start_disagrees_with_the_signed_head() {
        let (_, head) = log(20);
        let mut forged = ChainHead::default();
        let lines: Vec<String> = (0..20)
            .map(|n| {
                let event = Event {
                    time: Moment::from_secs(n),
                    kind: Kind::AgentStarted,
                    outcome: Outcome::Done,
                    actor: Actor::Agent,
                    subject: Subject::default(),
                    reason: None,
                };
                let (next, line) = forged.append(&event).unwrap();
                forged = next;
                line.to_text()
            })
            .collect();
        assert_eq!(verify(&lines, head), [Fault::Rewritten { seq: 20 }]);
    }

    #[test]
    fn swapped_lines_and_garbage_are_found() {
        let (mut lines, head) = log(20);
        lines[3] = "{\"hash\":".into();
        assert_eq!(verify(&lines, head), [Fault::Unreadable { after: 3 }]);
        let (mut lines, head) = log(20);
        lines.swap(10, 11);
        assert!(!verify(&lines, head).is_empty());
    }

    proptest::proptest! {
        #[test]
        fn any_single_changed_byte_is_found(line in 0usize..12, at: usize, flip in 1u8..=255) {
            let (mut lines, head) = log(12);
            let mut bytes = lines[line].clone().into_bytes();
            let at = at % bytes.len();
            bytes[at] ^= flip;
            lines[line] = String::from_utf8_lossy(&bytes).into_owned();
            proptest::prop_assert!(!verify(&lines, head).is_empty());
        }
    }
}
