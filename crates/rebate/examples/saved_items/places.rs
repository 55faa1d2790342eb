//! Places of items that are not done: renewed, released, and given up where they were lost.

use std::sync::Arc;

use rebate::{Receipt, Shortfall};

use crate::database::{self, Item};
use crate::service::{Service, Trouble, day, wait_for};

/// Renews for ever: an item holds its place from its creation until it is done, whether or not a worker is on it.
pub(crate) async fn keep(service: Arc<Service>) {
    let mut ticks = tokio::time::interval(service.plans.lease / 3);
    loop {
        ticks.tick().await;
        match service.run(Service::renew_all).await {
            Ok(held) => tracing::debug!(held, "places renewed"),
            Err(trouble) => tracing::warn!(%trouble, "places were not renewed; the next round tries again"),
        }
    }
}

impl Service {
    /// Renews the place of every item that is not done; how many hold theirs. An item whose place was lost, because nobody
    /// renewed it in time, is given up, and paid back.
    pub(crate) fn renew_all(&self) -> Result<usize, Trouble> {
        let mut held = 0;
        for item in self.database.transaction(|transaction| database::held(transaction))? {
            match self.renew(&item) {
                Ok(holds) => held += usize::from(holds),
                // Of another store, say: trouble with one item shall not cost the others their places.
                Err(Trouble::Limiter(error)) if !error.is_retryable() => {
                    tracing::error!(item = item.id, %error, "an item's place cannot be renewed");
                }
                Err(trouble) => return Err(trouble),
            }
        }
        Ok(held)
    }

    /// Renews the place of one item; whether it holds it.
    fn renew(&self, item: &Item) -> Result<bool, Trouble> {
        let mut receipt = self.limiter.receipt(&item.receipt)?;
        // Where the process that saved it did not live to do so. Repeated it changes nothing.
        drop(wait_for(self.limiter.settle(&mut receipt, 1, Shortfall::Refuse))?);
        let holds = wait_for(self.limiter.renew(&receipt))?.all_renewed();
        if !holds {
            self.give_up(item, receipt)?;
        }
        Ok(holds)
    }

    /// An item without a place is not worked on, and was paid for in vain.
    fn give_up(&self, item: &Item, mut receipt: Receipt) -> Result<(), Trouble> {
        self.database.transaction(|transaction| {
            // Unless it was done meanwhile, and its place released.
            if !database::move_on(transaction, item.id, ["waiting", "running"], "lapsed")? {
                return Ok(());
            }
            // Repeating a refund changes nothing: should the commit fail, the next round does all of it again.
            let refund = wait_for(self.limiter.refund(&mut receipt))?;
            // The place's part, then the day's, whose window may be over.
            let given_back = refund.parts.get(1).map_or(0, |part| part.in_all) as i64;
            if given_back > 0 {
                database::count(transaction, &item.user, &day(&receipt), -given_back)?;
                database::give_back(transaction, item)?;
            }
            tracing::warn!(item = item.id, given_back, "an item's place was lost");
            Ok(())
        })
    }

    /// The oldest item that waits and holds its place, to be worked on. A lease can have lapsed since the last round of
    /// renewals: so its place is renewed at its start, and one that was lost is given up.
    pub(crate) fn start_next(&self) -> Result<Option<Item>, Trouble> {
        let mut seen = 0;
        while let Some(item) = self.database.transaction(|transaction| database::next_waiting(transaction, seen))? {
            seen = item.id;
            match self.renew(&item) {
                Ok(true) => {}
                Ok(false) => continue,
                // The rounds of renewals tell of it. It shall not hold up those behind it.
                Err(Trouble::Limiter(error)) if !error.is_retryable() => continue,
                Err(trouble) => return Err(trouble),
            }
            let started = self.database.transaction(|transaction| database::start(transaction, item.id))?;
            if started.is_some() {
                return Ok(started);
            }
        }
        Ok(None)
    }

    /// An item is done: its place is free, the day has been paid. Answers whether it was running.
    pub(crate) fn finish(&self, item: &Item) -> Result<bool, Trouble> {
        let id = item.id;
        if !self.database.transaction(|transaction| database::move_on(transaction, id, ["running"; 2], "done"))? {
            return Ok(false);
        }
        // In this order: a place that is not released, because the process ends here, frees itself. The other way round an
        // item could be found without its place and given up.
        let mut receipt = self.limiter.receipt(&item.receipt)?;
        wait_for(self.limiter.release(&mut receipt))?;
        Ok(true)
    }
}
