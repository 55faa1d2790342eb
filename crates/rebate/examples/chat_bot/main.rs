//! A chat bot's message budget in Redis: 30 messages in the 24 hours after a user's first one.
//!
//! `cargo run -p rebate --features redis --example chat_bot -- messages.txt`, or with the messages on its standard
//! input: one a line, `user-id<TAB>user-name<TAB>text`. What became of each goes to the standard output, a log to the
//! standard error. Its settings come from the environment; README.md beside this file tells them.

mod budget;
mod input;
mod settings;
mod words;

use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::process::ExitCode;
use std::time::Duration;

use rebate::{Error, RedisSettings, RedisStore};
use tokio::sync::mpsc;

use budget::{Budget, Verdict};
use input::{Line, Lines, Message};
use settings::Settings;
use words::{masked, span};

const USAGE: &str = "usage: chat_bot [FILE]
Reads messages from FILE, or from the standard input: one a line, user-id<TAB>user-name<TAB>text.
Settings, from the environment: REDIS_HOST (redis), REDIS_PORT (6379), MESSAGE_LIMIT (30), MESSAGE_LIMIT_TTL (86400,
seconds), WHITELISTED_USERS (none; user names with commas between them).";

/// How long a message waits for Redis. After five failures in a row none waits until Redis answers again.
const PATIENCE: Duration = Duration::from_secs(5);
/// How many messages may wait for the one that is being charged.
const WAITING: usize = 64;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let path = arguments.next().filter(|path| path != "-");
    if arguments.next().is_some() || path.as_ref().is_some_and(|path| path.as_encoded_bytes().starts_with(b"-")) {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    }
    let settings = match Settings::from_environment() {
        Ok(settings) => settings,
        Err(faults) => {
            faults.iter().for_each(|fault| eprintln!("ERROR {fault}"));
            return ExitCode::from(2);
        }
    };
    let input: Box<dyn BufRead + Send> = match &path {
        None => Box::new(BufReader::new(io::stdin())),
        Some(path) => match File::open(path) {
            Ok(file) => Box::new(BufReader::new(file)),
            Err(error) => {
                eprintln!("ERROR cannot read {}: {error}", path.display());
                return ExitCode::FAILURE;
            }
        },
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("ERROR no runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(run(settings, input)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ERROR {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(settings: Settings, input: Box<dyn BufRead + Send>) -> Result<(), Box<dyn std::error::Error>> {
    let Settings { redis_host, redis_port, messages, window, whitelisted } = settings;
    let address = format!("{redis_host}:{redis_port}");
    eprintln!(
        "INFO {messages} messages in the {} after a user's first, counted in Redis at {address}; \
         users never limited: {}",
        span(window),
        whitelisted.len()
    );
    // Nobody in a chat minds a second or two, and a disk that is flushed for every message may take them.
    let servers = RedisSettings::url(format!("redis://{address}")).connect_timeout(PATIENCE).call_timeout(PATIENCE);
    let store = RedisStore::builder(servers).build()?;
    // A wrong address shows here rather than with the first message; a Redis that starts later is no reason to stop.
    if let Err(trouble) = store.ping().await {
        eprintln!("WARN Redis does not answer as yet: {trouble}; messages are dropped until it does");
    }
    let budget = Budget::new(store, messages, window, whitelisted)?;

    let mut lines = read(input)?;
    let mut tally = Tally::default();
    while let Some(line) = lines.recv().await {
        let (number, message) = line?;
        let answered = match message {
            Ok(message) => {
                answer(number, &message, budget.charge(&message.user_id, &message.user_name).await, &mut tally)
            }
            Err(fault) => {
                tally.bad += 1;
                eprintln!("WARN line {number}: {fault}; it would be user-id<TAB>user-name<TAB>text");
                Ok(())
            }
        };
        match answered {
            // Whoever read the answers has had enough, such as `head`.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => break,
            answered => answered?,
        }
    }
    eprintln!("INFO {} passed on, {} dropped, {} lines could not be read", tally.passed, tally.dropped, tally.bad);
    Ok(())
}

/// Reads in a thread of its own: a read that waits must not keep the connection to Redis waiting.
fn read(input: Box<dyn BufRead + Send>) -> io::Result<mpsc::Receiver<io::Result<Line>>> {
    let (sender, receiver) = mpsc::channel(WAITING);
    std::thread::Builder::new().name("input".into()).spawn(move || {
        for line in Lines::new(input) {
            let failed = line.is_err();
            if sender.blocking_send(line).is_err() || failed {
                break;
            }
        }
    })?;
    Ok(receiver)
}

#[derive(Default)]
struct Tally {
    passed: u64,
    dropped: u64,
    bad: u64,
}

/// Passes the message on, or drops and logs it.
fn answer(number: u64, message: &Message, verdict: Result<Verdict, Error>, tally: &mut Tally) -> io::Result<()> {
    let user = masked(&message.user_id);
    let (passes, standing) = match verdict {
        Ok(Verdict::NeverLimited) => (true, "never limited".into()),
        Ok(Verdict::Passed(standing)) => (true, standing.to_string()),
        Ok(Verdict::PassedUncounted(reason)) => {
            eprintln!("WARN line {number}: message of user {user} not counted: {reason}");
            (true, "not counted, Redis is away".into())
        }
        Ok(Verdict::OverBudget(standing)) => {
            eprintln!("WARN line {number}: message of user {user} dropped: over budget, {standing}");
            (false, standing.to_string())
        }
        Ok(Verdict::Away(reason)) => {
            eprintln!("ERROR line {number}: message of user {user} dropped: {reason}");
            (false, "Redis is away".into())
        }
        Err(error) => {
            eprintln!("ERROR line {number}: message of user {user} dropped: {error}");
            (false, "it could not be charged".into())
        }
    };
    let what = if passes {
        tally.passed += 1;
        format!("passed on ({} characters)", pass_on(message))
    } else {
        tally.dropped += 1;
        "dropped".into()
    };
    writeln!(io::stdout(), "{number}\t{user}\t{what}\t{standing}")
}

/// Stands for what a bot does with a message: have a model answer it, which is paid for by its length.
fn pass_on(message: &Message) -> usize {
    message.text.chars().count()
}
