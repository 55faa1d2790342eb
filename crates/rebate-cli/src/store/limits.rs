//! The limits that a command names: read from what the store writes down, or given with their policy.

use rebate::{Error, Limit, Policy, RedisStore};

use super::StoreArguments;
use crate::trouble::Trouble;

/// `--limit NAME` or `--limit NAME=POLICY`.
#[derive(Clone, Debug)]
pub(crate) enum LimitArgument {
    /// The policy is the one that is written down.
    Named(String),
    /// The policy was given.
    Given(Limit),
}

impl LimitArgument {
    /// No policy holds `=`; a name may.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let readable = |error: Error| error.to_string();
        match text.rsplit_once('=') {
            None => Ok(LimitArgument::Named(text.trim().to_owned())),
            Some((name, policy)) => {
                let policy = Policy::parse(policy.trim()).map_err(readable)?;
                Limit::of(name.trim(), policy).map(LimitArgument::Given).map_err(readable)
            }
        }
    }

    fn name(&self) -> &str {
        match self {
            LimitArgument::Named(name) => name,
            LimitArgument::Given(limit) => limit.name(),
        }
    }
}

/// The limits that were named; all that are written down where none was.
pub(crate) async fn resolve(
    store: &RedisStore,
    at: &StoreArguments,
    named: &[LimitArgument],
) -> Result<Vec<Limit>, Trouble> {
    for (place, argument) in named.iter().enumerate() {
        if named[..place].iter().any(|other| other.name() == argument.name()) {
            return Err(Trouble::Usage(format!("--limit names `{}` twice; once is enough", argument.name())));
        }
    }
    let given = |argument: &LimitArgument| match argument {
        LimitArgument::Given(limit) => Some(limit.clone()),
        LimitArgument::Named(_) => None,
    };
    if !named.is_empty()
        && let Some(limits) = named.iter().map(given).collect()
    {
        return Ok(limits);
    }
    let written = store.limits().await?;
    if named.is_empty() {
        return Ok(written);
    }
    let find = |argument: &LimitArgument| match argument {
        LimitArgument::Given(limit) => Ok(limit.clone()),
        LimitArgument::Named(name) => written
            .iter()
            .find(|limit| limit.name() == name)
            .cloned()
            .ok_or_else(|| Trouble::Usage(unknown(name, &written, &at.prefix))),
    };
    named.iter().map(find).collect()
}

fn unknown(name: &str, written: &[Limit], prefix: &str) -> String {
    let name = name.escape_debug();
    let advice = format!("its policy can be given: --limit '{name}=POLICY'");
    if written.is_empty() {
        return format!("the policy of `{name}` is unknown, for {}; {advice}", nothing_written_down(prefix));
    }
    let names: Vec<String> = written.iter().map(|limit| format!("`{}`", limit.name())).collect();
    format!("no limit called `{name}` is written down, only {}; {advice}", names.join(", "))
}

/// What to say of a store where no limit is known.
pub(crate) fn nothing_written_down(prefix: &str) -> String {
    format!(
        "no limit is written down under the prefix `{prefix}`: services write one down when they charge it, so nothing has \
         been charged here lately, or it was under another --prefix or in another database"
    )
}
