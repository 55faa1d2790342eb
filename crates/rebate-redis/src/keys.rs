//! The names of the server's keys.
//!
//! ```text
//! prefix:{tag}:c:limit[:key]    a count; its helpers end in :e, :p, :f and :k
//! prefix:{tag}:t:limit[:key]    what is known of a count's topped-up receipts
//! prefix:{tag}:i:[key]:text     the note of an idempotency key
//! prefix:{limits}               the limits that services have charged, by name
//! ```
//!
//! The tag is `k` and the key, or `g` and the group; then the key follows. It is never empty, so the server hashes it and
//! nothing else, and all that is known of a group lies in one slot. Texts are escaped: what is left of them holds neither
//! braces nor colons, so that no two name one key (law 10).

use rebate_core::{Error, Key, KeyRef};
use sha2::{Digest, Sha256};

/// The longest escaped text that stands in a name; a longer one is told by its SHA-256.
const LONGEST: usize = 120;
/// Begins the digest of a text that is too long; never left unescaped.
pub(crate) const DIGEST_MARK: u8 = b'~';

/// Makes the names of one store's keys.
#[derive(Clone, Debug)]
pub(crate) struct Names {
    prefix: Box<str>,
}

/// The name of a count, and the key in full where the name holds a digest only.
pub(crate) struct CountName {
    pub(crate) name: Vec<u8>,
    pub(crate) original: Option<Vec<u8>>,
}

impl Names {
    /// # Errors
    /// [`Error::is_invalid`] when the prefix is empty, long, or holds what would be misread.
    pub(crate) fn new(prefix: &str) -> Result<Self, Error> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._:-".contains(&byte);
        if prefix.is_empty() || prefix.len() > 64 || !prefix.bytes().all(plain) {
            return Err(Error::invalid(format!(
                "`{}` cannot begin the names of keys; give 1 to 64 letters, digits, `.`, `_`, `:` or `-`",
                prefix.escape_debug()
            )));
        }
        Ok(Names { prefix: prefix.into() })
    }

    /// The count of `key` under the limit whose escaped name is `limit`.
    #[inline]
    pub(crate) fn count(&self, limit: &[u8], key: KeyRef<'_>) -> CountName {
        let mut name = Vec::with_capacity(self.prefix.len() + limit.len() + key.bytes().len() + 24);
        let shortened = self.place(&mut name, b":c:", limit, key);
        CountName { name, original: shortened.then(|| write_original(key)) }
    }

    /// What is known of a count's topped-up receipts.
    pub(crate) fn top_ups(&self, limit: &[u8], key: KeyRef<'_>) -> Vec<u8> {
        let mut name = Vec::new();
        self.place(&mut name, b":t:", limit, key);
        name
    }

    /// The note of an idempotency key within `scope`.
    pub(crate) fn note(&self, scope: KeyRef<'_>, idempotency: &[u8]) -> Vec<u8> {
        let mut name = Vec::new();
        self.tag(&mut name, scope);
        name.extend_from_slice(b":i:");
        if scope.group().is_some() {
            escape(&mut name, scope.bytes());
        }
        name.push(b':');
        escape(&mut name, idempotency);
        name
    }

    /// Where the limits are written down.
    pub(crate) fn limits(&self) -> Vec<u8> {
        format!("{}:{{limits}}", self.prefix).into_bytes()
    }

    /// A pattern that every count of a limit matches, and some of its neighbours.
    pub(crate) fn pattern(&self, limit: &[u8]) -> Vec<u8> {
        [self.prefix.as_bytes(), b":{*}:c:", limit, b"*"].concat()
    }

    /// Whose count has this name, if it is one of the limit's; [`None`] in the second place where the name holds a digest.
    pub(crate) fn read_count(&self, name: &[u8], limit: &[u8]) -> Option<Option<Key>> {
        let (of, key) = self.read_any_count(name)?;
        (of == limit).then_some(key)
    }

    /// The escaped name of the limit whose count has this name, and whose count it is: [`None`] in the second place where
    /// the name holds a digest.
    pub(crate) fn read_any_count<'a>(&self, name: &'a [u8]) -> Option<(&'a [u8], Option<Key>)> {
        let rest = name.strip_prefix(self.prefix.as_bytes())?.strip_prefix(b":{")?;
        let (tag, rest) = rest.split_at(rest.iter().position(|&byte| byte == b'}')?);
        let rest = rest.strip_prefix(b"}:c:")?;
        let (kind, tag) = tag.split_first()?;
        let mut texts = rest.split(|&byte| byte == b':');
        // What has more texts than these is a count's helper.
        match (kind, texts.next()?, texts.next(), texts.next()) {
            (b'k', limit, None, None) => Some((limit, unescape(tag).map(|key| Key::new(KeyRef::from(&key))))),
            (b'g', limit, Some(key), None) => {
                let both = unescape(tag).zip(unescape(key));
                Some((limit, both.map(|(group, key)| Key::new(KeyRef::in_group(&group, &key)))))
            }
            _ => None,
        }
    }

    /// Writes a place; answers whether a text in it had to be shortened.
    fn place(&self, name: &mut Vec<u8>, kind: &[u8], limit: &[u8], key: KeyRef<'_>) -> bool {
        let mut shortened = self.tag(name, key);
        name.extend_from_slice(kind);
        name.extend_from_slice(limit);
        if key.group().is_some() {
            name.push(b':');
            shortened |= escape(name, key.bytes());
        }
        shortened
    }

    fn tag(&self, name: &mut Vec<u8>, key: KeyRef<'_>) -> bool {
        name.extend_from_slice(self.prefix.as_bytes());
        name.extend_from_slice(b":{");
        let shortened = match key.group() {
            Some(group) => {
                name.push(b'g');
                escape(name, group)
            }
            None => {
                name.push(b'k');
                escape(name, key.bytes())
            }
        };
        name.push(b'}');
        shortened
    }
}

/// A limit's name as it stands in the names of keys.
pub(crate) fn escaped(text: &str) -> Vec<u8> {
    let mut name = Vec::new();
    escape(&mut name, text.as_bytes());
    name
}

/// What is kept beside a count whose name holds a digest: `k` and the key, or `g`, the group's length and both.
fn write_original(key: KeyRef<'_>) -> Vec<u8> {
    match key.group() {
        None => [b"k", key.bytes()].concat(),
        Some(group) => [b"g", &(group.len() as u32).to_le_bytes()[..], group, key.bytes()].concat(),
    }
}

/// Reads what [`write_original`] wrote.
pub(crate) fn read_original(bytes: &[u8]) -> Option<Key> {
    match bytes.split_first()? {
        (b'k', key) => Some(Key::new(KeyRef::from(key))),
        (b'g', rest) => {
            let (length, rest) = rest.split_first_chunk::<4>()?;
            let (group, key) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
            Some(Key::new(KeyRef::in_group(group, key)))
        }
        _ => None,
    }
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"._@=+,/-".contains(&byte)
}

/// Writes `text` so that nothing in it can be misread; answers whether only its digest was written.
#[inline]
fn escape(name: &mut Vec<u8>, text: &[u8]) -> bool {
    if text.len() <= LONGEST && text.iter().all(|&byte| is_plain(byte)) {
        name.extend_from_slice(text);
        return false;
    }
    escape_all(name, text)
}

fn escape_all(name: &mut Vec<u8>, text: &[u8]) -> bool {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let start = name.len();
    for &byte in text.iter().take(LONGEST + 1) {
        // A colon is the commonest mark in keys, and easier to read so.
        match byte {
            byte if is_plain(byte) => name.push(byte),
            b':' => name.push(b'!'),
            _ => name.extend_from_slice(&[b'%', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]),
        }
    }
    if name.len() - start <= LONGEST {
        return false;
    }
    name.truncate(start);
    name.push(DIGEST_MARK);
    for byte in Sha256::digest(text) {
        name.extend_from_slice(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
    }
    true
}

/// The text that was escaped, unless it is a digest.
fn unescape(name: &[u8]) -> Option<Vec<u8>> {
    if name.first() == Some(&DIGEST_MARK) {
        return None;
    }
    let mut text = Vec::with_capacity(name.len());
    let mut rest = name;
    while let Some((&byte, behind)) = rest.split_first() {
        rest = behind;
        text.push(match byte {
            b'!' => b':',
            b'%' => {
                let (digits, behind) = rest.split_first_chunk::<2>()?;
                rest = behind;
                u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?
            }
            byte => byte,
        });
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    fn names() -> Names {
        Names::new("rebate").expect("a plain prefix")
    }

    #[test]
    fn names_read_as_what_they_are() {
        let count = |key: KeyRef<'_>| String::from_utf8(names().count(b"day", key).name).expect("ASCII");
        assert_eq!(count("user:42".into()), "rebate:{kuser!42}:c:day");
        assert_eq!(count(KeyRef::in_group("acme", "a{b}")), "rebate:{gacme}:c:day:a%7Bb%7D");
        assert_eq!(count("".into()), "rebate:{k}:c:day");
        assert_eq!(count(KeyRef::in_group("", "")), "rebate:{g}:c:day:");
        assert!(Names::new("a{b").unwrap_err().is_invalid());
    }

    #[test]
    fn a_long_key_is_told_by_its_digest_and_kept_beside() {
        let long = "x".repeat(65_000);
        let CountName { name, original } = names().count(b"day", long.as_str().into());
        assert!(name.len() < 120);
        assert_eq!(names().read_count(&name, b"day"), Some(None));
        assert_eq!(original.and_then(|bytes| read_original(&bytes)), Some(Key::new(long.as_str())));
    }

    fn text() -> impl Strategy<Value = Vec<u8>> {
        prop::collection::vec(prop::sample::select(b"ab:{}%!~e\0\n".to_vec()), 0..4)
    }

    proptest! {
        #[test]
        fn no_two_places_share_a_name(
            places in prop::collection::vec((text(), prop::option::of(text()), text()), 2..40),
        ) {
            let mut seen = HashMap::new();
            for (limit, group, key) in places {
                let limit_name = escaped(&String::from_utf8(limit.clone()).expect("ASCII"));
                let key_ref = match &group {
                    Some(group) => KeyRef::in_group(group, &key),
                    None => KeyRef::from(&key),
                };
                let name = names().count(&limit_name, key_ref).name;
                prop_assert_eq!(names().read_count(&name, &limit_name), Some(Some(Key::new(key_ref))));
                prop_assert_eq!(names().read_any_count(&name), Some((&limit_name[..], Some(Key::new(key_ref)))));
                for helper in ["", ":e", ":p", ":f", ":k"] {
                    let name = [&name[..], helper.as_bytes()].concat();
                    let place = (limit.clone(), group.clone(), key.clone(), helper);
                    let known = seen.entry(name).or_insert_with(|| place.clone());
                    prop_assert_eq!(&*known, &place);
                }
                let note = names().note(key_ref, &limit);
                let place = (limit.clone(), group.clone(), key.clone(), "note");
                let known = seen.entry(note).or_insert_with(|| place.clone());
                prop_assert_eq!(&*known, &place);
            }
        }
    }
}
