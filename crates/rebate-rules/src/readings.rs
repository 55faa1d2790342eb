//! The ways in which servers, and what stands before them, may read a path that is not plain.
//!
//! Nobody knows which steps a server takes, nor in which order: so all that any of them leads to is looked at,
//! from the path as it came, until nothing new is found.

use std::borrow::Cow;

use percent_encoding::percent_decode;

use crate::path::{is_plain, without_trailing_slash};

/// The most readings of one path that are looked at. Those of honest requests are a handful.
pub(crate) const MAX_READINGS: usize = 128;

/// How many bytes the search may look at: a long path has fewer readings looked at, so that none takes long.
const MAX_WORK: usize = 1 << 20;

/// What a path may be read as.
pub(crate) struct Readings {
    /// The path as it came first.
    pub(crate) found: Vec<String>,
    /// Whether these are all.
    pub(crate) complete: bool,
}

/// One thing that some servers do to a path; `None` where it changes nothing. None makes it longer.
type Step = fn(&[u8]) -> Option<Vec<u8>>;

const STEPS: [Step; 7] = [decode, decode_oddly, drop_parameters, slash_backslashes, cut, collapse, resolve];

/// All readings of a path that is not plain, as far as they can be looked at.
pub(crate) fn readings(path: &str) -> Readings {
    let mut search = Search { found: Vec::new(), complete: true };
    search.begin(&rooted(path));
    let (mut at, mut work) = (0, 0);
    while at < search.found.len() && search.complete {
        for step in STEPS {
            let path = &search.found[at];
            work += path.len();
            if work > MAX_WORK {
                search.complete = false;
                break;
            }
            if let Some(reading) = step(path) {
                search.add(reading);
            }
        }
        at += 1;
    }
    Readings { found: search.found.into_iter().map(lossy).collect(), complete: search.complete }
}

/// The path that rules are written for: decoded once, slashes collapsed, dots resolved, without a slash
/// at its end.
pub(crate) fn normal_form(path: &str) -> Cow<'_, str> {
    if is_plain(path) {
        return without_trailing_slash(path).into();
    }
    let decoded = then(rooted(path).into_owned().into_bytes(), decode);
    lossy(stripped(then(then(decoded, collapse), resolve))).into()
}

struct Search {
    /// Without a slash at the end.
    found: Vec<Vec<u8>>,
    complete: bool,
}

impl Search {
    /// What most servers make of it, and the most forgiving one: found however much else there is to find.
    fn begin(&mut self, path: &str) {
        let raw = path.as_bytes().to_vec();
        let mut wholly = Vec::with_capacity(raw.len());
        for &byte in &raw {
            wholly.push(byte);
            // What is decoded may be the end of another escape.
            while let [.., b'%', high, low] = wholly[..] {
                let (Some(high), Some(low)) = (hex(high), hex(low)) else { break };
                wholly.truncate(wholly.len() - 3);
                wholly.push(high << 4 | low);
            }
        }
        let forgiving = [decode_oddly, cut, slash_backslashes, drop_parameters].into_iter().fold(wholly, then);
        let once = then(raw.clone(), decode);
        for decoded in [raw, once, forgiving] {
            let collapsed = then(decoded.clone(), collapse);
            let resolved = then(decoded.clone(), resolve);
            self.add(decoded);
            self.add(then(collapsed, resolve));
            self.add(then(resolved.clone(), collapse));
            self.add(resolved);
        }
    }

    fn add(&mut self, reading: Vec<u8>) {
        let reading = stripped(reading);
        if self.found.contains(&reading) {
            return;
        }
        match self.found.len() < MAX_READINGS {
            true => self.found.push(reading),
            false => self.complete = false,
        }
    }
}

fn then(path: Vec<u8>, step: Step) -> Vec<u8> {
    step(&path).unwrap_or(path)
}

fn rooted(path: &str) -> Cow<'_, str> {
    if path.starts_with('/') { path.into() } else { format!("/{path}").into() }
}

/// Without slashes at its end, whatever step put them there.
fn stripped(mut path: Vec<u8>) -> Vec<u8> {
    while path.len() > 1 && path.ends_with(b"/") {
        path.pop();
    }
    path
}

fn lossy(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

fn hex(digit: u8) -> Option<u8> {
    (digit as char).to_digit(16).map(|digit| digit as u8)
}

/// Decoded once.
fn decode(path: &[u8]) -> Option<Vec<u8>> {
    if !path.contains(&b'%') {
        return None;
    }
    match percent_decode(path).into() {
        Cow::Borrowed(_) => None,
        Cow::Owned(decoded) => Some(decoded),
    }
}

/// ASCII that is written longer than it may be in UTF-8 (`C0 AE` for a dot), and `%u002e`.
fn decode_oddly(path: &[u8]) -> Option<Vec<u8>> {
    let first = path.iter().position(|byte| matches!(byte, b'%' | 0xc0 | 0xc1 | 0xe0 | 0xf0))?;
    let mut decoded = Vec::with_capacity(path.len());
    decoded.extend_from_slice(&path[..first]);
    let mut rest = &path[first..];
    while let [byte, after @ ..] = rest {
        let (byte, after) = overlong(rest).unwrap_or((*byte, after));
        decoded.push(byte);
        rest = after;
    }
    (decoded.len() < path.len()).then_some(decoded)
}

fn overlong(path: &[u8]) -> Option<(u8, &[u8])> {
    let ascii = |high: u8, low: u8| (high & 1) << 6 | low & 0x3f;
    match path {
        [high @ (0xc0 | 0xc1), low @ 0x80..=0xbf, rest @ ..] => Some((ascii(*high, *low), rest)),
        [0xe0, high @ (0x80 | 0x81), low @ 0x80..=0xbf, rest @ ..]
        | [0xf0, 0x80, high @ (0x80 | 0x81), low @ 0x80..=0xbf, rest @ ..] => Some((ascii(*high, *low), rest)),
        [b'%', b'u' | b'U', b'0', b'0', high @ b'0'..=b'7', low, rest @ ..] => {
            Some(((high - b'0') << 4 | hex(*low)?, rest))
        }
        _ => None,
    }
}

/// Segments without what follows a `;`.
fn drop_parameters(path: &[u8]) -> Option<Vec<u8>> {
    if !path.contains(&b';') {
        return None;
    }
    let mut kept = Vec::with_capacity(path.len());
    let mut in_parameters = false;
    for &byte in path {
        in_parameters = byte != b'/' && (in_parameters || byte == b';');
        if !in_parameters {
            kept.push(byte);
        }
    }
    Some(kept)
}

/// Backslashes as slashes.
fn slash_backslashes(path: &[u8]) -> Option<Vec<u8>> {
    let slash = |&byte: &u8| if byte == b'\\' { b'/' } else { byte };
    path.contains(&b'\\').then(|| path.iter().map(slash).collect())
}

/// Nothing of a query or fragment, nor of what follows a NUL.
fn cut(path: &[u8]) -> Option<Vec<u8>> {
    let end = path.iter().position(|byte| matches!(byte, b'?' | b'#' | 0))?;
    Some(path[..end].to_vec())
}

/// Slashes that stand together made one.
fn collapse(path: &[u8]) -> Option<Vec<u8>> {
    let mut collapsed = Vec::with_capacity(path.len());
    for &byte in path {
        if byte != b'/' || collapsed.last() != Some(&b'/') {
            collapsed.push(byte);
        }
    }
    (collapsed.len() < path.len()).then_some(collapsed)
}

/// Dot segments resolved, as RFC 3986 has it: an empty segment is one too.
fn resolve(path: &[u8]) -> Option<Vec<u8>> {
    if !path.contains(&b'.') {
        return None;
    }
    let mut resolved = Vec::with_capacity(path.len());
    let mut pieces = path.split(|&byte| byte == b'/').skip(1).peekable();
    while let Some(piece) = pieces.next() {
        match piece {
            b"." => {}
            b".." => resolved.truncate(resolved.iter().rposition(|&byte| byte == b'/').unwrap_or(0)),
            piece => {
                resolved.push(b'/');
                resolved.extend_from_slice(piece);
                continue;
            }
        }
        if pieces.peek().is_none() {
            resolved.push(b'/');
        }
    }
    if resolved.is_empty() {
        resolved.push(b'/');
    }
    (resolved.len() < path.len()).then_some(resolved)
}
