//! `rebate refund`: gives back what a token says was charged.

use std::io::{self, Read};

use clap::Args;
use rebate::{Error, Limit, LimitRef, Limiter, Part, PartRefund, Receipt, RedisStore, Refund, Store};
use serde::Serialize;

use crate::json::{KeyReport, StatusReport};
use crate::peek::say;
use crate::show::{grouped, shown_key, shown_status};
use crate::store::{SecretArguments, StoreArguments, block_on};
use crate::trouble::Trouble;

#[derive(Args, Debug)]
pub(crate) struct RefundArguments {
    #[command(flatten)]
    store: StoreArguments,

    /// Give back until so many units of each part have been given back in all [default: all of them]
    #[arg(long, value_name = "N")]
    up_to: Option<u64>,

    #[command(flatten)]
    secret: SecretArguments,

    /// Write one JSON object instead of sentences
    #[arg(long)]
    json: bool,

    /// The receipt's token, or `-` to read it from standard input: whoever sees a token can use it, and others can see
    /// the command line
    token: String,
}

/// What a refund did. Its JSON form is a promise to those who read it by program.
#[derive(Serialize)]
struct Report {
    store: String,
    charged_at_micros: u64,
    /// Whether an idempotency key found the charge already made.
    replay: bool,
    /// Units given back by this call, over all parts.
    given_back: u64,
    parts: Vec<PartReport>,
}

#[derive(Serialize)]
struct PartReport {
    limit: String,
    #[serde(flatten)]
    key: KeyReport,
    /// Units charged.
    cost: u64,
    /// Units given back by this call, and in all.
    given_back: u64,
    given_back_in_all: u64,
    expired: bool,
    /// The part that it tops up, for one that a settlement added.
    tops_up: Option<u16>,
    /// After the refund; null when the store no longer knows the count.
    status: Option<StatusReport>,
}

/// Refunds the token.
pub(crate) fn run(arguments: &RefundArguments) -> Result<(), Trouble> {
    let token = read_token(&arguments.token)?;
    let is_secret = arguments.secret.read()?.is_some();
    let limiter = arguments.secret.limiter(arguments.store.open()?)?;
    let mut receipt = limiter.receipt(&token).map_err(|error| bad_token(&error, &token, is_secret))?;
    let refund = block_on(async {
        let refund = match arguments.up_to {
            Some(total) => limiter.refund_up_to(&mut receipt, total).await,
            None => limiter.refund(&mut receipt).await,
        };
        refund.map_err(|error| {
            let again = if error.may_have_happened() { "; repeat it, no unit is given back twice" } else { "" };
            match Trouble::from(error) {
                Trouble::Failed(text) => Trouble::Failed(format!("{text}{again}")),
                other => other,
            }
        })
    })?;
    if arguments.json {
        let report = Report::new(&limiter, &receipt, &refund);
        // No map with other keys than text, no number that is not finite: nothing in it can fail.
        return say(&serde_json::to_string_pretty(&report).unwrap_or_default());
    }
    for (part, answer) in receipt.parts().iter().zip(&refund.parts) {
        say(&sentence(&limiter, part, answer, arguments.up_to))?;
    }
    if refund.any_expired() {
        say(
            "What has expired can no longer be given back: its window is over, or was reset, or is under another --prefix.",
        )?;
    }
    Ok(())
}

fn read_token(given: &str) -> Result<String, Trouble> {
    if given != "-" {
        return Ok(given.trim().to_owned());
    }
    let mut bytes = Vec::new();
    let cannot_read = |error| Trouble::Failed(format!("cannot read the token from standard input: {error}"));
    io::stdin().lock().read_to_end(&mut bytes).map_err(cannot_read)?;
    match String::from_utf8(bytes) {
        Ok(text) if text.trim().is_empty() => {
            Err(Trouble::Usage("standard input is empty: a receipt's token was expected there".into()))
        }
        Ok(text) => Ok(text.trim().to_owned()),
        Err(_) => Err(Trouble::Usage("malformed: standard input is no text, so it is no receipt's token".into())),
    }
}

/// Which of the five faults a token has, and what would be right. Never the token.
fn bad_token(error: &Error, token: &str, is_secret: bool) -> Trouble {
    let (fault, advice) = if error.is_truncated_token() {
        ("truncated", "copy all of it")
    } else if error.is_token_version() {
        ("of another version", "use the release of rebate that wrote it, or a later one")
    } else if error.is_other_store() {
        ("of another store", "give the name of its store: --name, and the URL where that is: --store")
    } else if error.is_forged_token() && !is_secret {
        ("signed", "give the secret: --secret-file, or the variable REBATE_SECRET")
    } else if error.is_forged_token() && token.starts_with('r') {
        (
            "forged",
            "a secret is given, so only signed tokens are taken: leave out --secret-file and REBATE_SECRET where \
                    the services do not sign",
        )
    } else if error.is_forged_token() {
        ("forged", "somebody has changed it, or it was signed with another secret than the one given")
    } else {
        ("malformed", "a token is what `Limiter::token` wrote, and begins with `r1` or `s1`")
    };
    Trouble::Usage(format!("the token is {fault}: {error}; {advice}"))
}

/// What became of one part.
fn sentence(limiter: &Limiter<RedisStore>, part: &Part, answer: &PartRefund, up_to: Option<u64>) -> String {
    let [now, in_all, cost] = [answer.given_back, answer.in_all, part.cost].map(grouped);
    let done = match (answer.expired, answer.given_back) {
        (true, _) => format!("expired, nothing given back now, {in_all} of {cost} in all"),
        (false, 0) if up_to == Some(0) => format!("nothing asked for, {in_all} of {cost} given back in all"),
        (false, 0) => format!("nothing more given back now, {in_all} of {cost} in all before"),
        (false, _) => format!("{now} given back now, {in_all} of {cost} in all"),
    };
    let top_up = if part.tops_up.is_some() { " (top-up)" } else { "" };
    let status = answer.status.map_or(String::new(), |status| format!("; {}", shown_status(&status)));
    format!("{}{top_up}, {}: {done}{status}", limit_name(limiter, part), shown_key(part.key()))
}

fn limit_name(limiter: &Limiter<RedisStore>, part: &Part) -> String {
    match &part.limit {
        LimitRef::Name(name) => name.to_string(),
        LimitRef::Index(index) => {
            limiter.store().identity().limit(*index).map(Limit::name).unwrap_or_default().to_owned()
        }
    }
}

impl Report {
    fn new(limiter: &Limiter<RedisStore>, receipt: &Receipt, refund: &Refund) -> Self {
        let report = |(part, answer): (&Part, &PartRefund)| PartReport {
            limit: limit_name(limiter, part),
            key: part.key().into(),
            cost: part.cost,
            given_back: answer.given_back,
            given_back_in_all: answer.in_all,
            expired: answer.expired,
            tops_up: part.tops_up,
            status: answer.status.as_ref().map(StatusReport::from),
        };
        Report {
            store: limiter.store().identity().name().to_owned(),
            charged_at_micros: receipt.charged_at().as_micros(),
            replay: receipt.is_replay(),
            given_back: refund.given_back(),
            parts: receipt.parts().iter().zip(&refund.parts).map(report).collect(),
        }
    }
}
