//! The Common and Combined log formats:
//! `host ident user [day/month/year:hour:minute:second zone] "request" status bytes "referer" "agent"`.

use std::borrow::Cow;

use memchr::{memchr, memchr2};

use super::{BadLine, DayMemo, KeyField, ParsedLine, RequestLine, status};

/// The fields of a line, and what follows them.
struct Fields<'a> {
    host: &'a [u8],
    user: &'a [u8],
    micros: u64,
    request: &'a [u8],
    status: u16,
    rest: &'a [u8],
}

/// Reads a line that is not blank. What follows the fields asked for is not looked at.
pub(super) fn parse<'a>(line: &'a [u8], key: KeyField, days: &mut DayMemo) -> Result<ParsedLine<'a>, BadLine> {
    let Fields { host, user, micros, request, status, rest } = fields(line, days)?;
    let key = match key {
        KeyField::Ip => host,
        KeyField::User => user,
        KeyField::Method => word(request).map_or(request, |(method, _)| method),
        KeyField::Path => path(request),
        KeyField::Agent => agent(rest)?,
    };
    Ok(ParsedLine { micros, status, key: known(key).map(Cow::Borrowed) })
}

/// Reads the request of a line that is not blank.
pub(super) fn request<'a>(line: &'a [u8], days: &mut DayMemo) -> Result<RequestLine<'a>, BadLine> {
    let Fields { host, user, micros, request, status, .. } = fields(line, days)?;
    let target = word(request).map_or(&b""[..], |(_, rest)| word(rest).map_or(rest, |(target, _)| target));
    Ok(RequestLine {
        micros,
        status,
        address: known(host).map(Cow::Borrowed),
        user: known(user).map(Cow::Borrowed),
        method: word(request).map_or(request, |(method, _)| method).into(),
        target: target.into(),
    })
}

fn fields<'a>(line: &'a [u8], days: &mut DayMemo) -> Result<Fields<'a>, BadLine> {
    let (host, rest) = word(line).ok_or(BadLine::new("nothing after the host"))?;
    let (_, rest) = word(rest).ok_or(BadLine::new("no user after the second field"))?;
    // A user's name may hold spaces.
    let bracket =
        memchr(b'[', rest).ok_or(BadLine::new("no time in brackets, as in `[17/May/2015:10:05:03 +0000]`"))?;
    let user = rest[..bracket].trim_ascii_end();
    let (date, rest) =
        split_at_byte(&rest[bracket + 1..], b']').ok_or(BadLine::new("the time's bracket is not closed"))?;
    let micros = days.common(date)?;
    let rest = rest.strip_prefix(b" ").ok_or(BadLine::new("no request after the time"))?;
    let (request, rest) = quoted(rest).ok_or(BadLine::new("no request in quotes after the time"))?;
    let rest = rest.strip_prefix(b" ").ok_or(BadLine::new("no status after the request"))?;
    let (code, rest) = word(rest).unwrap_or((rest, b""));
    let status = status(code).ok_or(BadLine::new("the status is not three digits"))?;
    Ok(Fields { host, user, micros, request, status, rest })
}

/// `-` and nothing at all stand for what is not known.
fn known(field: &[u8]) -> Option<&[u8]> {
    if field.is_empty() || field == b"-" { None } else { Some(field) }
}

/// The path of a request without its query; empty where a request is none.
fn path(request: &[u8]) -> &[u8] {
    let Some((_, rest)) = word(request) else { return b"" };
    let target = word(rest).map_or(rest, |(target, _)| target);
    memchr(b'?', target).map_or(target, |query| &target[..query])
}

/// The second quoted field after the number of bytes.
fn agent(rest: &[u8]) -> Result<&[u8], BadLine> {
    let missing = || BadLine::new("no user agent: the line is Common log format, not Combined");
    let (_, rest) = word(rest).ok_or_else(missing)?;
    let (_, rest) = quoted(rest).ok_or_else(missing)?;
    let rest = rest.strip_prefix(b" ").ok_or_else(missing)?;
    quoted(rest).map(|(agent, _)| agent).ok_or_else(missing)
}

/// What is before the next space, and what after it.
fn word(text: &[u8]) -> Option<(&[u8], &[u8])> {
    split_at_byte(text, b' ')
}

fn split_at_byte(text: &[u8], byte: u8) -> Option<(&[u8], &[u8])> {
    memchr(byte, text).map(|at| (&text[..at], &text[at + 1..]))
}

/// What is between quotes, and what follows. A quote ends the field where a space or nothing follows:
/// some servers do not escape those within.
fn quoted(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let text = text.strip_prefix(b"\"")?;
    let mut at = 0;
    loop {
        at += memchr2(b'"', b'\\', text.get(at..)?)?;
        if text[at] == b'\\' {
            at += 2;
            continue;
        }
        match text.get(at + 1) {
            None | Some(b' ') => return Some((&text[..at], &text[at + 1..])),
            Some(_) => at += 1,
        }
    }
}
