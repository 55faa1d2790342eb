//! The limiter: what callers see.

mod leases;
mod now;

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::fmt;
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use smallvec::SmallVec;

use crate::decision::{Decision, Denial, PartRefund, Refund, Settlement, Shortfall, Status, Unchecked};
use crate::error::Error;
use crate::guard::Guard;
use crate::key::KeyRef;
use crate::limit::{Fallback, Identity, Limit};
use crate::policy::Policy;
use crate::receipt::{Part, Receipt};
use crate::store::{
    ChargeRequest, Cursor, Idempotency, Item, ListRequest, Page, RefundRequest, SettleReply, SettleRequest, Statuses,
    Store,
};
use crate::token::{self, Signing};

/// Charges and refunds limits in a store. Cheap to clone; clones share the store.
///
/// Every method that ends in `_now` is the same without a future, for stores that answer without
/// waiting (memory).
pub struct Limiter<S> {
    shared: Arc<Shared<S>>,
}

struct Shared<S> {
    store: S,
    /// Tells the limits whose names were found to stand for them here. Another one with every name that
    /// comes to stand for something else.
    stamp: AtomicU64,
    /// What each name stands for in this limiter: a limit, or several variants of one.
    names: Mutex<HashMap<Box<str>, Vec<Limit>>>,
    signing: Signing,
}

impl<S: Store> Limiter<S> {
    /// A limiter over `store`, whose receipts' tokens are not signed: keep them on the server.
    pub fn new(store: S) -> Self {
        Self::with_signing(store, Signing::None)
    }

    /// A limiter whose tokens are signed with HMAC-SHA-256 under `secret`, and which refuses tokens
    /// that are not. Every process that reads them needs the same secret, of at least 16 bytes.
    ///
    /// # Errors
    /// [`Error::is_invalid`] when the secret is shorter.
    #[cfg(feature = "signed")]
    pub fn signed(store: S, secret: &[u8]) -> Result<Self, Error> {
        Ok(Self::with_signing(store, Signing::with_secret(secret)?))
    }

    fn with_signing(store: S, signing: Signing) -> Self {
        let stamp = AtomicU64::new(new_stamp());
        Limiter { shared: Arc::new(Shared { store, stamp, names: Mutex::default(), signing }) }
    }

    /// The store.
    pub fn store(&self) -> &S {
        &self.shared.store
    }

    /// Makes and registers a limit: `limiter.limit("generate", "10/month")`.
    ///
    /// # Errors
    /// [`Error::is_invalid`] as [`Limit::new`]; [`Error::is_conflict`] as [`Limiter::register`].
    pub fn limit(&self, name: &str, policy: &str) -> Result<Limit, Error> {
        self.register(&Limit::new(name, policy)?)
    }

    /// Registers a limit built in code. Charging a limit registers it too; this says early whether its
    /// name is taken.
    ///
    /// # Errors
    /// [`Error::is_conflict`] when the name stands for another policy in this limiter.
    pub fn register(&self, limit: &Limit) -> Result<Limit, Error> {
        self.enter(limit, false)?;
        Ok(limit.clone())
    }

    /// Lets `limit`'s name stand for it, and its [variants](Limit::variant), from now on. What was used under the
    /// name stays used when only the quota differs (of a bucket, burst or rate); else the limit's counts start afresh and
    /// their receipts expire. Charging the old limit, unless it is a variant of the new one, is a
    /// [conflict](Error::is_conflict) from then on.
    pub fn replace(&self, limit: &Limit) {
        // Replacing cannot conflict.
        let _ = self.enter(limit, true);
    }

    /// Charges one unit of `limit` to `key`.
    ///
    /// # Errors
    /// See [`Error`]. While the store is unavailable or full the limit's [`Fallback`] decides.
    pub async fn charge<'a>(&self, limit: &'a Limit, key: impl Into<KeyRef<'a>>) -> Result<Decision, Error> {
        self.charge_all(&[Item::new(limit, key)]).await
    }

    /// Charges every item, or none. Items of the same limit and key are summed.
    ///
    /// ```
    /// # use rebate_core::{Item, Limiter, Error, Store, Decision};
    /// # async fn example(limiter: &Limiter<impl Store>) -> Result<(), Error> {
    /// let hour = limiter.limit("hour", "100/hour")?;
    /// let day = limiter.limit("day", "1000/day")?;
    /// let decision = limiter.charge_all(&[Item::new(&hour, "user:42"), Item::new(&day, "user:42").cost(3)]).await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// See [`Error`]. While the store is unavailable or full the limits' [`Fallback`] decides.
    pub async fn charge_all(&self, items: &[Item<'_>]) -> Result<Decision, Error> {
        self.charge_with(&ChargeRequest::new(items)).await
    }

    /// Charges every item or none, billed once however often it is sent with the same key.
    ///
    /// # Errors
    /// As [`Limiter::charge_all`]; [`Error::is_conflict`] when the key has billed another charge.
    pub async fn charge_once(&self, items: &[Item<'_>], idempotency: Idempotency<'_>) -> Result<Decision, Error> {
        self.charge_with(&ChargeRequest::new(items).once(idempotency)).await
    }

    /// Charges every item or none, to be [settled](Limiter::settle) `within` this time (from a microsecond to a century,
    /// by the store's clock). A charge that is not settled by then is given back whole at that moment, as a refund then would
    /// give it back, by the store itself: no process need be there. A settlement ends the reservation, unless it is refused:
    /// what it settled stands. A refund does not end it. Leases end by themselves, whenever that is.
    ///
    /// Waits and resets are told as if it were settled. A settlement that comes too late is one after that refund: it charges
    /// nothing that was given back, and tells it as shortfall, unless nothing is left of the count by then.
    ///
    /// ```
    /// # use rebate_core::{Item, Limiter, Error, Store, Decision, Shortfall};
    /// # use std::time::Duration;
    /// # async fn example(limiter: &Limiter<impl Store>) -> Result<(), Error> {
    /// let tokens = limiter.limit("tokens", "100000/minute")?;
    /// let estimate = [Item::new(&tokens, "user:42").cost(4000)];
    /// if let Decision::Allowed(mut receipt) = limiter.reserve(&estimate, Duration::from_secs(600)).await? {
    ///     let used = 1234; // What the work took.
    ///     let _settled = limiter.settle(&mut receipt, used, Shortfall::TakeWhatIsThere).await?;
    /// }
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As [`Limiter::charge_all`]; [`Error::is_invalid`] when the time is not one of those taken.
    pub async fn reserve(&self, items: &[Item<'_>], within: Duration) -> Result<Decision, Error> {
        self.charge_with(&ChargeRequest::new(items).reserved(within)).await
    }

    /// Charges as the request says: all its items or none, billed once or not, reserved or not.
    ///
    /// # Errors
    /// As [`Limiter::charge_all`], [`Limiter::charge_once`] and [`Limiter::reserve`].
    pub async fn charge_with(&self, request: &ChargeRequest<'_>) -> Result<Decision, Error> {
        self.ready(request.items)?;
        fall_back(request.items, self.shared.store.charge(request).await)
    }

    /// [`charge_all`](Limiter::charge_all) without a future, where the store answers without waiting, behind
    /// [`AnyStore`](crate::AnyStore) too. `None` where it does not: nothing has happened then.
    ///
    /// ```
    /// # use rebate_core::{Decision, Error, Item, Limiter, Store};
    /// # async fn example(limiter: &Limiter<impl Store>, items: &[Item<'_>]) -> Result<Decision, Error> {
    /// match limiter.charge_all_at_once(items) {
    ///     Some(answer) => answer,
    ///     None => limiter.charge_all(items).await,
    /// }
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`Limiter::charge_all`].
    #[inline]
    pub fn charge_all_at_once(&self, items: &[Item<'_>]) -> Option<Result<Decision, Error>> {
        self.charge_with_at_once(&ChargeRequest::new(items))
    }

    /// [`charge_with`](Limiter::charge_with) without a future, where the store answers without waiting. `None` where it
    /// does not: nothing has happened then.
    ///
    /// # Errors
    /// As there.
    #[inline]
    pub fn charge_with_at_once(&self, request: &ChargeRequest<'_>) -> Option<Result<Decision, Error>> {
        if let Err(error) = self.ready(request.items) {
            return Some(Err(error));
        }
        let answer = self.shared.store.charge_at_once(request)?;
        Some(fall_back(request.items, answer))
    }

    /// Gives back the whole receipt.
    ///
    /// Repeating it changes nothing. After an error the receipt is as usable as before.
    ///
    /// # Errors
    /// See [`Error`]. That the receipt's window is gone is no error; the answer says so.
    pub async fn refund(&self, receipt: &mut Receipt) -> Result<Refund, Error> {
        let totals = whole(receipt);
        self.refund_parts(receipt, &totals).await
    }

    /// [`refund`](Limiter::refund) without a future, where the store answers without waiting. `None` where it
    /// does not: nothing has happened then.
    ///
    /// # Errors
    /// As [`Limiter::refund`].
    pub fn refund_at_once(&self, receipt: &mut Receipt) -> Option<Result<Refund, Error>> {
        let totals = whole(receipt);
        let answer = self.shared.store.refund_at_once(&RefundRequest { receipt, totals: &totals })?;
        Some(answer.inspect(|answer| note_refund(receipt, answer)))
    }

    /// Gives back units of every part until `total` of it have been given back in all.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn refund_up_to(&self, receipt: &mut Receipt, total: u64) -> Result<Refund, Error> {
        let totals = each(receipt, total);
        self.refund_parts(receipt, &totals).await
    }

    /// Gives back units until of each part its own total has been given back in all: one total for
    /// each part, in their order; 0 leaves a part alone.
    ///
    /// # Errors
    /// See [`Error`]; [`Error::is_invalid`] when there is not one total for each part.
    pub async fn refund_parts(&self, receipt: &mut Receipt, totals: &[u64]) -> Result<Refund, Error> {
        let answer = self.shared.store.refund(&RefundRequest { receipt, totals }).await?;
        note_refund(receipt, &answer);
        Ok(answer)
    }

    /// Makes each part of the receipt hold `cost` units: gives back what was too much, or charges what
    /// is missing in the window current now, as a further part of the receipt. Repeating it charges nothing
    /// more, and units once given back are not charged again: settle a stream from below.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn settle(&self, receipt: &mut Receipt, cost: u64, shortfall: Shortfall) -> Result<Settlement, Error> {
        let costs = first_parts(receipt, cost);
        self.settle_parts(receipt, &costs, shortfall).await
    }

    /// The same with a true cost of its own for each part that was charged at first.
    ///
    /// # Errors
    /// See [`Error`]; [`Error::is_invalid`] when there is not one cost for each such part.
    pub async fn settle_parts(
        &self,
        receipt: &mut Receipt,
        costs: &[u64],
        shortfall: Shortfall,
    ) -> Result<Settlement, Error> {
        let reply = self.shared.store.settle(&SettleRequest { receipt, costs, shortfall }).await?;
        Ok(note_settlement(receipt, reply))
    }

    /// Quota, remaining and reset of `limit` for `key`; changes nothing.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn peek<'a>(&self, limit: &'a Limit, key: impl Into<KeyRef<'a>>) -> Result<Status, Error> {
        let items = [Item::new(limit, key)];
        first(self.peek_all(&items).await?)
    }

    /// The status of each item; changes nothing, and looks at no cost.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn peek_all(&self, items: &[Item<'_>]) -> Result<Statuses, Error> {
        self.ready(items)?;
        self.shared.store.peek(items).await
    }

    /// Forgets what `key` has used of `limit`; its receipts expire. Answers whether there was anything.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn reset<'a>(&self, limit: &'a Limit, key: impl Into<KeyRef<'a>>) -> Result<bool, Error> {
        let item = Item::new(limit, key);
        self.ready(&[item])?;
        self.shared.store.reset(limit, item.key).await
    }

    /// A page of about `size` keys that have used some of `limit`, after where the last page ended.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn list(&self, limit: &Limit, after: Option<Cursor>, size: usize) -> Result<Page, Error> {
        self.meet(limit)?;
        self.shared.store.list(&ListRequest { limit, after, size: size.max(1) }).await
    }

    /// Wraps a receipt so that it is refunded whole when dropped, unless [`Guard::keep`] is called
    /// before: when the work it paid for fails, panics or is cancelled.
    ///
    /// A [replay](Receipt::is_replay) is not refunded by its guard.
    pub fn guard(&self, receipt: Receipt) -> Guard<S> {
        Guard::new(self.clone(), receipt)
    }

    /// The receipt as text that another process can read back with [`Limiter::receipt`] and refund, where
    /// the store is one that processes share (a memory store's counts are its own process's: elsewhere its
    /// tokens are expired). It is a bearer credential: unsigned ones belong on the server only.
    ///
    /// At most 200 bytes, unsigned, for one limit and a key of 20 bytes, most often 60 to 100; an
    /// idempotency key and each further part (limit or top-up) add their own. A receipt has at most 1024 parts.
    ///
    /// # Errors
    /// [`Error::is_other_store`] when the receipt is another store's.
    pub fn token(&self, receipt: &Receipt) -> Result<String, Error> {
        token::write(self.shared.store.identity(), &self.shared.signing, receipt)
    }

    /// Reads a token. The limits it names need not be registered here in order to refund it.
    ///
    /// # Errors
    /// [`Error::is_bad_token`], with a predicate of its own for each of: malformed, truncated, forged,
    /// of another version, of another store.
    pub fn receipt(&self, token: &str) -> Result<Receipt, Error> {
        token::read(self.shared.store.identity(), &self.shared.signing, token)
    }

    /// Checks that the limits are this limiter's.
    #[inline]
    fn ready(&self, items: &[Item<'_>]) -> Result<(), Error> {
        let stamp = self.shared.stamp.load(Ordering::Relaxed);
        items.iter().try_for_each(|item| if item.limit.checked() == stamp { Ok(()) } else { self.meet(item.limit) })
    }

    /// Checks a limit that is charged or looked at. One that the store has met is not entered anew: that would make it the one last entered
    /// under its name, whenever any other name has come to stand for something else.
    #[cold]
    fn meet(&self, limit: &Limit) -> Result<(), Error> {
        self.stand_for(limit, false, |identity| _ = identity.index_of(limit))
    }

    #[cold]
    fn enter(&self, limit: &Limit, replace: bool) -> Result<(), Error> {
        self.stand_for(limit, replace, |identity| _ = identity.enter(limit))
    }

    fn stand_for(&self, limit: &Limit, replace: bool, enter: impl FnOnce(&Identity)) -> Result<(), Error> {
        // Under this lock, so that no limit is found to be the right one while that changes.
        let mut names = self.shared.names.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        match names.get_mut(limit.name()) {
            Some(known) if !replace => {
                if known.iter().all(|known| known.policy() != limit.policy()) {
                    if !known.iter().any(|known| known.is_variant_of(limit)) {
                        return Err(conflict(limit.name(), known[0].policy(), limit.policy()));
                    }
                    known.push(limit.clone());
                }
            }
            known => {
                if known.is_some() {
                    self.shared.stamp.store(new_stamp(), Ordering::Relaxed);
                }
                names.insert(limit.name().into(), vec![limit.clone()]);
            }
        }
        limit.set_checked(self.shared.stamp.load(Ordering::Relaxed));
        enter(self.shared.store.identity());
        Ok(())
    }
}

/// Random, never 0: no two limiters share one, nor two times of a limiter's names.
fn new_stamp() -> u64 {
    RandomState::new().hash_one("limiter") | 1
}

/// Lets the limits' fallback answer for a store in trouble.
///
/// The answer is passed on by value and its address given to nobody, so that the compiler need not move it:
/// it is large enough for that to tell.
#[inline(always)]
fn fall_back(items: &[Item<'_>], answer: Result<Decision, Error>) -> Result<Decision, Error> {
    match answer {
        Ok(decision) => Ok(decision),
        Err(error) => match fallback_for(items, &error) {
            Fallback::Allow => Ok(Decision::Unchecked(Unchecked::new(error))),
            Fallback::Deny => Ok(Decision::Denied(Denial::by_fallback(error))),
            Fallback::Error => Err(error),
        },
    }
}

/// Not a call, so that the items' address is given to nobody either.
#[inline(always)]
fn fallback_for(items: &[Item<'_>], error: &Error) -> Fallback {
    if !error.is_retryable() {
        return Fallback::Error;
    }
    items.iter().map(|item| item.limit.fallback()).max().unwrap_or_default()
}

impl<S> Clone for Limiter<S> {
    fn clone(&self) -> Self {
        Limiter { shared: Arc::clone(&self.shared) }
    }
}

impl<S: Store> fmt::Debug for Limiter<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Limiter({})", self.shared.store.identity().name())
    }
}

fn conflict(name: &str, known: &Policy, new: &Policy) -> Error {
    Error::conflict(format!(
        "the limit `{name}` is {known} in this limiter, and {new} here; give one of them another name, or replace it"
    ))
}

fn first(statuses: Statuses) -> Result<Status, Error> {
    statuses.first().copied().ok_or_else(|| Error::invalid("the store answered without a status"))
}

#[inline]
fn whole(receipt: &Receipt) -> SmallVec<[u64; 4]> {
    receipt.parts().iter().map(|part| part.cost).collect()
}

fn each(receipt: &Receipt, total: u64) -> SmallVec<[u64; 4]> {
    receipt.parts().iter().map(|_| total).collect()
}

fn first_parts(receipt: &Receipt, cost: u64) -> SmallVec<[u64; 4]> {
    receipt.parts().iter().filter(|part| part.tops_up.is_none()).map(|_| cost).collect()
}

#[inline]
fn note_refund(receipt: &mut Receipt, answer: &Refund) {
    let answered = |(part, answer): (&mut Part, &PartRefund)| part.refunded = part.refunded.max(answer.in_all);
    receipt.parts_mut().iter_mut().zip(&answer.parts).for_each(answered);
}

fn note_settlement(receipt: &mut Receipt, reply: SettleReply) -> Settlement {
    if matches!(reply.settlement, Settlement::Settled(_)) {
        receipt.set_parts(reply.parts);
    }
    reply.settlement
}
