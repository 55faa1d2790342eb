//! What every JSON report tells of a key and of its count. The names are a promise to those who read them by program.

use rebate::{KeyRef, Status};
use serde::Serialize;

use crate::show::as_text;

/// A key, among the fields of what is told of it.
#[derive(Serialize)]
pub(crate) struct KeyReport {
    /// As text, as the key: bytes that are not UTF-8 are replaced.
    group: Option<String>,
    key: String,
    /// All bytes in hexadecimal, where the text does not tell them.
    #[serde(skip_serializing_if = "Option::is_none")]
    group_hex: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_hex: Option<String>,
}

#[derive(Serialize)]
pub(crate) struct StatusReport {
    quota: u64,
    used: u64,
    remaining: u64,
    reset_micros: u64,
}

impl From<KeyRef<'_>> for KeyReport {
    fn from(key: KeyRef<'_>) -> Self {
        let (group, group_hex) = key.group().map(as_text).unzip();
        let (key, key_hex) = as_text(key.bytes());
        KeyReport { group, key, group_hex: group_hex.flatten(), key_hex }
    }
}

impl From<&Status> for StatusReport {
    fn from(status: &Status) -> Self {
        StatusReport {
            quota: status.quota(),
            used: status.used(),
            remaining: status.remaining(),
            reset_micros: status.reset_after().as_micros() as u64,
        }
    }
}
