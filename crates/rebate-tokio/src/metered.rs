//! An estimate that is settled at what it came to.

use std::fmt;

use rebate_core::{Error, Limiter, Receipt, Settlement, Shortfall, Store};

use crate::again::Again;
use crate::hold::Hold;

/// Settles a charge that was made on an estimate once, at its true cost, however its work ends: by
/// [`settle`](Metered::settle), or when it is dropped, because the stream broke half-way, the client left, a task was
/// cancelled or panicked: then at what was noted as [used](Metered::used) so far.
///
/// ```
/// # use rebate_core::{Decision, Error, Item, Limiter, Store};
/// # use rebate_tokio::Metered;
/// # use std::time::Duration;
/// # async fn example(limiter: &Limiter<impl Store>, stream: Vec<u64>) -> Result<(), Error> {
/// let tokens = limiter.limit("tokens", "100000/minute")?;
/// // Reserved, so that the estimate does not stay charged either where this process dies.
/// let estimate = [Item::new(&tokens, "user:42").cost(4000)];
/// if let Decision::Allowed(receipt) = limiter.reserve(&estimate, Duration::from_secs(600)).await? {
///     let mut metered = Metered::new(limiter, receipt)?;
///     for tokens_so_far in stream {
///         metered.used(tokens_so_far);
///     }
///     let _settled = metered.settle().await?;
/// }
/// # Ok(()) }
/// ```
///
/// What is used above the estimate is charged by the settlement, as far as it fits
/// ([`Shortfall::TakeWhatIsThere`]). A stream that should rather stop at its quota raises the estimate in steps as it goes:
/// `limiter.settle(metered.receipt_mut(), higher, Shortfall::Refuse)`.
///
/// A reservation that lapses before it is settled is given back, and what was used is then charged to nobody. So whoever can put off
/// the end of the work, such as a client that reads its stream slowly, may not do so for that long: break it off before.
///
/// Leases in the same receipt are [held](Hold) meanwhile, and released when it is settled.
///
/// A drop settles in a task of the runtime that this was made in, which tries again for two minutes while the store is away
/// (settling twice is settling once). Once that runtime has shut down nothing is sent: a reservation is given back
/// then, a plain charge stands. A [replay](Receipt::is_replay) is not settled by a drop: only the request that was billed may
/// lead to its refund.
#[must_use = "dropped at once it is settled at once, at nothing"]
pub struct Metered<S: Store> {
    /// Until it is settled or handed back.
    hold: Option<Hold<S>>,
    /// The true cost of each first part so far.
    used: Vec<u64>,
    /// Of each first part whether it is metered: leases are not.
    is_metered: Vec<bool>,
}

impl<S: Store> Metered<S> {
    /// Meters a receipt, of which nothing is used as yet.
    ///
    /// # Errors
    /// As [`Hold::new`].
    pub fn new(limiter: &Limiter<S>, receipt: Receipt) -> Result<Self, Error> {
        let hold = Hold::new(limiter, receipt)?;
        let identity = limiter.store().identity();
        let firsts = || hold.receipt().parts().iter().filter(|part| part.tops_up.is_none());
        let is_lease = |limit| identity.named(limit).is_some_and(|limit| limit.policy().is_concurrency());
        let is_metered: Vec<bool> = firsts().map(|part| !is_lease(&part.limit)).collect();
        // A settlement at what it cost leaves a lease alone, also one that has been released.
        let used =
            firsts().zip(&is_metered).map(|(part, &is_metered)| if is_metered { 0 } else { part.cost }).collect();
        Ok(Metered { hold: Some(hold), used, is_metered })
    }

    /// Notes that each limit's true cost so far is `units`: absolute, not what was used since. It never goes down. Leases
    /// are left alone.
    pub fn used(&mut self, units: u64) {
        let metered = self.used.iter_mut().zip(&self.is_metered).filter(|(_, is_metered)| **is_metered);
        metered.for_each(|(used, _)| *used = units.max(*used));
    }

    /// The same with a true cost of its own for each part that was charged at first, in the receipt's order: tokens by their
    /// number and the request as one. What is said of a lease is not looked at.
    ///
    /// # Errors
    /// [`Error::is_invalid`] when there is not one cost for each such part.
    pub fn used_parts(&mut self, units: &[u64]) -> Result<(), Error> {
        if units.len() != self.used.len() {
            return Err(Error::invalid(format!(
                "{} true costs for a receipt of {} charged parts; give one for each",
                units.len(),
                self.used.len()
            )));
        }
        for ((used, units), _) in self.used.iter_mut().zip(units).zip(&self.is_metered).filter(|(_, metered)| **metered)
        {
            *used = (*units).max(*used);
        }
        Ok(())
    }

    /// Settles at what was used and tells what became of it: what is above the estimate is charged as far as it fits.
    ///
    /// # Errors
    /// See [`Error`]. It is tried again in the background then, as when this future is dropped.
    pub async fn settle(mut self) -> Result<Settlement, Error> {
        let settlement = settle(held_mut(&mut self.hold), &self.used).await?;
        self.hold = None;
        Ok(settlement)
    }

    /// Holds the leases of the receipt, where it has any.
    pub fn hold(&self) -> &Hold<S> {
        match &self.hold {
            Some(hold) => hold,
            None => unreachable!("it has its receipt until it is consumed"),
        }
    }

    /// The receipt, to raise the estimate of a stream while it goes on.
    pub fn receipt_mut(&mut self) -> &mut Receipt {
        held_mut(&mut self.hold).receipt_mut()
    }

    /// Hands back the receipt, to be settled by hand; nothing is settled, released or renewed.
    pub fn into_receipt(mut self) -> Receipt {
        match self.hold.take() {
            Some(hold) => hold.into_receipt(),
            None => unreachable!("it has its receipt until it is consumed"),
        }
    }
}

impl<S: Store> Drop for Metered<S> {
    fn drop(&mut self) {
        let Some(mut hold) = self.hold.take().filter(|hold| !hold.receipt().is_replay()) else { return };
        let used = std::mem::take(&mut self.used);
        hold.runtime().clone().spawn(async move {
            let mut again = Again::default();
            while again.is_due(settle(&mut hold, &used).await).await {}
        });
    }
}

impl<S: Store> fmt::Debug for Metered<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metered").field("hold", &self.hold).field("used", &self.used).finish_non_exhaustive()
    }
}

async fn settle<S: Store>(hold: &mut Hold<S>, used: &[u64]) -> Result<Settlement, Error> {
    let limiter = hold.limiter().clone();
    limiter.settle_parts(hold.receipt_mut(), used, Shortfall::TakeWhatIsThere).await
}

fn held_mut<S: Store>(hold: &mut Option<Hold<S>>) -> &mut Hold<S> {
    match hold {
        Some(hold) => hold,
        None => unreachable!("it has its receipt until it is consumed"),
    }
}
