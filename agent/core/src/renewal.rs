//! When a certificate is renewed.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::moment::{Moment, Span};

/// From when to when a certificate is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Validity {
    /// First moment.
    pub not_before: Moment,
    /// Last moment.
    pub not_after: Moment,
}

impl Validity {
    /// True at `now`, both ends included.
    pub fn contains(&self, now: Moment) -> bool {
        self.not_before <= now && now <= self.not_after
    }

    /// How long it is good.
    pub fn life(&self) -> Duration {
        self.not_after.since(self.not_before)
    }

    /// When half of its life is over.
    pub fn half_life(&self) -> Moment {
        self.not_before.after(self.life() / 2)
    }
}

/// When a rule wants its certificates renewed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Renewal {
    /// Time of the day, UTC: `"02:00-04:00"`; may pass midnight. Renewal waits for it. Default: at any time.
    pub window: Option<Window>,
    /// So long before the end it waits no more. Default: a tenth of the life.
    pub deadline: Option<Span>,
}

/// A part of each day, UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Minutes after midnight.
    opens: u32,
    /// Minutes it is open: 1 to 1440.
    minutes: u32,
}

const DAY: u32 = 24 * 60;

impl FromStr for Window {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let number = |text: &str, below: u32| -> Option<u32> {
            let digits = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
            text.parse().ok().filter(|number| digits && *number < below)
        };
        let minute = |text: &str| -> Option<u32> {
            let (hour, minute) = text.trim().split_once(':')?;
            Some(number(hour, 24)? * 60 + number(minute, 60)?)
        };
        let ends = text.split_once('-').and_then(|(opens, closes)| Some((minute(opens)?, minute(closes)?)));
        match ends {
            Some((opens, closes)) if opens != closes => Ok(Self { opens, minutes: (closes + DAY - opens) % DAY }),
            _ => Err(format!("{text:?} is not a part of the day; write it in UTC, like \"02:00-04:00\" or \"22:30-01:00\"")),
        }
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let closes = (self.opens + self.minutes) % DAY;
        write!(f, "{:02}:{:02}-{:02}:{:02}", self.opens / 60, self.opens % 60, closes / 60, closes % 60)
    }
}

impl Serialize for Window {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Window {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl schemars::JsonSchema for Window {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Window".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "pattern": "^[0-2][0-9]:[0-5][0-9]-[0-2][0-9]:[0-5][0-9]$" })
    }
}

impl Window {
    /// If it is open at `at`, from `at` to its end; else the next time it opens, and how long it is open then.
    fn next(self, at: Moment) -> (Moment, Duration) {
        let minutes = |minutes: u32| Duration::from_secs(u64::from(minutes) * 60);
        let day = minutes(DAY);
        let of_day = Duration::from_secs(u64::try_from(at.as_secs().rem_euclid(i64::from(DAY) * 60)).unwrap_or(0));
        let since_opening = (of_day + day - minutes(self.opens)).as_secs() % day.as_secs();
        let since_opening = Duration::from_secs(since_opening);
        match minutes(self.minutes).checked_sub(since_opening) {
            Some(left) if !left.is_zero() => (at, left),
            _ => (at.after(day.saturating_sub(since_opening)), minutes(self.minutes)),
        }
    }
}

/// The moment to renew: half of the life, then up to a tenth of it later by `jitter` (0 to `u16::MAX`), so that
/// a thousand hosts started together do not renew together. With a window: the first part of one after half of the life,
/// spread over it, but not past the deadline. A clock that jumped past the end yields a moment in the past, which means
/// now.
pub fn renew_at(validity: Validity, rule: &Renewal, jitter: u16) -> Moment {
    let life = validity.not_after.since(validity.not_before);
    let share = f64::from(jitter) / f64::from(u16::MAX);
    let half = validity.not_before.after(life / 2);
    let Some(window) = rule.window else { return half.after(life.mul_f64(0.1 * share)) };
    let (opens, open_for) = window.next(half);
    let latest = validity.not_after.before(rule.deadline.map_or(life / 10, |deadline| deadline.0));
    opens.after(open_for.mul_f64(share)).min(latest.max(half))
}

/// How long to wait after the `failures`-th failure in a row: 1 s, doubling, never past a tenth of what is left,
/// nor above 5 minutes.
pub fn retry_after(failures: u32, remaining: Duration) -> Duration {
    let doubled = Duration::from_secs(1 << failures.saturating_sub(1).min(9));
    doubled.min(Duration::from_secs(300)).min((remaining / 10).max(Duration::from_secs(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renewal_falls_between_half_and_six_tenths_of_the_life() {
        let validity = Validity { not_before: Moment::from_secs(0), not_after: Moment::from_secs(1000) };
        assert_eq!(renew_at(validity, &Renewal::default(), 0), Moment::from_secs(500));
        assert_eq!(renew_at(validity, &Renewal::default(), u16::MAX), Moment::from_secs(600));
    }

    fn at(day: i64, hour: i64) -> Moment {
        Moment::from_secs((day * 24 + hour) * 3600)
    }

    #[test]
    fn renewal_waits_for_its_part_of_the_day_and_is_spread_over_it() {
        // Half of the life is day 4, noon.
        let validity = Validity { not_before: at(1, 12), not_after: at(7, 12) };
        let window = |text: &str| Renewal { window: Some(text.parse().unwrap()), deadline: None };
        for (text, first, last) in
            [("02:00-04:00", at(5, 2), at(5, 4)), ("11:00-14:00", at(4, 12), at(4, 14)), ("22:00-01:00", at(4, 22), at(5, 1))]
        {
            assert_eq!(renew_at(validity, &window(text), 0), first, "{text}");
            assert_eq!(renew_at(validity, &window(text), u16::MAX), last, "{text}");
            assert_eq!(text.parse::<Window>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn renewal_does_not_wait_past_its_deadline() {
        let validity = Validity { not_before: at(1, 0), not_after: at(1, 12) };
        let window = Some("02:00-04:00".parse().unwrap());
        let rule = Renewal { window, deadline: None };
        assert_eq!(renew_at(validity, &rule, 9), Moment::from_secs(at(1, 12).as_secs() - 12 * 360), "a tenth before the end");
        let rule = Renewal { window, deadline: Some("5h".parse().unwrap()) };
        assert_eq!(renew_at(validity, &rule, 9), at(1, 7));
    }

    #[test]
    fn what_is_no_part_of_the_day_is_refused() {
        for bad in ["", "02:00", "2:00-4:00", "24:00-01:00", "02:60-03:00", "03:00-03:00", "-02:00-03:00", "02:00-+3:00"] {
            assert!(bad.parse::<Window>().unwrap_err().contains("02:00-04:00"), "{bad}");
        }
    }

    proptest::proptest! {
        #[test]
        fn renewal_lies_between_half_of_the_life_and_its_end(
            start in 0_i64..4_000_000_000, life in 300_i64..3_000_000, opens in 0_u32..1440, minutes in 1_u32..1440, jitter: u16
        ) {
            let validity = Validity { not_before: Moment::from_secs(start), not_after: Moment::from_secs(start + life) };
            let rule = Renewal { window: Some(Window { opens, minutes }), deadline: None };
            let at = renew_at(validity, &rule, jitter);
            proptest::prop_assert!(at >= Moment::from_secs(start + life / 2) && at < validity.not_after);
        }
    }

    #[test]
    fn retries_back_off_but_never_past_the_end() {
        let day = Duration::from_secs(86_400);
        assert_eq!(retry_after(1, day), Duration::from_secs(1));
        assert_eq!(retry_after(4, day), Duration::from_secs(8));
        assert_eq!(retry_after(100, day), Duration::from_secs(300));
        assert_eq!(retry_after(100, Duration::from_secs(60)), Duration::from_secs(6));
    }
}
