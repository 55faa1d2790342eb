//! Keys: who is charged.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::num::NonZeroU8;

use crate::error::Error;

/// The longest key or group, in bytes.
pub const MAX_KEY_BYTES: usize = 64 * 1024;

const INLINE: usize = 23;
const GROUPED: u8 = 0x20;

/// A borrowed key: any bytes, and perhaps the group it belongs to.
///
/// Keys of one group can be charged together atomically even where a store is spread over several
/// servers. The same bytes in two groups, or in none, are different keys.
///
/// ```
/// use rebate_core::KeyRef;
///
/// let plain: KeyRef = "user:42".into();
/// assert_ne!(plain, KeyRef::in_group("tenant:7", "user:42"));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyRef<'a> {
    group: Option<&'a [u8]>,
    key: &'a [u8],
}

impl<'a> KeyRef<'a> {
    /// A key that belongs to no group.
    #[inline]
    pub const fn new(key: &'a [u8]) -> Self {
        KeyRef { group: None, key }
    }

    /// A key of `group`.
    pub fn in_group(group: &'a (impl AsRef<[u8]> + ?Sized), key: &'a (impl AsRef<[u8]> + ?Sized)) -> Self {
        KeyRef { group: Some(group.as_ref()), key: key.as_ref() }
    }

    /// The key's own bytes, without its group.
    pub const fn bytes(&self) -> &'a [u8] {
        self.key
    }

    /// The group's bytes.
    pub const fn group(&self) -> Option<&'a [u8]> {
        self.group
    }

    /// # Errors
    /// [`Error::is_invalid`] when the key or its group is longer than [`MAX_KEY_BYTES`].
    #[inline]
    pub(crate) fn check(&self) -> Result<(), Error> {
        if self.key.len() > MAX_KEY_BYTES || self.group.is_some_and(|g| g.len() > MAX_KEY_BYTES) {
            return Err(self.too_long());
        }
        Ok(())
    }

    #[cold]
    fn too_long(&self) -> Error {
        let longest = self.key.len().max(self.group.map_or(0, <[u8]>::len));
        Error::invalid(format!(
            "a key or group of {longest} bytes; at most {MAX_KEY_BYTES} are taken (hash longer ones)"
        ))
    }
}

impl<'a> From<&'a str> for KeyRef<'a> {
    #[inline]
    fn from(key: &'a str) -> Self {
        KeyRef::new(key.as_bytes())
    }
}

impl<'a> From<&'a String> for KeyRef<'a> {
    fn from(key: &'a String) -> Self {
        KeyRef::new(key.as_bytes())
    }
}

impl<'a> From<&'a [u8]> for KeyRef<'a> {
    #[inline]
    fn from(key: &'a [u8]) -> Self {
        KeyRef::new(key)
    }
}

impl<'a, const N: usize> From<&'a [u8; N]> for KeyRef<'a> {
    fn from(key: &'a [u8; N]) -> Self {
        KeyRef::new(key)
    }
}

impl<'a> From<&'a Vec<u8>> for KeyRef<'a> {
    fn from(key: &'a Vec<u8>) -> Self {
        KeyRef::new(key)
    }
}

impl<'a> From<&'a Key> for KeyRef<'a> {
    #[inline]
    fn from(key: &'a Key) -> Self {
        key.as_ref()
    }
}

impl fmt::Debug for KeyRef<'_> {
    /// Only the lengths: a key may be personal data.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.group {
            None => write!(f, "Key({} bytes)", self.key.len()),
            Some(group) => write!(f, "Key({} bytes in a group of {})", self.key.len(), group.len()),
        }
    }
}

/// An owned key. Up to 23 bytes (22 less its group's length when it has a group) are held inline;
/// a longer one is held on the heap.
#[derive(Clone)]
pub struct Key(Repr);

/// 24 bytes: the tag, never 0, leaves room for the other variant.
#[derive(Clone)]
enum Repr {
    Inline(Inline),
    Heap(Box<Long>),
}

/// In this order, so that a packed key is three words here too.
#[derive(Clone, PartialEq, Eq)]
#[repr(C)]
struct Inline {
    bytes: [u8; INLINE],
    /// The length and one, with [`GROUPED`] set when the first byte is a group's length.
    tag: NonZeroU8,
}

#[derive(Clone, PartialEq, Eq)]
struct Long {
    group: Option<Box<[u8]>>,
    key: Box<[u8]>,
}

impl Key {
    /// An owned copy of `key`.
    #[inline]
    pub fn new<'a>(key: impl Into<KeyRef<'a>>) -> Self {
        let key = key.into();
        match pack(&key) {
            Some(packed) => Key::from_packed(packed),
            None => Key(Repr::Heap(Box::new(Long { group: key.group.map(Into::into), key: key.key.into() }))),
        }
    }

    /// The key, borrowed.
    #[inline]
    pub fn as_ref(&self) -> KeyRef<'_> {
        match &self.0 {
            Repr::Inline(inline) => unpack(&inline.bytes, inline.tag.get()),
            Repr::Heap(long) => KeyRef { group: long.group.as_deref(), key: &long.key },
        }
    }

    /// The key whose packed form is `packed`: words that [`pack`] made.
    #[inline(always)]
    pub fn from_packed(packed: PackedKey) -> Self {
        let mut bytes = [0; INLINE];
        bytes[..8].copy_from_slice(&packed[0].to_le_bytes());
        bytes[8..16].copy_from_slice(&packed[1].to_le_bytes());
        bytes[16..].copy_from_slice(&packed[2].to_le_bytes()[..7]);
        let tag = (packed[2] >> 56) as u8;
        Key(Repr::Inline(Inline { bytes, tag: NonZeroU8::new(tag).unwrap_or(NonZeroU8::MIN) }))
    }
}

/// A key in 24 bytes: its form in a store's table. Two are equal exactly when their keys are. The last
/// word is never 0.
pub type PackedKey = [u64; 3];

/// Packs a key into three words, in registers; `None` when it is too long.
#[inline(always)]
pub fn pack(key: &KeyRef<'_>) -> Option<PackedKey> {
    match key.group {
        None => pack_bytes(key.key, 0),
        // Taken apart: what a function writes by its address would have the other case go through memory.
        Some(group) => {
            let [first, second, third] = pack_grouped(group, key.key)?;
            Some([first, second, third])
        }
    }
}

#[inline(always)]
fn pack_bytes(bytes: &[u8], flag: u8) -> Option<PackedKey> {
    fn word(bytes: &[u8]) -> u64 {
        let mut word = [0; 8];
        word.copy_from_slice(&bytes[..8]);
        u64::from_le_bytes(word)
    }
    fn half(bytes: &[u8]) -> u64 {
        let mut half = [0; 4];
        half.copy_from_slice(&bytes[..4]);
        u64::from(u32::from_le_bytes(half))
    }
    // Overlapping loads rather than a call to `memcpy`, and no store that a load would wait for.
    let length = bytes.len();
    let unused = |end: usize| 8 * (end - length) as u32;
    let [first, second, third] = match length {
        0..=3 => {
            let mut short = 0;
            for (at, &byte) in bytes.iter().enumerate() {
                short |= u64::from(byte) << (8 * at);
            }
            [short, 0, 0]
        }
        4..=7 => [half(bytes) | half(&bytes[length - 4..]) << (8 * (length - 4)), 0, 0],
        8 => [word(bytes), 0, 0],
        9..=16 => [word(bytes), word(&bytes[length - 8..]) >> unused(16), 0],
        17..=INLINE => [word(bytes), word(&bytes[8..]), word(&bytes[length - 8..]) >> unused(24)],
        _ => return None,
    };
    Some([first, second, third | u64::from((length as u8 + 1) | flag) << 56])
}

#[inline(never)]
fn pack_grouped(group: &[u8], key: &[u8]) -> Option<PackedKey> {
    let length = 1 + group.len() + key.len();
    if length > INLINE {
        return None;
    }
    let mut bytes = [0; INLINE];
    bytes[0] = group.len() as u8;
    bytes[1..1 + group.len()].copy_from_slice(group);
    bytes[1 + group.len()..length].copy_from_slice(key);
    pack_bytes(&bytes[..length], GROUPED)
}

#[inline]
fn unpack(bytes: &[u8; INLINE], tag: u8) -> KeyRef<'_> {
    let bytes = &bytes[..usize::from((tag & !GROUPED).saturating_sub(1)).min(INLINE)];
    if tag & GROUPED == 0 {
        return KeyRef { group: None, key: bytes };
    }
    match bytes.split_first() {
        Some((&group, rest)) => {
            let (group, key) = rest.split_at(usize::from(group).min(rest.len()));
            KeyRef { group: Some(group), key }
        }
        None => KeyRef { group: Some(&[]), key: &[] },
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Repr::Inline(a), Repr::Inline(b)) => a == b,
            _ => self.as_ref() == other.as_ref(),
        }
    }
}

impl Eq for Key {}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_ref().hash(state);
    }
}

impl<'a, T: Into<KeyRef<'a>>> From<T> for Key {
    fn from(key: T) -> Self {
        Key::new(key)
    }
}

impl fmt::Debug for Key {
    /// Only the lengths: a key may be personal data.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_ref().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_every_length_survive_packing_and_differ() {
        let bytes: Vec<u8> = (1..=40).collect();
        for length in 0..=40 {
            let plain = KeyRef::new(&bytes[..length]);
            assert_eq!(Key::new(plain).as_ref(), plain);
            assert_eq!(pack(&plain).is_some(), length <= 23);
            for group in 0..=length {
                let grouped = KeyRef::in_group(&bytes[..group], &bytes[group..length]);
                let owned = Key::new(grouped);
                assert_eq!(owned.as_ref(), grouped);
                assert_ne!(owned, Key::new(plain));
            }
        }
    }

    #[test]
    fn zero_bytes_and_lengths_are_told_apart() {
        assert_ne!(Key::new(&[0u8; 3]), Key::new(&[0u8; 4]));
        assert_ne!(Key::new(KeyRef::in_group("a", "bc")), Key::new(KeyRef::in_group("ab", "c")));
        assert_ne!(Key::new(KeyRef::in_group("", "")), Key::new(KeyRef::new(b"")));
    }

    #[test]
    fn debug_never_shows_a_key() {
        assert_eq!(format!("{:?}", Key::new("user:42")), "Key(7 bytes)");
    }
}
