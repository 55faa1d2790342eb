//! Leases: renewed, released, and who holds which.

use smallvec::SmallVec;

use super::{Limiter, note_refund};
use crate::decision::{Lease, PartRenewal, Refund, Renewal};
use crate::error::Error;
use crate::key::KeyRef;
use crate::limit::Limit;
use crate::receipt::Receipt;
use crate::store::{Item, RefundRequest, Store, SyncStore};

impl<S: Store> Limiter<S> {
    /// Moves the end of the receipt's leases to a whole lease from now.
    ///
    /// # Errors
    /// See [`Error`]. That a lease has ended is no error; the answer says so.
    pub async fn renew(&self, receipt: &Receipt) -> Result<Renewal, Error> {
        self.shared.store.renew(receipt).await
    }

    /// Gives the receipt's leases back and nothing else: the places are free, what the same charge took of other limits stays
    /// taken. Repeating it changes nothing.
    ///
    /// The store is asked which parts are leases (by a renewal) where this process has not met their limits: when the receipt
    /// was read from another's [token](Limiter::token).
    ///
    /// ```
    /// # use rebate_core::{Decision, Error, Item, Limiter, Store};
    /// # async fn example(limiter: &Limiter<impl Store>) -> Result<(), Error> {
    /// let at_once = limiter.limit("at-once", "3 at once for 10m")?;
    /// let day = limiter.limit("day", "50/day")?;
    /// let both = [Item::new(&at_once, "user:42"), Item::new(&day, "user:42")];
    /// if let Decision::Allowed(mut receipt) = limiter.charge_all(&both).await? {
    ///     // … the work …
    ///     limiter.release(&mut receipt).await?; // One more may run now; 49 are left of the day.
    /// }
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// See [`Error`]. That a lease has ended is no error; the answer says so.
    pub async fn release(&self, receipt: &mut Receipt) -> Result<Refund, Error> {
        let totals = match self.places(receipt) {
            Some(places) => places,
            None => renewed(receipt, &self.renew(receipt).await?),
        };
        self.refund_parts(receipt, &totals).await
    }

    /// [`release`](Limiter::release) without a future, where the store answers without waiting. `None` where it does not:
    /// nothing has happened then.
    ///
    /// # Errors
    /// As there.
    pub fn release_at_once(&self, receipt: &mut Receipt) -> Option<Result<Refund, Error>> {
        let totals = self.places(receipt)?;
        let answer = self.shared.store.refund_at_once(&RefundRequest { receipt, totals: &totals })?;
        Some(answer.inspect(|answer| note_refund(receipt, answer)))
    }

    /// Who holds what: the places that `key` holds of a concurrency limit, each with a receipt that releases it; in the
    /// order of their ends. Changes nothing. Which keys hold any is told by [`list`](Limiter::list).
    ///
    /// ```
    /// # use rebate_core::{Limiter, Error, Store};
    /// # async fn example(limiter: &Limiter<impl Store>) -> Result<(), Error> {
    /// let at_once = limiter.limit("at-once", "3 at once for 10m")?;
    /// for mut lease in limiter.leases(&at_once, "user:42").await? {
    ///     println!("{} until {}: {}", lease.units, lease.until, limiter.token(&lease.receipt)?);
    ///     limiter.refund(&mut lease.receipt).await?; // An operator frees it.
    /// }
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// See [`Error`]; [`Error::is_invalid`] when `limit` is no concurrency limit.
    pub async fn leases<'a>(&self, limit: &'a Limit, key: impl Into<KeyRef<'a>>) -> Result<Vec<Lease>, Error> {
        let item = Item::new(limit, key);
        self.ready(&[item])?;
        self.shared.store.leases(limit, item.key).await
    }

    /// What each part's refund is to reach in order to release the receipt: its cost, or 0 where it is no lease. `None` where
    /// a limit is not known here.
    fn places(&self, receipt: &Receipt) -> Option<Totals> {
        let identity = self.shared.store.identity();
        let parts = receipt.parts().iter();
        parts
            .map(|part| Some(if identity.named(&part.limit)?.policy().is_concurrency() { part.cost } else { 0 }))
            .collect()
    }
}

/// Each method is the one of the same name less `_now`, without a future.
impl<S: SyncStore> Limiter<S> {
    /// [`Limiter::renew`] without a future.
    ///
    /// # Errors
    /// As there.
    pub fn renew_now(&self, receipt: &Receipt) -> Result<Renewal, Error> {
        self.shared.store.renew_now(receipt)
    }

    /// [`Limiter::release`] without a future.
    ///
    /// # Errors
    /// As there.
    pub fn release_now(&self, receipt: &mut Receipt) -> Result<Refund, Error> {
        let totals = match self.places(receipt) {
            Some(places) => places,
            None => renewed(receipt, &self.renew_now(receipt)?),
        };
        self.refund_parts_now(receipt, &totals)
    }

    /// [`Limiter::leases`] without a future.
    ///
    /// # Errors
    /// As there.
    pub fn leases_now<'a>(&self, limit: &'a Limit, key: impl Into<KeyRef<'a>>) -> Result<Vec<Lease>, Error> {
        let item = Item::new(limit, key);
        self.ready(&[item])?;
        self.shared.store.leases_now(limit, item.key)
    }
}

/// One for each part of a receipt.
type Totals = SmallVec<[u64; 4]>;

/// The same by what a renewal told of the parts.
fn renewed(receipt: &Receipt, renewal: &Renewal) -> Totals {
    let parts = receipt.parts().iter().zip(&renewal.parts);
    parts.map(|(part, renewal)| if *renewal == PartRenewal::NotALease { 0 } else { part.cost }).collect()
}
