//! The text form of a policy: parsing and printing.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::{Algorithm, Policy};
use crate::algorithm::fixed::Layout;
use crate::calendar::CalendarUnit;
use crate::error::Error;

impl Policy {
    /// Reads a policy.
    ///
    /// | text | policy |
    /// | --- | --- |
    /// | `60/minute`, `5/30s`, `1000/day` | fixed windows aligned to the Unix epoch |
    /// | `10/week`, `10/month`, `10/year` | calendar windows in UTC; weeks begin on Monday |
    /// | `1000/day in Europe/Berlin` | calendar windows in an IANA time zone |
    /// | `30/24h from first` | windows opened by their first charge |
    /// | `100/minute sliding` | sliding window counter |
    /// | `100/minute sliding log` | sliding window log |
    /// | `10/second burst 20` | token bucket: refills 10 a second, holds 20 |
    /// | `3 at once for 10m` | concurrency: 3 places, leases of 10 minutes |
    ///
    /// In full, with white space between words and wherever else it helps:
    ///
    /// ```text
    /// policy = number "/" window [ "in" zone | "from" "first" | "sliding" [ "log" ] | "burst" number ]
    ///        | number "at" "once" "for" window
    /// window = [ number ] unit
    /// unit   = "us" | "ms" | "s" | "m" | "h" | "d" | "w", "µs", "sec", "min", "hr", or in words, singular or
    ///          plural: microsecond, millisecond, second, minute, hour, day, week, month, year
    /// number = digits, with "_" between them where that reads better
    /// zone   = an IANA time zone's name, or UTC
    /// ```
    ///
    /// Months and years are calendar windows only; so is a week that stands alone. A week of
    /// `sliding`, `from first`, `burst` and `at once` is 7 days. A policy prints as the shortest text
    /// that reads back as itself.
    ///
    /// ```
    /// use rebate_core::Policy;
    ///
    /// let policy = Policy::parse("30 / 1440 minutes from first")?;
    /// assert_eq!(policy.to_string(), "30/day from first");
    ///
    /// let error = Policy::parse("10/second bust 20").unwrap_err();
    /// assert_eq!(error.position(), Some(10));
    /// # Ok::<(), rebate_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::is_invalid`], with the [position](Error::position) of the byte that is wrong.
    pub fn parse(text: &str) -> Result<Self, Error> {
        Parser { text, at: 0 }.policy()
    }
}

impl FromStr for Policy {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        Policy::parse(text)
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.algorithm() {
            Algorithm::Fixed(fixed) => match &fixed.layout {
                Layout::Aligned(span) => write!(f, "{}/{}", fixed.quota, Span(*span)),
                Layout::FromFirst(span) => write!(f, "{}/{} from first", fixed.quota, Span(*span)),
                Layout::Calendar(calendar) => {
                    write!(f, "{}/{}", fixed.quota, calendar.unit)?;
                    // A day alone is aligned to the epoch, which is the same but another layout.
                    if calendar.is_utc() && calendar.unit != CalendarUnit::Day {
                        return Ok(());
                    }
                    write!(f, " in {}", calendar.zone())
                }
            },
            Algorithm::Sliding(sliding) => write!(f, "{}/{} sliding", sliding.quota, Span(sliding.window)),
            Algorithm::Log(entries) => write!(f, "{}/{} sliding log", entries.quota, Span(entries.span)),
            Algorithm::Bucket(bucket) => write!(f, "{}/{} burst {}", bucket.rate, Span(bucket.period), bucket.burst),
            Algorithm::Concurrency(entries) => {
                write!(f, "{} at once for {}", entries.quota, Span(entries.span).counted())
            }
        }
    }
}

#[cfg(feature = "serde")]
impl serde::Serialize for Policy {
    /// As its text.
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(feature = "serde")]
impl<'de> serde::Deserialize<'de> for Policy {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        Policy::parse(&text).map_err(serde::de::Error::custom)
    }
}

/// A span in microseconds, printed in the largest unit that divides it.
struct Span(u64);

const UNITS: [(&str, &str, u64); 6] = [
    ("d", "day", 86_400_000_000),
    ("h", "hour", 3_600_000_000),
    ("m", "minute", 60_000_000),
    ("s", "second", 1_000_000),
    ("ms", "millisecond", 1000),
    ("us", "microsecond", 1),
];

impl Span {
    /// With its number even where that is 1.
    fn counted(&self) -> String {
        let (symbol, _, unit) = self.unit();
        format!("{}{symbol}", self.0 / unit)
    }

    fn unit(&self) -> (&'static str, &'static str, u64) {
        UNITS.into_iter().find(|(_, _, unit)| self.0.is_multiple_of(*unit)).unwrap_or(UNITS[5])
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (_, word, unit) = self.unit();
        if self.0 == unit { f.write_str(word) } else { f.write_str(&self.counted()) }
    }
}

/// A window as it was written.
struct Window {
    /// Where it begins in the text.
    at: usize,
    number: Option<u64>,
    unit: Unit,
}

#[derive(Clone, Copy, PartialEq)]
enum Unit {
    Micros(u64),
    Week,
    Month,
    Year,
}

const WEEK: u64 = 7 * 86_400_000_000;

impl Window {
    /// The calendar unit it names, if it stands for one unit.
    fn calendar(&self) -> Option<CalendarUnit> {
        if self.number.is_some_and(|number| number != 1) {
            return None;
        }
        match self.unit {
            Unit::Micros(86_400_000_000) => Some(CalendarUnit::Day),
            Unit::Micros(_) => None,
            Unit::Week => Some(CalendarUnit::Week),
            Unit::Month => Some(CalendarUnit::Month),
            Unit::Year => Some(CalendarUnit::Year),
        }
    }
}

struct Parser<'a> {
    text: &'a str,
    /// The byte to read next.
    at: usize,
}

impl<'a> Parser<'a> {
    fn policy(mut self) -> Result<Policy, Error> {
        let quota_at = self.skip_space();
        let quota = self.number("a quota, such as the 10 of `10/minute`")?;
        let slash_at = self.skip_space();
        if !self.eat("/") {
            return match self.word() {
                "at" => {
                    self.expect("once", "`at once for` and a lease, as in `3 at once for 10m`")?;
                    self.expect("for", "`for` and a lease, as in `3 at once for 10m`")?;
                    let window = self.window()?;
                    let lease = self.span(&window)?;
                    self.end("nothing more after a lease")?;
                    self.built(quota_at, Policy::concurrency(quota, lease))
                }
                _ => Err(self.wrong(slash_at, "`/` and a window, or `at once for` and a lease, after the quota")),
            };
        }
        let window = self.window()?;
        let word_at = self.skip_space();
        match self.word() {
            "" if self.at == self.text.len() => self.plain(quota_at, quota, &window),
            "in" => {
                let zone_at = self.skip_space();
                let zone = self.text[zone_at..].trim_end();
                let Some(unit) = window.calendar() else {
                    return Err(self.wrong(window.at, "one day, week, month or year before `in` and a time zone"));
                };
                if zone.is_empty() {
                    return Err(self.wrong(zone_at, "a time zone, such as `Europe/Berlin`"));
                }
                let policy = Policy::calendar(quota, unit, zone);
                let at = if crate::calendar::Calendar::new(unit, zone).is_err() { zone_at } else { quota_at };
                self.built(at, policy)
            }
            "from" => {
                self.expect("first", "`first` after `from`")?;
                self.end("nothing more after `from first`")?;
                let span = self.span(&window)?;
                self.built(quota_at, Policy::from_first(quota, span))
            }
            "sliding" => {
                let span = self.span(&window)?;
                let log_at = self.skip_space();
                match self.word() {
                    "" if self.at == self.text.len() => self.built(quota_at, Policy::sliding(quota, span)),
                    "log" => {
                        self.end("nothing more after `sliding log`")?;
                        self.built(quota_at, Policy::sliding_log(quota, span))
                    }
                    _ => Err(self.wrong(log_at, "`log` or nothing after `sliding`")),
                }
            }
            "burst" => {
                let span = self.span(&window)?;
                let burst_at = self.skip_space();
                let burst = self.number("a burst, such as the 20 of `10/second burst 20`")?;
                self.end("nothing more after a burst")?;
                let at = if quota == 0 || quota > super::MAX_QUOTA { quota_at } else { burst_at };
                self.built(at, Policy::bucket(quota, span, burst))
            }
            _ => Err(self.wrong(
                word_at,
                "`in` and a time zone, `from first`, `sliding`, `sliding log`, `burst` and a number, or nothing",
            )),
        }
    }

    /// A fixed window with nothing said after it.
    fn plain(&self, quota_at: usize, quota: u64, window: &Window) -> Result<Policy, Error> {
        match (window.calendar(), window.unit) {
            (_, Unit::Micros(_)) => {
                let span = self.span(window)?;
                self.built(quota_at, Policy::fixed(quota, span))
            }
            (Some(unit), _) => self.built(quota_at, Policy::calendar(quota, unit, "UTC")),
            (None, Unit::Week) => {
                Err(self.wrong(window.at, "one week, which begins on Monday; for windows of several, days: `14d`"))
            }
            (None, _) => Err(self.wrong(window.at, "one month or year; for windows of several, days: `90d`")),
        }
    }

    fn window(&mut self) -> Result<Window, Error> {
        let at = self.skip_space();
        let number = match self.text[at..].bytes().next() {
            Some(b'0'..=b'9') => Some(self.number("a window, such as `30s` or `minute`")?),
            _ => None,
        };
        let unit_at = self.skip_space();
        let unit = match self.word() {
            "us" | "µs" | "μs" | "microsecond" | "microseconds" => Unit::Micros(1),
            "ms" | "millisecond" | "milliseconds" => Unit::Micros(1000),
            "s" | "sec" | "second" | "seconds" => Unit::Micros(1_000_000),
            "m" | "min" | "minute" | "minutes" => Unit::Micros(60_000_000),
            "h" | "hr" | "hour" | "hours" => Unit::Micros(3_600_000_000),
            "d" | "day" | "days" => Unit::Micros(86_400_000_000),
            "w" | "week" | "weeks" => Unit::Week,
            "month" | "months" => Unit::Month,
            "year" | "years" => Unit::Year,
            _ => {
                return Err(self.wrong(
                    unit_at,
                    "a unit of time: us, ms, s, m, h, d, w, second, minute, hour, day, week, month or year",
                ));
            }
        };
        Ok(Window { at, number, unit })
    }

    /// A window as a span of time.
    fn span(&self, window: &Window) -> Result<Duration, Error> {
        let unit = match window.unit {
            Unit::Micros(micros) => micros,
            Unit::Week => WEEK,
            Unit::Month | Unit::Year => {
                return Err(self.wrong(window.at, "a span of fixed length: months and years are calendar windows only"));
            }
        };
        match window.number.unwrap_or(1).checked_mul(unit) {
            Some(0) => Err(self.wrong(window.at, "a window of at least a microsecond")),
            Some(micros) if Duration::from_micros(micros) <= super::MAX_WINDOW => Ok(Duration::from_micros(micros)),
            _ => Err(self.wrong(window.at, "a window of at most a century (36525d)")),
        }
    }

    fn number(&mut self, what: &str) -> Result<u64, Error> {
        let at = self.skip_space();
        let rest = &self.text[at..];
        let length = rest.bytes().take_while(|byte| byte.is_ascii_digit() || *byte == b'_').count();
        let digits: String = rest[..length].chars().filter(|&c| c != '_').collect();
        if digits.is_empty() || rest.starts_with('_') {
            return Err(self.wrong(at, what));
        }
        if rest[..length].ends_with('_') {
            return Err(self.wrong(at + length - 1, "a digit after `_`"));
        }
        self.at += length;
        digits.parse().map_err(|_| self.wrong(at, "a number below 18446744073709551616"))
    }

    fn word(&mut self) -> &'a str {
        let at = self.skip_space();
        let rest = &self.text[at..];
        let length = rest.find(|c: char| !c.is_alphabetic()).unwrap_or(rest.len());
        self.at += length;
        &rest[..length]
    }

    fn expect(&mut self, word: &str, what: &str) -> Result<(), Error> {
        let at = self.skip_space();
        if self.word() == word { Ok(()) } else { Err(self.wrong(at, what)) }
    }

    fn end(&mut self, what: &str) -> Result<(), Error> {
        let at = self.skip_space();
        if at == self.text.len() { Ok(()) } else { Err(self.wrong(at, what)) }
    }

    fn eat(&mut self, symbol: &str) -> bool {
        let eaten = self.text[self.at..].starts_with(symbol);
        if eaten {
            self.at += symbol.len();
        }
        eaten
    }

    fn skip_space(&mut self) -> usize {
        let rest = &self.text[self.at..];
        self.at += rest.len() - rest.trim_start().len();
        self.at
    }

    /// A policy whose numbers were refused is wrong at `at`.
    fn built(&self, at: usize, policy: Result<Policy, Error>) -> Result<Policy, Error> {
        policy.map_err(|error| Error::at(self.text, at, error))
    }

    fn wrong(&self, at: usize, wanted: &str) -> Error {
        let found = match self.text[at..].chars().next() {
            None => "the text ends where it should have".to_owned(),
            Some(_) => {
                let word = self.text[at..].split_whitespace().next().unwrap_or_default();
                let short: String = word.chars().take(20).collect();
                format!("`{}` where there should be", short.escape_debug())
            }
        };
        Error::at(self.text, at, format!("{found} {wanted}"))
    }
}
