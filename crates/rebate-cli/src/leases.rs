//! `rebate leases`: who holds what of a concurrency limit.

use clap::Args;
use rebate::{Clock, KeyRef, Lease, Limit, Limiter, RedisStore, SystemClock};
use serde::Serialize;

use crate::json::KeyReport;
use crate::peek::{CountArguments, say};
use crate::show::{counted, grouped, shown_key, span};
use crate::store::{SecretArguments, block_on};
use crate::trouble::Trouble;

#[derive(Args, Debug)]
pub(crate) struct LeasesArguments {
    #[command(flatten)]
    count: CountArguments,

    #[command(flatten)]
    secret: SecretArguments,

    /// Write one JSON object instead of sentences
    #[arg(long)]
    json: bool,
}

/// What a key holds. Its JSON form is a promise to those who read it by program.
#[derive(Serialize)]
struct Report<'a> {
    limit: &'a str,
    #[serde(flatten)]
    key: KeyReport,
    quota: u64,
    used: u64,
    /// In the order of their ends.
    leases: Vec<LeaseReport>,
}

#[derive(Serialize)]
struct LeaseReport {
    units: u64,
    /// When it ends by itself, by the store's clock.
    until_micros: u64,
    /// What releases it.
    token: String,
}

/// Tells which places a key holds of a limit; changes nothing.
pub(crate) fn run(arguments: &LeasesArguments) -> Result<(), Trouble> {
    let key = arguments.count.key();
    block_on(async {
        let (store, limit) = arguments.count.find().await?;
        let limiter = arguments.secret.limiter(store)?;
        let leases = limiter.leases(&limit, key).await?;
        let report = Report::new(&limiter, &limit, key, &leases)?;
        if arguments.json {
            // No map with other keys than text, no number that is not finite: nothing in it can fail.
            return say(&serde_json::to_string_pretty(&report).unwrap_or_default());
        }
        let [used, quota] = [report.used, report.quota].map(grouped);
        say(&format!("{} ({}), {}: {used} of {quota} held", limit.name(), limit.policy(), shown_key(key)))?;
        report.leases.iter().zip(&leases).try_for_each(|(told, lease)| say(&sentence(told, lease)))
    })
}

/// How long it lasts yet is told by this machine's clock: what the server's says, only the server knows.
fn sentence(told: &LeaseReport, lease: &Lease) -> String {
    let left = told.until_micros.saturating_sub(SystemClock.now().as_micros());
    let ends_in = span((left as f64 / 1e6).round());
    format!("  {}, ends in {ends_in} ({}): {}", counted(told.units, "unit"), lease.until, told.token)
}

impl<'a> Report<'a> {
    fn new(
        limiter: &Limiter<RedisStore>,
        limit: &'a Limit,
        key: KeyRef<'_>,
        leases: &[Lease],
    ) -> Result<Self, rebate::Error> {
        let told = |lease: &Lease| {
            let token = limiter.token(&lease.receipt)?;
            Ok(LeaseReport { units: lease.units, until_micros: lease.until.as_micros(), token })
        };
        Ok(Report {
            limit: limit.name(),
            key: key.into(),
            quota: limit.policy().quota(),
            used: leases.iter().map(|lease| lease.units).sum(),
            leases: leases.iter().map(told).collect::<Result<_, rebate::Error>>()?,
        })
    }
}
