//! Keys as they may be written down: the same for the same key, and never the key.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::OnceLock;

use hmac::{Hmac, Mac};
use rebate_core::KeyRef;
use sha2::Sha256;

/// Turns keys into short texts that tell them apart and tell nothing else.
#[derive(Clone)]
pub(crate) struct Masks(Hmac<Sha256>);

impl Masks {
    /// Masks under `secret`: the same in every process that has it.
    pub(crate) fn with_secret(secret: &[u8]) -> Self {
        // HMAC hashes a longer key and pads a shorter one.
        let Ok(mac) = Hmac::new_from_slice(secret) else { unreachable!("HMAC takes a key of any length") };
        Masks(mac)
    }

    /// Masks under the secret of this process: the same in all layers as long as it runs.
    pub(crate) fn of_this_process() -> Self {
        static SECRET: OnceLock<[[u8; 8]; 4]> = OnceLock::new();
        Self::with_secret(SECRET.get_or_init(random).as_flattened())
    }

    pub(crate) fn mask(&self, key: KeyRef<'_>) -> Mask {
        let mut mac = self.0.clone();
        // Which bytes are the group's is part of what is masked.
        let group = key.group();
        mac.update(&[u8::from(group.is_some())]);
        mac.update(&(group.map_or(0, <[u8]>::len) as u64).to_le_bytes());
        mac.update(group.unwrap_or_default());
        mac.update(key.bytes());
        let bytes = mac.finalize().into_bytes();
        Mask([bytes[0], bytes[1], bytes[2], bytes[3]])
    }
}

impl fmt::Debug for Masks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Masks")
    }
}

fn random() -> [[u8; 8]; 4] {
    std::array::from_fn(|at| RandomState::new().hash_one(at).to_le_bytes())
}

/// A masked key: eight hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mask([u8; 4]);

impl fmt::Display for Mask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", u32::from_be_bytes(self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_masked_the_same_each_time_and_by_every_process_of_a_secret() {
        let masks = Masks::with_secret(b"deployment");
        let mask = |key: &str| masks.mask(key.into()).to_string();
        assert_eq!(mask("user:42"), mask("user:42"));
        assert_eq!(mask("user:42"), Masks::with_secret(b"deployment").mask("user:42".into()).to_string());
        assert_ne!(mask("user:42"), mask("user:43"));
        assert_ne!(mask("user:42"), Masks::with_secret(b"another").mask("user:42".into()).to_string());
        assert_eq!(mask("user:42").len(), 8);
        assert!(mask("user:42").bytes().all(|byte| byte.is_ascii_hexdigit()));
    }

    #[test]
    fn processes_without_a_secret_mask_differently() {
        let key = KeyRef::from("user:42");
        let other_process = Masks::with_secret(random().as_flattened());
        assert_ne!(Masks::of_this_process().mask(key), other_process.mask(key));
        assert_eq!(Masks::of_this_process().mask(key), Masks::of_this_process().mask(key), "all layers of a process");
    }

    #[test]
    fn groups_are_told_apart() {
        let masks = Masks::with_secret(b"deployment");
        let keys =
            [KeyRef::from("ab"), KeyRef::in_group("", "ab"), KeyRef::in_group("a", "b"), KeyRef::in_group("ab", "")];
        for (at, key) in keys.iter().enumerate() {
            assert!(keys[..at].iter().all(|other| masks.mask(*other) != masks.mask(*key)), "{at}");
        }
    }
}
