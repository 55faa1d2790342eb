//! Reading one line of a log.
//!
//! A line of the Common or Combined log format may hold any bytes and its fields are taken as they
//! are logged, escapes included. A line of JSON is JSON. No bytes make this panic.

mod common;
mod json;
pub(crate) mod time;

use std::borrow::Cow;
use std::fmt;

use clap::ValueEnum;

pub(crate) use time::DayMemo;

/// The longest line that is read, in bytes without its line break.
pub(crate) const MAX_LINE: usize = 1 << 20;

/// How the lines of a log are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// As JSON where a line begins with `{`, else as Common.
    #[default]
    Auto,
    /// Common or Combined log format.
    #[value(alias = "combined")]
    Common,
    /// One JSON object on each line.
    Json,
}

/// The field of a log line that says who is charged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum KeyField {
    /// The client's address, the first field.
    #[default]
    Ip,
    /// The authenticated user, the third field.
    User,
    /// The path of the request, without its query.
    Path,
    /// The method of the request.
    Method,
    /// The user agent: Combined format only.
    Agent,
}

impl KeyField {
    /// Its name, also the default name of the field in JSON lines.
    pub const fn name(self) -> &'static str {
        match self {
            KeyField::Ip => "ip",
            KeyField::User => "user",
            KeyField::Path => "path",
            KeyField::Method => "method",
            KeyField::Agent => "agent",
        }
    }
}

/// What a number that stands for a time counts, since the Unix epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum TimeUnit {
    /// Whichever of the others its size suggests.
    #[default]
    Auto,
    /// Seconds.
    S,
    /// Milliseconds.
    Ms,
    /// Microseconds.
    Us,
    /// Nanoseconds.
    Ns,
}

/// How to read the lines of a log.
#[derive(Clone, Debug)]
pub struct Shape {
    /// How they are written.
    pub format: Format,
    /// Who is charged, in the Common and Combined formats.
    pub key: KeyField,
    /// In JSON, where the time is; dots lead into nested objects.
    pub time_field: String,
    /// In JSON, where the key is.
    pub key_field: String,
    /// In JSON, where the status is.
    pub status_field: String,
    /// What numbers in the time field count.
    pub time_unit: TimeUnit,
}

impl Default for Shape {
    fn default() -> Self {
        Shape {
            format: Format::Auto,
            key: KeyField::Ip,
            time_field: "time".into(),
            key_field: "ip".into(),
            status_field: "status".into(),
            time_unit: TimeUnit::Auto,
        }
    }
}

/// What a replay needs of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParsedLine<'a> {
    /// When, in microseconds since the Unix epoch.
    pub micros: u64,
    /// The response's status, 100 to 999; 0 when the line has none.
    pub status: u16,
    /// Who; `None` when the field says that nobody is known: `-`, or `null` in JSON.
    pub key: Option<Cow<'a, [u8]>>,
}

/// What a replay of rules needs of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestLine<'a> {
    /// When, in microseconds since the Unix epoch.
    pub micros: u64,
    /// The response's status, 100 to 999; 0 when the line has none.
    pub status: u16,
    /// The client's address, as it is logged.
    pub address: Option<Cow<'a, [u8]>>,
    /// The authenticated user.
    pub user: Option<Cow<'a, [u8]>>,
    /// The request's method; all that was sent, where that was no request.
    pub method: Cow<'a, [u8]>,
    /// The request's target, query included; empty where it has none.
    pub target: Cow<'a, [u8]>,
}

/// Why a line cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadLine(Cow<'static, str>);

impl BadLine {
    pub(crate) const fn new(reason: &'static str) -> Self {
        BadLine(Cow::Borrowed(reason))
    }

    pub(crate) fn because(reason: String) -> Self {
        BadLine(Cow::Owned(reason))
    }
}

impl fmt::Display for BadLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for BadLine {}

/// Reads lines of one shape. It remembers the day it has read last, because the next line's is mostly
/// the same.
#[derive(Clone, Debug)]
pub struct LineParser {
    shape: Shape,
    days: DayMemo,
}

impl LineParser {
    /// A reader of lines of `shape`.
    pub fn new(shape: Shape) -> Self {
        LineParser { shape, days: DayMemo::default() }
    }

    /// Reads a line, with or without its line break. `Ok(None)` is a blank line.
    ///
    /// # Errors
    /// A [`BadLine`] that says what is wrong with it.
    pub fn parse<'a>(&mut self, line: &'a [u8]) -> Result<Option<ParsedLine<'a>>, BadLine> {
        let Some((line, is_json)) = self.begin(line)? else { return Ok(None) };
        let parsed = if is_json {
            json::parse(line, &self.shape, &mut self.days)?
        } else {
            common::parse(line, self.shape.key, &mut self.days)?
        };
        if let Some(key) = parsed.key.as_ref().filter(|key| key.len() > rebate::MAX_KEY_BYTES) {
            return Err(BadLine::because(format!("the key has {} bytes; at most 65536 are taken", key.len())));
        }
        Ok(Some(parsed))
    }

    /// Reads a line's request. `Ok(None)` is a blank line.
    ///
    /// # Errors
    /// A [`BadLine`] that says what is wrong with it.
    pub fn request<'a>(&mut self, line: &'a [u8]) -> Result<Option<RequestLine<'a>>, BadLine> {
        let Some((line, is_json)) = self.begin(line)? else { return Ok(None) };
        let parsed = if is_json {
            json::request(line, &self.shape, &mut self.days)?
        } else {
            common::request(line, &mut self.days)?
        };
        Ok(Some(parsed))
    }

    /// The line without what surrounds it, and whether it is JSON; `None` where nothing is left.
    fn begin<'a>(&self, line: &'a [u8]) -> Result<Option<(&'a [u8], bool)>, BadLine> {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.len() > MAX_LINE {
            return Err(BadLine::new("the line is longer than 1 MiB"));
        }
        let Some(start) = line.iter().position(|byte| !byte.is_ascii_whitespace()) else { return Ok(None) };
        let line = &line[start..];
        let is_json = match self.shape.format {
            Format::Auto => line[0] == b'{',
            Format::Common => false,
            Format::Json => true,
        };
        Ok(Some((line, is_json)))
    }
}

/// Reads one line of the default [`Shape`].
///
/// ```
/// let line = br#"192.0.2.7 - - [17/May/2015:10:05:03 +0000] "GET / HTTP/1.1" 200 512"#;
/// let parsed = rebate_cli::parse_line(line)?.expect("not blank");
/// assert_eq!((parsed.micros, parsed.status), (1_431_857_103_000_000, 200));
/// # Ok::<(), rebate_cli::BadLine>(())
/// ```
///
/// # Errors
/// A [`BadLine`] that says what is wrong with it.
pub fn parse_line(line: &[u8]) -> Result<Option<ParsedLine<'_>>, BadLine> {
    LineParser::new(Shape::default()).parse(line)
}

/// A status written in digits, or `-`.
fn status(text: &[u8]) -> Option<u16> {
    match text {
        b"-" => Some(0),
        &[hundreds @ b'1'..=b'9', tens @ b'0'..=b'9', ones @ b'0'..=b'9'] => {
            Some(u16::from(hundreds - b'0') * 100 + u16::from(tens - b'0') * 10 + u16::from(ones - b'0'))
        }
        // What nginx logs when the client went away before there was an answer.
        b"0" | b"000" => Some(0),
        _ => None,
    }
}
