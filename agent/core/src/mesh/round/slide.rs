//! When a change is pushed: the first at once, what follows it slides, so that a burst is one message.

use std::time::Duration;

use super::RoundSettings;
use crate::moment::Moment;

/// Where what is to be pushed came from: whoever told us is not told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// We wrote it, or several told us.
    Many {
        /// Some of it is our own.
        local: bool,
    },
    /// One peer told us.
    Peer(usize),
}

impl Source {
    fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Peer(a), Self::Peer(b)) if a == b => self,
            _ => Self::Many { local: self.is_local() || other.is_local() },
        }
    }

    /// Some of it is our own.
    pub(super) const fn is_local(self) -> bool {
        matches!(self, Self::Many { local: true })
    }
}

#[derive(Debug, Default)]
pub(super) struct Slide {
    flushed: Option<Moment>,
    pending: Option<Pending>,
}

#[derive(Debug)]
struct Pending {
    since: Moment,
    due: Moment,
    source: Source,
}

impl Slide {
    pub(super) fn note(&mut self, now: Moment, source: Source, settings: &RoundSettings) {
        let slide = Duration::from_millis(settings.slide_ms.into());
        match &mut self.pending {
            Some(pending) => {
                let last = pending.since.after(Duration::from_millis(settings.slide_max_ms.into()));
                pending.due = pending.due.max(now.after(slide)).min(last);
                pending.source = pending.source.and(source);
            }
            None => {
                let burst = self.flushed.is_some_and(|flushed| now < flushed.after(slide));
                let due = if burst { now.after(slide) } else { now };
                self.pending = Some(Pending { since: now, due, source });
            }
        }
    }

    pub(super) fn due(&self) -> Option<Moment> {
        self.pending.as_ref().map(|pending| pending.due)
    }

    /// What is due by now.
    pub(super) fn take(&mut self, now: Moment) -> Option<Source> {
        let pending = self.pending.take_if(|pending| pending.due <= now)?;
        self.flushed = Some(now);
        Some(pending.source)
    }

    /// The list of peers is another one: what came from one of them may go to all.
    pub(super) fn forget_peers(&mut self) {
        if let Some(pending) = &mut self.pending
            && matches!(pending.source, Source::Peer(_))
        {
            pending.source = Source::Many { local: false };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS: RoundSettings = RoundSettings {
        slide_ms: 20,
        slide_max_ms: 150,
        anti_entropy_ms: 1000,
        fan_out_all: 16,
        back_off_max_ms: 1000,
        exchange_ms: 1000,
    };
    const LOCAL: Source = Source::Many { local: true };

    fn at(ms: i64) -> Moment {
        Moment::from_millis(ms)
    }

    #[test]
    fn the_first_change_is_due_at_once() {
        let mut slide = Slide::default();
        slide.note(at(5), LOCAL, &SETTINGS);
        assert_eq!(slide.take(at(5)), Some(LOCAL));
        assert_eq!(slide.due(), None);
    }

    #[test]
    fn a_burst_slides_but_no_longer_than_the_limit() {
        let mut slide = Slide::default();
        slide.note(at(0), LOCAL, &SETTINGS);
        slide.take(at(0)).unwrap();
        let mut flushes = Vec::new();
        for ms in 1..400 {
            if ms < 300 {
                slide.note(at(ms), LOCAL, &SETTINGS);
            }
            flushes.extend(slide.take(at(ms)).map(|_| ms));
        }
        // 150 ms after the change that began the wait, each time; the rest 20 ms after the last change.
        assert_eq!(flushes, [151, 302]);
    }

    #[test]
    fn a_change_after_a_pause_is_due_at_once_again() {
        let mut slide = Slide::default();
        slide.note(at(0), LOCAL, &SETTINGS);
        slide.take(at(0)).unwrap();
        slide.note(at(20), LOCAL, &SETTINGS);
        assert_eq!(slide.due(), Some(at(20)));
    }

    #[test]
    fn what_one_peer_told_twice_is_still_of_that_peer() {
        let mut slide = Slide::default();
        slide.note(at(0), Source::Peer(3), &SETTINGS);
        slide.note(at(0), Source::Peer(3), &SETTINGS);
        assert_eq!(slide.take(at(150)), Some(Source::Peer(3)));
        slide.note(at(200), Source::Peer(3), &SETTINGS);
        slide.note(at(200), LOCAL, &SETTINGS);
        assert_eq!(slide.take(at(400)), Some(LOCAL));
    }
}
