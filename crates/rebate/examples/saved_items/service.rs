//! Saving an item: the item, the ledger and what it is charged, all of it or nothing.

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use rebate::{
    AnyStore, ChargeRequest, Decision, Denial, Guard, Idempotency, Limiter, Receipt, Shortfall, Status, Usage,
};
use rusqlite::Transaction;
use tokio::runtime::Handle;

use crate::database::{self, Database, Item};
use crate::plans::{self, Plans};

/// What handlers, the worker and the keeper of places share.
pub(crate) struct Service {
    pub(crate) limiter: Limiter<AnyStore>,
    pub(crate) plans: Plans,
    pub(crate) database: Database,
}

/// What became of a request to save an item.
#[derive(Debug)]
pub(crate) enum Saved {
    /// It is saved, and waits for its enrichment.
    New { item: Item, used_today: i64, quota: Quota },
    /// The same request was made before.
    Before { item: Item },
    /// The user has no more; nothing was saved.
    Denied { denial: Denial, quota: Quota },
}

/// What a user has used, of what, until when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Quota {
    pub(crate) plan: String,
    pub(crate) at_once: Usage,
    pub(crate) daily: Usage,
}

/// What a request cannot be answered for.
#[derive(Debug)]
pub(crate) enum Trouble {
    Database(rusqlite::Error),
    Limiter(rebate::Error),
    /// The request's key was used for another item.
    KeyOfAnother,
}

impl Service {
    /// Does `work`, which waits for the database, where that holds nobody up. It is done also when nobody waits for it
    /// any more: a client that hangs up does not come between a charge and its item.
    pub(crate) async fn run<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Service) -> Result<T, Trouble> + Send + 'static,
    ) -> Result<T, Trouble> {
        let service = Arc::clone(self);
        match tokio::task::spawn_blocking(move || work(&service)).await {
            Ok(answer) => answer,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }

    /// Saves an item to be enriched, once for each key: within one transaction a place is taken, the day charged, the item
    /// saved and the ledger written.
    pub(crate) fn save(&self, user: &str, url: &str, key: &str) -> Result<Saved, Trouble> {
        // Outside of the transaction, so that the charge is kept only when that is committed; a panic gives it back too.
        let mut charged: Option<Guard<AnyStore>> = None;
        let saved = self.database.transaction(|transaction| self.save_in(transaction, user, url, key, &mut charged));
        if let Some(mut receipt) = charged.map(Guard::keep) {
            let settled = match &saved {
                Ok(_) => wait_for(self.limiter.settle(&mut receipt, 1, Shortfall::Refuse)).map(drop),
                Err(_) => wait_for(self.limiter.refund(&mut receipt)).map(drop),
            };
            // The store does by itself what could not be told now: it gives back what is not settled in time. What is
            // saved but not settled, the next round of renewals settles.
            settled.unwrap_or_else(|error| tracing::warn!(%error, "a charge could not be settled as yet"));
        }
        saved
    }

    /// The transaction goes on while the store charges. So the same request, sent twice at once, waits for the other's
    /// outcome, and a charge that is found already made is that of a request which was broken off, not of one under way.
    pub(crate) fn save_in(
        &self,
        transaction: &Transaction<'_>,
        user: &str,
        url: &str,
        key: &str,
        charged: &mut Option<Guard<AnyStore>>,
    ) -> Result<Saved, Trouble> {
        let attempt = database::attempt(transaction, user, key)?;
        if let Some(item) = database::charged(transaction, user, key, attempt)? {
            return if item.url == url { Ok(Saved::Before { item }) } else { Err(Trouble::KeyOfAnother) };
        }
        let plan = database::plan(transaction, user)?;
        let (plan, daily) = self.plans.of(plan.as_deref());
        let subject = plans::key(user);
        let items = self.plans.items(daily, &subject);
        let request = ChargeRequest::new(&items).once(Idempotency::new(key)).reserved(self.plans.lease);
        let quota = |statuses: &[Status]| self.quota_of(plan, [&items[0], &items[1]].map(|item| item.limit), statuses);
        let receipt = match wait_for(self.limiter.charge_with(&request))? {
            Decision::Allowed(receipt) => receipt,
            Decision::Denied(denial) => {
                let quota = quota(denial.statuses());
                return Ok(Saved::Denied { denial, quota });
            }
            Decision::Unchecked(_) => unreachable!("these limits let nothing pass that was not counted"),
        };
        let (token, day, quota) = (self.limiter.token(&receipt)?, day(&receipt), quota(receipt.statuses()));
        *charged = Some(self.limiter.guard(receipt));
        let item = database::insert(transaction, user, url, &token)?;
        let used_today = database::count(transaction, user, &day, 1)?;
        database::enter(transaction, &item, &day, key, attempt)?;
        Ok(Saved::New { item, used_today, quota })
    }

    /// What a user has used, of what, until when. Charges nothing.
    pub(crate) fn quota(&self, user: &str) -> Result<Quota, Trouble> {
        let plan = self.database.transaction(|transaction| database::plan(transaction, user))?;
        let (plan, daily) = self.plans.of(plan.as_deref());
        let subject = plans::key(user);
        let [at_once, daily] = self.plans.items(daily, &subject);
        let mut usage = wait_for(self.limiter.usage_all(&[at_once, daily]))?.into_iter();
        let (Some(at_once), Some(daily)) = (usage.next(), usage.next()) else { unreachable!("one for each item") };
        Ok(Quota { plan: plan.to_owned(), at_once, daily })
    }

    fn quota_of(&self, plan: &str, limits: [&rebate::Limit; 2], statuses: &[Status]) -> Quota {
        let [at_once, daily] = [0, 1].map(|place| Usage::of(limits[place], &statuses[place]));
        Quota { plan: plan.to_owned(), at_once, daily }
    }
}

/// The day of a charge, by the store's clock, as its limit has it: in UTC.
pub(crate) fn day(receipt: &Receipt) -> String {
    let mut moment = receipt.charged_at().to_string();
    moment.truncate("2026-01-31".len());
    moment
}

/// Waits for the store, where waiting holds nobody up.
pub(crate) fn wait_for<T>(answer: impl Future<Output = T>) -> T {
    Handle::current().block_on(answer)
}

impl From<rusqlite::Error> for Trouble {
    fn from(error: rusqlite::Error) -> Self {
        Trouble::Database(error)
    }
}

impl From<rebate::Error> for Trouble {
    fn from(error: rebate::Error) -> Self {
        Trouble::Limiter(error)
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Trouble::Database(error) => error.fmt(f),
            Trouble::Limiter(error) => error.fmt(f),
            Trouble::KeyOfAnother => f.write_str("the key was used for another item"),
        }
    }
}

impl std::error::Error for Trouble {}
