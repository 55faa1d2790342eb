//! Paths: the patterns of rules, and the readings of a request's path.

use percent_encoding::percent_decode_str;

/// The most dynamic segments of one pattern.
pub(crate) const MAX_DYNAMIC: usize = 16;

/// Which paths a rule is for: whole segments, decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pattern {
    /// As it is written, base included.
    pub(crate) text: Box<str>,
    pub(crate) segments: Vec<Segment>,
    /// Whether all below it is meant too.
    pub(crate) prefix: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Segment {
    Static(Box<str>),
    Dynamic,
    /// One or more segments at the end: what lies below a prefix.
    Rest,
}

impl Pattern {
    /// The pattern `text` below `base`.
    ///
    /// # Errors
    /// What is wrong with it, and what would be right.
    pub(crate) fn parse(base: &[Segment], base_text: &str, text: &str, prefix: bool) -> Result<Self, String> {
        let mut segments = base.to_vec();
        let own = parse_segments(text)?;
        let whole = match text {
            "/" if !base_text.is_empty() => base_text.into(),
            _ => format!("{base_text}{text}").into(),
        };
        segments.extend(own);
        let dynamic = segments.iter().filter(|segment| **segment == Segment::Dynamic).count();
        if dynamic > MAX_DYNAMIC {
            return Err(format!("{dynamic} dynamic segments; at most {MAX_DYNAMIC} are taken"));
        }
        Ok(Pattern { text: whole, segments, prefix })
    }

    /// The routes it stands for: itself, and of a prefix all that lies below.
    pub(crate) fn routes(&self) -> impl Iterator<Item = Vec<Segment>> {
        let below = self.prefix.then(|| {
            let mut below = self.segments.clone();
            below.push(Segment::Rest);
            below
        });
        std::iter::once(self.segments.clone()).chain(below)
    }
}

/// Reads the base of all paths: no dynamic segments.
///
/// # Errors
/// What is wrong with it, and what would be right.
pub(crate) fn parse_base(text: &str) -> Result<Vec<Segment>, String> {
    if text.is_empty() || text == "/" {
        return Ok(Vec::new());
    }
    let segments = parse_segments(text)?;
    match segments.contains(&Segment::Dynamic) {
        true => Err("the base has no dynamic segments; write them in each path".to_owned()),
        false => Ok(segments),
    }
}

fn parse_segments(text: &str) -> Result<Vec<Segment>, String> {
    let Some(rest) = text.strip_prefix('/') else {
        return Err(format!("a path begins with `/`: write `/{text}`"));
    };
    if let Some(c) = text.chars().find(|c| matches!(c, '?' | '#')) {
        return Err(format!("never matches: a path ends where `{c}` begins; leave out `{c}` and what follows"));
    }
    if rest.is_empty() {
        return Ok(Vec::new());
    }
    if text.ends_with('/') {
        let right = text.trim_end_matches('/');
        return Err(format!(
            "never matches: paths are compared without the slash at their end; write `{}`",
            if right.is_empty() { "/" } else { right }
        ));
    }
    rest.split('/').map(parse_segment).collect()
}

fn parse_segment(text: &str) -> Result<Segment, String> {
    let inner = text.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
    match inner {
        Some("") => return Err("a dynamic segment has a name: write `{id}`".to_owned()),
        Some(rest) if rest.starts_with('*') => {
            return Err(format!("`{text}` is not taken; say `prefix` instead of `path` for all that lies below"));
        }
        Some(name) if !name.contains(['{', '}']) => return Ok(Segment::Dynamic),
        _ => {}
    }
    if text.contains(['{', '}']) {
        return Err(format!("`{text}`: a dynamic segment is a whole one, such as `{{id}}`"));
    }
    let decoded = percent_decode_str(text).decode_utf8().map_err(|_| format!("`{text}` is not UTF-8 when decoded"))?;
    match &*decoded {
        "" => Err("never matches: doubled slashes are read as one; write one".to_owned()),
        "." | ".." => Err(format!("never matches: `{text}` is resolved before paths are compared; leave it out")),
        decoded if decoded.contains('/') => Err(format!("never matches: `{text}` holds an encoded slash")),
        decoded => Ok(Segment::Static(decoded.into())),
    }
}

/// The path without a lone slash at its end.
#[inline]
pub(crate) fn without_trailing_slash(path: &str) -> &str {
    match path.strip_suffix('/') {
        Some("") | None => path,
        Some(rest) => rest,
    }
}

/// Whether every server reads the path in the same way: nothing in it is encoded, doubled or to be resolved.
#[inline]
pub(crate) fn is_plain(path: &str) -> bool {
    let bytes = path.as_bytes();
    let mut after_slash = false;
    for (at, &byte) in bytes.iter().enumerate() {
        match byte {
            b'/' if after_slash => return false,
            b'/' => after_slash = true,
            b'.' if after_slash && is_dot_segment(&bytes[at..]) => return false,
            b'%' | b'\\' | b';' | b'?' | b'#' | 0 => return false,
            _ => after_slash = false,
        }
    }
    bytes.first() == Some(&b'/')
}

fn is_dot_segment(rest: &[u8]) -> bool {
    matches!(rest, [b'.'] | [b'.', b'/', ..] | [b'.', b'.'] | [b'.', b'.', b'/', ..])
}
