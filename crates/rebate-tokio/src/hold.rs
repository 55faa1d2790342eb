//! A place that is kept while its work runs.

use std::fmt;
use std::future::pending;
use std::time::Duration;

use rebate_core::engine::check_receipt;
use rebate_core::{Error, Identity, LimitRef, Limiter, Part, Receipt, Refund, Statuses, Store};
use smallvec::SmallVec;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::again::Again;

/// Holds the leases of a receipt: renews them in the background, at every third of a lease, and releases them when it is
/// dropped: when the work ends, fails, panics or is cancelled. Where its process dies nobody renews them, and they end by
/// themselves.
///
/// Only the leases are given back: what the same charge took of other limits stays taken. So a receipt without a lease may be
/// held too: there is nothing to renew, to release or to lose.
///
/// A drop releases at once where the store answers without waiting (memory); else in a task of the runtime that the hold was
/// made in, wherever it is dropped, which tries again for nearly two minutes while the store is away. Once that runtime has shut
/// down nothing is sent: the place is free when its lease has ended. A [replay](Receipt::is_replay) is renewed, but not
/// released by a drop: only the request that was billed may lead to its refund.
///
/// Work that goes on elsewhere takes the receipt along as a [token](Limiter::token), through a queue, say; whoever has it
/// renews, holds and releases the same place:
///
/// ```
/// # use rebate_core::{Error, Limiter, Store};
/// # use rebate_tokio::Hold;
/// // Where the item waits, a hold keeps its place; the worker is told its token.
/// # fn enqueue<S: Store>(limiter: &Limiter<S>, hold: &Hold<S>) -> Result<String, Error> {
/// limiter.token(hold.receipt())
/// # }
/// // In the worker. It has made the limits, as it would to charge them.
/// # async fn work<S: Store>(limiter: &Limiter<S>, token: &str) -> Result<(), Error> {
/// let hold = Hold::new(limiter, limiter.receipt(token)?)?;
/// # hold.release().await?;
/// # Ok(()) }
/// ```
///
/// Whoever gives it away that way without waiting for its end takes the receipt out
/// ([`into_receipt`](Hold::into_receipt)), so that no drop releases it.
#[must_use = "a hold that is dropped at once releases at once"]
pub struct Hold<S: Store> {
    limiter: Limiter<S>,
    /// Where it was made.
    runtime: Handle,
    /// Until it was released or handed back.
    receipt: Option<Receipt>,
    /// Where there are leases.
    renewing: Option<Renewing>,
}

impl<S: Store> Hold<S> {
    /// Holds the leases of `receipt`. One that was charged here is taken for fresh, and renewed first after a third of its
    /// lease; one that was read from a token, or [listed](Limiter::leases), is renewed at once.
    ///
    /// # Errors
    /// [`Error::is_invalid`] outside of a tokio runtime, and where the receipt names a limit that this process has not met: make
    /// it before. [`Error::is_other_store`] when the receipt is another store's. The receipt is gone then, and its places
    /// free when their leases end.
    pub fn new(limiter: &Limiter<S>, receipt: Receipt) -> Result<Self, Error> {
        let runtime = Handle::try_current().map_err(|error| {
            Error::invalid("a hold renews in a tokio runtime, and this thread is in none: make it in a task")
                .with_source(error)
        })?;
        let identity = limiter.store().identity();
        check_receipt(identity, &receipt)?;
        let renewing = Leases::of(identity, &receipt)?.map(|leases| {
            let (held, lost) = watch::channel(());
            let limiter = limiter.clone();
            let task = runtime.spawn(async move {
                leases.renew(&limiter).await;
                drop(held);
            });
            Renewing { task: task.abort_handle(), lost }
        });
        Ok(Hold { limiter: limiter.clone(), runtime, receipt: Some(receipt), renewing })
    }

    /// Releases the leases now and tells what became of it. What else was charged stays; who wants to give that back too
    /// takes the [receipt](Hold::into_receipt) and releases by [`Limiter::release`].
    ///
    /// # Errors
    /// See [`Error`]. It is tried again in the background then, as when this future is dropped.
    pub async fn release(mut self) -> Result<Refund, Error> {
        let Hold { limiter, receipt, .. } = &mut self;
        let released = limiter.release(held_mut(receipt)).await?;
        self.receipt = None;
        Ok(released)
    }

    /// Whether a lease was lost: the store said that it had ended or was released (by whoever else has its token), or did not
    /// answer until its end, or the runtime is gone that renewed it. The place may be another's, and nothing is renewed any
    /// more.
    pub fn is_lost(&self) -> bool {
        self.renewing.as_ref().is_some_and(|renewing| renewing.lost.has_changed().is_err())
    }

    /// Waits until a lease is [lost](Hold::is_lost); for ever, where none is: for a `select!` beside the work.
    pub async fn lost(&self) {
        match &self.renewing {
            // Nothing is ever sent: this ends with the task.
            Some(renewing) => drop(renewing.lost.clone().changed().await),
            None => pending().await,
        }
    }

    /// The receipt, whole.
    pub fn receipt(&self) -> &Receipt {
        match &self.receipt {
            Some(receipt) => receipt,
            None => unreachable!("a hold has its receipt until it is consumed"),
        }
    }

    /// The same, to settle or refund its other parts while the work goes on. Places that a settlement adds are not renewed.
    pub fn receipt_mut(&mut self) -> &mut Receipt {
        held_mut(&mut self.receipt)
    }

    /// Stops renewing and hands back the receipt; nothing is released. The place is kept for what is left of its lease.
    pub fn into_receipt(mut self) -> Receipt {
        match self.receipt.take() {
            Some(receipt) => receipt,
            None => unreachable!("a hold has its receipt until it is consumed"),
        }
    }

    pub(crate) fn limiter(&self) -> &Limiter<S> {
        &self.limiter
    }

    pub(crate) fn runtime(&self) -> &Handle {
        &self.runtime
    }
}

impl<S: Store> Drop for Hold<S> {
    fn drop(&mut self) {
        let leases = self.renewing.take();
        let Some(mut receipt) = self.receipt.take().filter(|receipt| leases.is_some() && !receipt.is_replay()) else {
            return;
        };
        if let Some(Ok(_)) = self.limiter.release_at_once(&mut receipt) {
            return;
        }
        let limiter = self.limiter.clone();
        self.runtime.spawn(async move {
            let mut again = Again::default();
            while again.is_due(limiter.release(&mut receipt).await).await {}
        });
    }
}

impl<S: Store> fmt::Debug for Hold<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hold").field("receipt", &self.receipt).field("is_lost", &self.is_lost()).finish_non_exhaustive()
    }
}

fn held_mut(receipt: &mut Option<Receipt>) -> &mut Receipt {
    match receipt {
        Some(receipt) => receipt,
        None => unreachable!("a hold has its receipt until it is consumed"),
    }
}

/// The task that renews. It ends when a lease is lost, or with this.
struct Renewing {
    task: AbortHandle,
    lost: watch::Receiver<()>,
}

impl Drop for Renewing {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What is renewed: a receipt of the leases alone, which nobody else borrows meanwhile.
struct Leases {
    receipt: Receipt,
    /// The shortest.
    lease: Duration,
    is_fresh: bool,
    since: Instant,
}

impl Leases {
    /// Those that the receipt still holds, if any.
    fn of(identity: &Identity, receipt: &Receipt) -> Result<Option<Self>, Error> {
        let mut shortest = None;
        let mut leases = SmallVec::new();
        for part in receipt.parts() {
            let limit = identity.named(&part.limit).ok_or_else(|| unknown(&part.limit))?;
            if limit.policy().is_concurrency() && part.refunded < part.cost {
                let lease = limit.policy().longest();
                shortest = Some(shortest.map_or(lease, |shortest: Duration| shortest.min(lease)));
                leases.push(Part { tops_up: None, ..part.clone() });
            }
        }
        let receipt_of = |lease| Leases {
            receipt: Receipt::new(identity.tag(), receipt.charged_at(), leases, Statuses::new()),
            lease,
            // Only a charge knows them.
            is_fresh: !receipt.statuses().is_empty(),
            since: Instant::now(),
        };
        Ok(shortest.map(receipt_of))
    }

    /// Renews until one is lost.
    async fn renew<S: Store>(self, limiter: &Limiter<S>) {
        // No later than in the store: the time is counted from before it was asked.
        let mut end = self.since + self.lease;
        let mut next = if self.is_fresh { self.since + self.lease / 3 } else { self.since };
        loop {
            sleep_until(next.min(end)).await;
            let asked = Instant::now();
            match timeout_at(end, limiter.renew(&self.receipt)).await {
                Ok(Ok(renewal)) if renewal.all_renewed() => (end, next) = (asked + self.lease, asked + self.lease / 3),
                Ok(Err(_)) if Instant::now() < end => next = Instant::now() + self.lease / 30,
                _ => return,
            }
        }
    }
}

#[cold]
fn unknown(limit: &LimitRef) -> Error {
    let name = match limit {
        LimitRef::Name(name) => format!(" `{name}`"),
        LimitRef::Index(_) => String::new(),
    };
    Error::invalid(format!(
        "the receipt names a limit{name} that this process has not met: make it before its leases are held"
    ))
}
