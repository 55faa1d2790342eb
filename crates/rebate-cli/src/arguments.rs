//! The command line.

use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use rebate::{Limit, Policy};

use crate::leases::{self, LeasesArguments};
use crate::peek::{self, CountArguments, PeekArguments};
use crate::refund::{self, RefundArguments};
use crate::replay;
use crate::replay::parse::{Format, KeyField, TimeUnit};
use crate::replay::refunds::StatusSet;
use crate::replay::smallest::Tolerance;
use crate::rules;
use crate::rules::subject::{AskedKey, Named};
use crate::status::{self, StatusArguments};
use crate::trouble::Trouble;

/// What the program's exit status means, as its help says.
pub const EXIT_STATUS: &str = "\
Exit status: 0 when the report was written, however many requests it says were denied; 1 when the log could not be \
read to its end, or with --strict when a line of it could not; 2 when the command line is wrong.";

const STORE_EXIT_STATUS: &str = "\
Exit status: 0 when it was done; 1 when the store is in trouble; 2 when the command line is wrong.";

const REFUND_EXIT_STATUS: &str = "\
Exit status: 0 when it was done, also when nothing was left to give back or it has expired; 1 when the store is in \
trouble: the same again does no harm; 2 when the command line or the token is wrong.";

const RULES_EXIT_STATUS: &str = "\
Exit status: 0 when the file is right, be it with warnings; 1 when it is not, or cannot be read; 2 when the command line \
is wrong.";

/// Tries rate limits on real traffic, and looks after those in force.
#[derive(Debug, Parser)]
#[command(name = "rebate", version, about, max_term_width = 110)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Replays an access log against limits and reports who would have been turned away
    Replay(Box<ReplayArguments>),
    /// Looks at a rule file: whether it is right, and what becomes of a request
    Rules(RulesArguments),
    /// Lists who has used how much of which limit, from a store in use
    #[command(after_help = STORE_EXIT_STATUS)]
    Status(StatusArguments),
    /// Gives back what a receipt's token says was charged
    #[command(after_help = REFUND_EXIT_STATUS)]
    Refund(RefundArguments),
    /// Tells how much of a limit one key has used
    #[command(after_help = STORE_EXIT_STATUS)]
    Peek(PeekArguments),
    /// Tells which places of a concurrency limit one key holds, each with the token that `rebate refund` releases it by
    #[command(after_help = STORE_EXIT_STATUS)]
    Leases(LeasesArguments),
    /// Forgets what one key has used of a limit; its receipts expire
    #[command(after_help = STORE_EXIT_STATUS)]
    Reset(CountArguments),
}

#[derive(Args, Debug)]
pub(crate) struct RulesArguments {
    #[command(subcommand)]
    pub(crate) command: RulesCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum RulesCommand {
    /// Tells all that is wrong with a rule file, or prints its rules
    #[command(after_help = RULES_EXIT_STATUS)]
    Check(CheckArguments),
    /// Tells which rule, limits and keys a request gets, and why
    #[command(after_help = format!("{EXPLAIN_EXAMPLES}\n\n{RULES_EXIT_STATUS}"))]
    Explain(ExplainArguments),
}

const EXPLAIN_EXAMPLES: &str = "\
Examples:
  rebate rules explain rules.toml POST /api/concepts/generate --user 42
  rebate rules explain rules.toml GET '/api/auth/..%2fgenerate' --address 203.0.113.9 --header x-plan=pro";

#[derive(Args, Debug)]
pub(crate) struct CheckArguments {
    /// The rule file, or `-` for standard input
    pub(crate) file: PathBuf,
}

#[derive(Args, Debug)]
pub(crate) struct ExplainArguments {
    /// The rule file, or `-` for standard input
    pub(crate) file: PathBuf,

    /// The request's method, as it is sent: methods are told apart by case
    #[arg(value_parser = crate::rules::subject::method)]
    pub(crate) method: String,

    /// The request's path, or its whole URI
    pub(crate) path: String,

    /// The whole key as it is charged, such as `user:42`, `ip:203.0.113.9` or `header:x-tenant:acme`, in place of what
    /// would make it
    #[arg(long, value_parser = AskedKey::parse)]
    pub(crate) key: Option<AskedKey>,

    /// Who is asking
    #[arg(long)]
    pub(crate) user: Option<String>,

    /// The client's address
    #[arg(long, value_name = "IP")]
    pub(crate) address: Option<IpAddr>,

    /// A header of the request; may be said several times
    #[arg(long = "header", value_name = "NAME=VALUE", value_parser = Named::parse)]
    pub(crate) headers: Vec<Named>,

    /// What one of the service's functions answers for the request; may be said several times
    #[arg(long = "function", value_name = "NAME=VALUE", value_parser = Named::parse)]
    pub(crate) functions: Vec<Named>,
}

const EXAMPLES: &str = "\
Examples:
  rebate replay --limit '30/minute' --key ip access.log
  rebate replay --limit 'burst=5/second burst 20' --limit 'daily=10_000/day' access.log.gz
  rebate replay --limit '100/hour sliding' --refund-status 409,5xx --tolerate 0.1 --json access.log
  zcat -f access.log* | rebate replay --limit '30/minute' -
  rebate replay --limit '30/minute' --time-field ts --key-field user.id events.jsonl
  rebate replay --rules rules.toml access.log";

#[derive(Args, Debug)]
#[command(after_help = format!("{EXAMPLES}\n\n{EXIT_STATUS}"))]
pub(crate) struct ReplayArguments {
    /// A limit to try, such as `30/minute`, `1000/day in Europe/Berlin`, `30/24h from first`, `100/minute
    /// sliding`, `100/minute sliding log`, `10/second burst 20` or `3 at once for 10m`. Give a name before
    /// `=`; without one the policy's text is its name. Of several limits every request is charged to
    /// all, or to none.
    #[arg(long = "limit", short, required_unless_present = "rules", value_name = "[NAME=]POLICY", value_parser = parse_limit)]
    pub(crate) limits: Vec<Limit>,

    /// A rule file to try instead of limits: it says by method and path what each request is charged, to whom, and which
    /// statuses give it back. A log tells the client's address and the user, but neither headers nor what a service's own
    /// functions would answer: requests whose key is one of these get the rule's answer to a missing key, and the plan
    /// is the default one. In JSON lines the fields are `ip`, `user`, `method`, `path`, and those named below
    #[arg(long, value_name = "FILE", conflicts_with_all = ["limits", "key", "refund_status", "tolerate", "key_field"])]
    pub(crate) rules: Option<PathBuf>,

    /// Who is charged, by a field of the Common or Combined log format. In JSON lines it names the
    /// field, unless --key-field does. Requests whose field is `-` are not charged, but counted
    #[arg(long, short, value_enum, default_value_t = KeyField::Ip)]
    pub(crate) key: KeyField,

    /// Refund requests that were answered with one of these statuses (`409`, or `5xx` for all of a
    /// class), through the receipt of their charge and at the time of the request
    #[arg(long, value_name = "STATUS,...", value_parser = StatusSet::parse)]
    pub(crate) refund_status: Option<StatusSet>,

    /// How many of the keys, in percent, may be denied something under the smallest quota
    #[arg(long, value_name = "PERCENT", default_value = "0", value_parser = Tolerance::parse)]
    pub(crate) tolerate: Tolerance,

    /// How the lines are written; by itself each line tells by its first character
    #[arg(long, value_enum, default_value_t = Format::Auto)]
    pub(crate) format: Format,

    /// In JSON lines, the field that holds the time: RFC 3339, a Common log date, or a number since the
    /// Unix epoch. Dots lead into nested objects
    #[arg(long, value_name = "FIELD", default_value = "time")]
    pub(crate) time_field: String,

    /// In JSON lines, the field that holds the key [default: what --key names]
    #[arg(long, value_name = "FIELD")]
    pub(crate) key_field: Option<String>,

    /// In JSON lines, the field that holds the response's status
    #[arg(long, value_name = "FIELD", default_value = "status")]
    pub(crate) status_field: String,

    /// What numbers in the time field count; by itself their size tells: seconds below 1e11,
    /// milliseconds below 1e14, microseconds below 1e17, else nanoseconds
    #[arg(long, value_enum, default_value_t = TimeUnit::Auto)]
    pub(crate) time_unit: TimeUnit,

    /// Stop at the first line that cannot be read, with exit status 1
    #[arg(long)]
    pub(crate) strict: bool,

    /// How many of the most denied keys to name. They are shut out while any request of theirs would have
    /// been denied: from a denial until the limits said that they may come back
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub(crate) top: usize,

    /// Write one JSON object instead of tables
    #[arg(long)]
    pub(crate) json: bool,

    /// The log: a file, gzipped or not, or `-` for standard input
    pub(crate) file: PathBuf,
}

impl ReplayArguments {
    /// What the key is called: in JSON lines, where it is.
    pub(crate) fn key_name(&self) -> &str {
        self.key_field.as_deref().unwrap_or(self.key.name())
    }

    /// What the report calls the key: by both names where lines of both forms may have been read.
    pub(crate) fn key_label(&self) -> String {
        match &self.key_field {
            Some(field) if self.format != Format::Json && field != self.key.name() => {
                format!("{field}, or {} in Common log lines", self.key.name())
            }
            _ => self.key_name().to_owned(),
        }
    }
}

/// Runs the program on the process's arguments.
pub fn run() -> ExitCode {
    let arguments = Arguments::parse();
    let (name, outcome) = match &arguments.command {
        Command::Replay(arguments) => ("replay", check(arguments).and_then(|()| replay::run(arguments))),
        Command::Rules(arguments) => ("rules", rules::run(arguments)),
        Command::Status(arguments) => ("status", status::run(arguments)),
        Command::Refund(arguments) => ("refund", refund::run(arguments)),
        Command::Peek(arguments) => ("peek", peek::peek(arguments)),
        Command::Leases(arguments) => ("leases", leases::run(arguments)),
        Command::Reset(arguments) => ("reset", peek::reset(arguments)),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(Trouble::Usage(text)) => {
            eprintln!("error: {text}\n\nFor more information, try 'rebate {name} --help'.");
            ExitCode::from(2)
        }
        Err(Trouble::Failed(text)) => {
            eprintln!("error: {text}");
            ExitCode::FAILURE
        }
        // Who reads our output has seen enough, as `head` does.
        Err(Trouble::NobodyReads) => ExitCode::SUCCESS,
    }
}

fn parse_limit(text: &str) -> Result<Limit, String> {
    let readable = |error: rebate::Error| error.to_string();
    match text.split_once('=') {
        Some((name, policy)) => {
            Limit::of(name.trim(), Policy::parse(policy.trim()).map_err(readable)?).map_err(readable)
        }
        None => {
            let policy = Policy::parse(text.trim()).map_err(readable)?;
            // A policy may be written with what a name cannot hold (`µs`, or many spaces).
            Limit::of(text.trim(), policy.clone()).or_else(|_| Limit::of(&policy.to_string(), policy)).map_err(readable)
        }
    }
}

fn check(arguments: &ReplayArguments) -> Result<(), Trouble> {
    for (at, limit) in arguments.limits.iter().enumerate() {
        if arguments.limits[..at].iter().any(|other| other.name() == limit.name()) {
            return Err(Trouble::Usage(format!(
                "two limits are called `{}`; give each a name of its own: --limit 'NAME={}'",
                limit.name(),
                limit.policy()
            )));
        }
    }
    Ok(())
}
