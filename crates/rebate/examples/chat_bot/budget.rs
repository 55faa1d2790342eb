//! The budget: who may send a message now.

use std::collections::HashSet;
use std::time::Duration;

use rebate::{Decision, Error, Fallback, Limit, Limiter, Policy, Status, Store};

/// The limit's name, which `rebate status --limit messages` lists.
pub(crate) const LIMIT: &str = "messages";

/// So many messages of each user in a window that the user's first message opens.
pub(crate) struct Budget<S> {
    limiter: Limiter<S>,
    limit: Limit,
    whitelisted: HashSet<String>,
}

/// What is to become of a message.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// Its user is never limited: nothing was charged.
    NeverLimited,
    /// It was charged.
    Passed(Standing),
    /// The user's budget is used up.
    OverBudget(Standing),
    /// Nobody knows: Redis did not answer, and for this reason. Nothing was charged.
    Away(String),
    /// The same, where the limit's fallback lets such messages pass.
    PassedUncounted(String),
}

/// How a user's budget stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Standing {
    pub(crate) remaining: u64,
    pub(crate) quota: u64,
    /// How long until the whole budget is there again.
    pub(crate) reset_after: Duration,
}

impl<S: Store> Budget<S> {
    /// A budget of `messages` in the `window` after a user's first message.
    ///
    /// # Errors
    /// [`Error::is_invalid`] when one of the numbers is out of range.
    pub(crate) fn new(store: S, messages: u64, window: Duration, whitelisted: HashSet<String>) -> Result<Self, Error> {
        let limiter = Limiter::new(store);
        let limit = Limit::of(LIMIT, Policy::from_first(messages, window)?)?;
        // The budget guards what answering costs: while nobody can count, nobody may spend. `Fallback::Allow` would
        // let every message pass for as long as Redis is away, which is right where silence is the dearer fault.
        let limit = limiter.register(&limit.with_fallback(Fallback::Deny))?;
        Ok(Budget { limiter, limit, whitelisted })
    }

    /// Charges one message: counting and expiry are one atomic step in Redis.
    ///
    /// # Errors
    /// When the charge itself is wrong, or the store answers what it should not. That Redis is away is a verdict.
    pub(crate) async fn charge(&self, user_id: &str, user_name: &str) -> Result<Verdict, Error> {
        if self.whitelisted.contains(user_name) {
            return Ok(Verdict::NeverLimited);
        }
        Ok(match self.limiter.charge(&self.limit, user_id).await? {
            // Nothing gives a message back, so that its receipt is not kept.
            Decision::Allowed(receipt) => Verdict::Passed(standing(receipt.statuses())?),
            Decision::Denied(denial) => match denial.trouble() {
                Some(trouble) => Verdict::Away(trouble.to_string()),
                None => Verdict::OverBudget(standing(denial.statuses())?),
            },
            Decision::Unchecked(trouble) => Verdict::PassedUncounted(trouble.error().to_string()),
        })
    }
}

fn standing(statuses: &[Status]) -> Result<Standing, Error> {
    let status = statuses.first().ok_or_else(|| Error::invalid("the store answered without a status"))?;
    Ok(Standing { remaining: status.remaining(), quota: status.quota(), reset_after: status.reset_after() })
}
