//! `rebate peek` and `rebate reset`: one key's count.

use std::ffi::OsString;
use std::io::{self, Write};

use clap::Args;
use rebate::{KeyRef, Limit, Limiter, RedisStore};

use crate::show::{shown_key, shown_status};
use crate::status::report::Row;
use crate::store::{LimitArgument, StoreArguments, block_on, resolve};
use crate::trouble::Trouble;

/// Whose count.
#[derive(Args, Debug)]
pub(crate) struct CountArguments {
    #[command(flatten)]
    store: StoreArguments,

    /// The limit. Its policy is the one that services have written down in the store, unless it is given
    #[arg(long, short, value_name = "NAME[=POLICY]", value_parser = LimitArgument::parse)]
    limit: LimitArgument,

    /// The group that the key belongs to
    #[arg(long)]
    group: Option<OsString>,

    /// The key, byte for byte as services charge it
    #[arg(required_unless_present = "named_key")]
    key: Option<OsString>,

    /// The same as an option: `--key=KEY` takes one that begins with `-`
    #[arg(long = "key", id = "named_key", value_name = "KEY", conflicts_with = "key")]
    named_key: Option<OsString>,
}

#[derive(Args, Debug)]
pub(crate) struct PeekArguments {
    #[command(flatten)]
    count: CountArguments,

    /// Write one JSON object instead of a sentence
    #[arg(long)]
    json: bool,
}

impl CountArguments {
    pub(crate) async fn find(&self) -> Result<(RedisStore, Limit), Trouble> {
        let store = self.store.open()?;
        let limits = resolve(&store, &self.store, std::slice::from_ref(&self.limit)).await?;
        // One was named, so there is one.
        let limit = limits.into_iter().next().ok_or(Trouble::Usage("--limit is missing".into()))?;
        Ok((store, limit))
    }

    pub(crate) fn key(&self) -> KeyRef<'_> {
        // One of them is there.
        let key = self.key.as_ref().or(self.named_key.as_ref()).map_or(&b""[..], |key| key.as_encoded_bytes());
        match &self.group {
            None => KeyRef::new(key),
            Some(group) => KeyRef::in_group(group.as_encoded_bytes(), key),
        }
    }
}

/// Tells how much of a limit a key has used; changes nothing.
pub(crate) fn peek(arguments: &PeekArguments) -> Result<(), Trouble> {
    let key = arguments.count.key();
    block_on(async {
        let (store, limit) = arguments.count.find().await?;
        let status = Limiter::new(store).peek(&limit, key).await?;
        if arguments.json {
            let row = Row::new(limit.name(), key, &status);
            // No map with other keys than text, no number that is not finite: nothing in it can fail.
            return say(&serde_json::to_string_pretty(&row).unwrap_or_default());
        }
        say(&format!("{} ({}), {}: {}", limit.name(), limit.policy(), shown_key(key), shown_status(&status)))
    })
}

/// Forgets what a key has used of a limit.
pub(crate) fn reset(arguments: &CountArguments) -> Result<(), Trouble> {
    let key = arguments.key();
    block_on(async {
        let (store, limit) = arguments.find().await?;
        let said = Limiter::new(store).reset(&limit, key).await?;
        let what = if said {
            "forgotten what was used; receipts of it are expired"
        } else {
            "nothing was used, so there is nothing to forget"
        };
        say(&format!("{}, {}: {what}", limit.name(), shown_key(key)))
    })
}

/// Writes a line of the answer.
pub(crate) fn say(text: &str) -> Result<(), Trouble> {
    writeln!(io::stdout().lock(), "{text}").map_err(|error| Trouble::of_output(&error))
}
