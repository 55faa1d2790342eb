//! What `status` and `peek` tell programs.

use rebate::{KeyRef, Status};
use serde::{Serialize, Serializer};

use super::StatusArguments;
use super::gather::Gathered;
use crate::show::as_text;

/// The whole of a listing. Its JSON form is a promise to those who read it by program.
#[derive(Serialize)]
pub(crate) struct Report<'a> {
    store: &'a str,
    prefix: &'a str,
    took_micros: u64,
    limits: Vec<LimitReport<'a>>,
    /// As many as `--top` leaves, in the order of `--sort`.
    counts: Counts<'a>,
}

/// A limit that was listed.
#[derive(Serialize)]
struct LimitReport<'a> {
    limit: &'a str,
    policy: String,
    quota: u64,
    /// How many keys have a count, whatever `--top`.
    keys: u64,
}

/// Written one by one: a million rows need not lie in memory as text.
struct Counts<'a>(&'a Gathered);

/// A key's count under a limit.
#[derive(Serialize)]
pub(crate) struct Row<'a> {
    limit: &'a str,
    /// As text, as the key: bytes that are not UTF-8 are replaced.
    group: Option<String>,
    key: String,
    /// All bytes in hexadecimal, where the text does not tell them.
    #[serde(skip_serializing_if = "Option::is_none")]
    group_hex: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_hex: Option<String>,
    quota: u64,
    used: u64,
    remaining: u64,
    reset_micros: u64,
}

impl<'a> Report<'a> {
    pub(crate) fn new(arguments: &'a StatusArguments, gathered: &'a Gathered) -> Self {
        let limits = gathered.limits.iter().zip(&gathered.keys).map(|(limit, &keys)| LimitReport {
            limit: limit.name(),
            policy: limit.policy().to_string(),
            quota: limit.policy().quota(),
            keys,
        });
        Report {
            store: &arguments.store.name,
            prefix: &arguments.store.prefix,
            took_micros: gathered.took.as_micros() as u64,
            limits: limits.collect(),
            counts: Counts(gathered),
        }
    }
}

impl Serialize for Counts<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let gathered = self.0;
        serializer.collect_seq(
            gathered
                .counts
                .iter()
                .map(|count| Row::new(gathered.limits[count.limit].name(), count.key.as_ref(), &count.status)),
        )
    }
}

impl<'a> Row<'a> {
    pub(crate) fn new(limit: &'a str, key: KeyRef<'_>, status: &Status) -> Self {
        let (group, group_hex) = key.group().map(as_text).unzip();
        let (key, key_hex) = as_text(key.bytes());
        Row {
            limit,
            group,
            key,
            group_hex: group_hex.flatten(),
            key_hex,
            quota: status.quota(),
            used: status.used(),
            remaining: status.remaining(),
            reset_micros: status.reset_after().as_micros() as u64,
        }
    }
}
