//! What `status` and `peek` tell programs.

use rebate::{KeyRef, Status};
use serde::{Serialize, Serializer};

use super::StatusArguments;
use super::gather::Gathered;
use crate::json::{KeyReport, StatusReport};

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
    #[serde(flatten)]
    key: KeyReport,
    #[serde(flatten)]
    status: StatusReport,
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
        Row { limit, key: key.into(), status: status.into() }
    }
}
