//! Times as logs write them.

use jiff::civil::Date;
use rebate::Timestamp;

use super::{BadLine, TimeUnit};

const SECOND: i64 = 1_000_000;
const DAY: i64 = 86_400;

/// The day last read, and when it began.
#[derive(Clone, Debug, Default)]
pub(crate) struct DayMemo {
    /// `17/May/2015`.
    text: [u8; 11],
    seconds: i64,
}

impl DayMemo {
    /// Reads `17/May/2015:10:05:03 +0000`, with or without a fraction of the second. A leap second,
    /// `:60`, is read as `:59`, as it is in RFC 3339 here.
    pub(crate) fn common(&mut self, text: &[u8]) -> Result<u64, BadLine> {
        const WRONG: BadLine = BadLine::new("the time is not of the form `17/May/2015:10:05:03 +0000`");
        let Some((day, clock)) = text.split_first_chunk::<11>() else { return Err(WRONG) };
        let Some((&[b':', h1, h2, b':', m1, m2, b':', s1, s2], rest)) = clock.split_first_chunk::<9>() else {
            return Err(WRONG);
        };
        let (hour, minute, second) = (pair(h1, h2), pair(m1, m2), pair(s1, s2));
        let (Some(hour @ 0..=23), Some(minute @ 0..=59), Some(second @ 0..=60)) = (hour, minute, second) else {
            return Err(WRONG);
        };
        let (fraction, zone) = match rest.strip_prefix(b".") {
            Some(rest) => {
                let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
                (fraction_micros(&rest[..digits]), &rest[digits..])
            }
            None => (0, rest),
        };
        let &[b' ', sign @ (b'+' | b'-'), zh1, zh2, zm1, zm2] = zone else { return Err(WRONG) };
        let (Some(zone_hours @ 0..=23), Some(zone_minutes @ 0..=59)) = (pair(zh1, zh2), pair(zm1, zm2)) else {
            return Err(WRONG);
        };
        let ahead = (zone_hours * 60 + zone_minutes) * if sign == b'-' { -60 } else { 60 };
        if *day != self.text {
            self.seconds = day_start(day).ok_or(WRONG)?;
            self.text = *day;
        }
        let seconds = self.seconds + hour * 3600 + minute * 60 + second.min(59) - ahead;
        in_range(seconds * SECOND + fraction)
    }

    /// Reads a time of a JSON field that is a string.
    pub(crate) fn text(&mut self, text: &str, unit: TimeUnit) -> Result<u64, BadLine> {
        let text = text.trim();
        if text.starts_with(|c: char| c.is_ascii_digit() || c == '-') && !text.contains([':', 'T', 't']) {
            return number(text, unit);
        }
        match text.parse::<jiff::Timestamp>() {
            Ok(moment) => in_range(moment.as_microsecond()),
            Err(_) if text.as_bytes().get(2) == Some(&b'/') => self.common(text.as_bytes()),
            Err(error) => Err(BadLine::because(format!("the time is not RFC 3339: {error}"))),
        }
    }
}

/// Reads a number of units since the epoch.
pub(crate) fn number(text: &str, unit: TimeUnit) -> Result<u64, BadLine> {
    let wrong = || BadLine::because(format!("the time is not a number: `{}`", text.escape_debug()));
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, text),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let all_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || whole.len() > 20 || !all_digits(whole) || !all_digits(fraction) {
        // `1.4e9`, in doubles, which is exact enough for whoever writes times so.
        let value: f64 = text.parse().map_err(|_| wrong())?;
        let micros = value * nanos_of(unit, value.abs()) as f64 / 1000.0;
        return if micros.is_finite() { in_range(micros as i64) } else { Err(wrong()) };
    }
    let whole: i128 = whole.parse().map_err(|_| wrong())?;
    let nanos = nanos_of(unit, whole as f64);
    // The first nine digits of a fraction say it to the nanosecond of a second.
    let mut parts: i128 = 0;
    for at in 0..9 {
        parts = parts * 10 + i128::from(fraction.as_bytes().get(at).map_or(0, |digit| digit - b'0'));
    }
    let total = whole * i128::from(nanos) + parts * i128::from(nanos) / SECOND_NANOS;
    i64::try_from(sign * total / 1000).map_err(|_| too_late()).and_then(in_range)
}

const SECOND_NANOS: i128 = 1_000_000_000;

/// The nanoseconds of a unit.
fn nanos_of(unit: TimeUnit, size: f64) -> i64 {
    match unit {
        TimeUnit::S => 1_000_000_000,
        TimeUnit::Ms => 1_000_000,
        TimeUnit::Us => 1000,
        TimeUnit::Ns => 1,
        TimeUnit::Auto if size < 1e11 => 1_000_000_000,
        TimeUnit::Auto if size < 1e14 => 1_000_000,
        TimeUnit::Auto if size < 1e17 => 1000,
        TimeUnit::Auto => 1,
    }
}

fn pair(tens: u8, ones: u8) -> Option<i64> {
    (tens.is_ascii_digit() && ones.is_ascii_digit()).then(|| i64::from(tens - b'0') * 10 + i64::from(ones - b'0'))
}

fn fraction_micros(digits: &[u8]) -> i64 {
    (0..6).fold(0, |micros, at| micros * 10 + digits.get(at).map_or(0, |digit| i64::from(digit - b'0')))
}

/// When `17/May/2015` began in UTC, in seconds.
fn day_start(text: &[u8; 11]) -> Option<i64> {
    let &[d1, d2, b'/', m1, m2, m3, b'/', y1, y2, y3, y4] = text else { return None };
    let months: [&[u8; 3]; 12] =
        [b"jan", b"feb", b"mar", b"apr", b"may", b"jun", b"jul", b"aug", b"sep", b"oct", b"nov", b"dec"];
    let name = [m1, m2, m3].map(|letter| letter.to_ascii_lowercase());
    let month = months.iter().position(|month| **month == name)? + 1;
    let year = pair(y1, y2)? * 100 + pair(y3, y4)?;
    let date =
        Date::new(i16::try_from(year).ok()?, i8::try_from(month).ok()?, i8::try_from(pair(d1, d2)?).ok()?).ok()?;
    Some(i64::from((date - Date::constant(1970, 1, 1)).get_days()) * DAY)
}

fn too_late() -> BadLine {
    BadLine::new("the time is after May 2112, where limits end")
}

/// A store's clock goes from 1970 to 2112.
fn in_range(micros: i64) -> Result<u64, BadLine> {
    match u64::try_from(micros) {
        Err(_) => Err(BadLine::new("the time is before 1970, where limits begin")),
        Ok(micros) if micros > Timestamp::MAX.as_micros() => Err(too_late()),
        Ok(micros) => Ok(micros),
    }
}
