//! `rebate status`: who has used how much of which limit.

mod gather;
pub(crate) mod report;
mod table;

use std::io::{self, BufWriter, IsTerminal, StdoutLock, Write};
use std::time::Duration;

use clap::{Args, ValueEnum};
use rebate::RedisStore;

use crate::store::{LimitArgument, StoreArguments, block_on, resolve};
use crate::trouble::Trouble;
use gather::{Gathered, gather};

#[derive(Args, Debug)]
pub(crate) struct StatusArguments {
    #[command(flatten)]
    pub(crate) store: StoreArguments,

    /// List this limit only; may be given several times. Its policy is the one that services have written down in the
    /// store, unless it is given [default: all that are written down]
    #[arg(long = "limit", short, value_name = "NAME[=POLICY]", value_parser = LimitArgument::parse)]
    limits: Vec<LimitArgument>,

    /// What comes first: the most used, the least remaining, the soonest to reset, or the first key
    #[arg(long, value_enum, default_value_t = Sort::Used)]
    sort: Sort,

    /// Show only the first N [default: all]
    #[arg(long, value_name = "N")]
    top: Option<usize>,

    /// How many of the server's keys to look at in a second, whatever they are; 0 is as fast as can be, and those who
    /// charge meanwhile wait for it. At the default they notice nothing; a million keys take seven minutes
    #[arg(long, value_name = "KEYS_PER_SECOND", default_value_t = gather::DEFAULT_PACE)]
    pub(crate) pace: u32,

    /// List again and again, SECONDS after each listing, until Ctrl-C
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, require_equals = true, default_missing_value = "2")]
    watch: Option<u64>,

    /// Write one JSON object instead of a table; with --watch, one on each line
    #[arg(long)]
    pub(crate) json: bool,
}

/// What comes first.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Sort {
    /// The most used
    Used,
    /// The least remaining
    Remaining,
    /// The soonest to reset
    Resets,
    /// By key
    Key,
}

/// Lists the counts, once or until Ctrl-C.
pub(crate) fn run(arguments: &StatusArguments) -> Result<(), Trouble> {
    let store = arguments.store.open()?;
    block_on(async {
        let Some(seconds) = arguments.watch else { return list(&store, arguments).await };
        tokio::select! {
            stopped = tokio::signal::ctrl_c() => {
                stopped.map_err(|error| Trouble::Failed(format!("cannot wait for Ctrl-C: {error}")))
            }
            watched = watch(&store, arguments, Duration::from_secs(seconds)) => watched,
        }
    })
}

/// Whoever watches a store in trouble wants to see it come back; only the first listing must succeed.
async fn watch(store: &RedisStore, arguments: &StatusArguments, pause: Duration) -> Result<(), Trouble> {
    list(store, arguments).await?;
    loop {
        tokio::time::sleep(pause).await;
        match list(store, arguments).await {
            Err(Trouble::Failed(text)) => eprintln!("error: {text}"),
            answer => answer?,
        }
    }
}

async fn list(store: &RedisStore, arguments: &StatusArguments) -> Result<(), Trouble> {
    let limits = resolve(store, &arguments.store, &arguments.limits).await?;
    let mut gathered = gather(store, limits, arguments.pace).await?;
    gathered.sort(arguments.sort, arguments.top.unwrap_or(usize::MAX));
    let mut out = BufWriter::with_capacity(1 << 16, io::stdout().lock());
    write(&mut out, arguments, &gathered).and_then(|()| out.flush()).map_err(|error| Trouble::of_output(&error))
}

fn write(out: &mut BufWriter<StdoutLock<'_>>, arguments: &StatusArguments, gathered: &Gathered) -> io::Result<()> {
    match (arguments.json, arguments.watch) {
        (true, Some(_)) => serde_json::to_writer(&mut *out, &report::Report::new(arguments, gathered))?,
        (true, None) => serde_json::to_writer_pretty(&mut *out, &report::Report::new(arguments, gathered))?,
        (false, watch) => {
            if watch.is_some() && io::stdout().is_terminal() {
                // Clears the screen, and goes to its beginning.
                write!(out, "\x1b[2J\x1b[H")?;
            }
            table::write(out, arguments, gathered)?;
        }
    }
    writeln!(out)
}
