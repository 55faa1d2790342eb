//! The limiter without futures, over stores that answer without waiting.

use super::{Limiter, each, fall_back, first, first_parts, note_refund, note_settlement, whole};
use std::time::Duration;

use crate::decision::{Decision, Refund, Settlement, Shortfall, Status};
use crate::error::Error;
use crate::key::KeyRef;
use crate::limit::Limit;
use crate::receipt::Receipt;
use crate::store::{
    ChargeRequest, Cursor, Idempotency, Item, ListRequest, Page, RefundRequest, SettleRequest, Statuses, SyncStore,
};

/// Each method is the one of the same name less `_now`, without a future.
impl<S: SyncStore> Limiter<S> {
    /// [`Limiter::charge`] without a future: the fastest path.
    ///
    /// # Errors
    /// As there.
    #[inline(always)]
    pub fn charge_now<'a>(&self, limit: &'a Limit, key: impl Into<KeyRef<'a>>) -> Result<Decision, Error> {
        self.charge_all_now(&[Item::new(limit, key)])
    }

    /// [`Limiter::charge_all`] without a future.
    ///
    /// # Errors
    /// As there.
    #[inline(always)]
    pub fn charge_all_now(&self, items: &[Item<'_>]) -> Result<Decision, Error> {
        self.charge_with_now(&ChargeRequest::new(items))
    }

    /// [`Limiter::charge_once`] without a future.
    ///
    /// # Errors
    /// As there.
    pub fn charge_once_now(&self, items: &[Item<'_>], idempotency: Idempotency<'_>) -> Result<Decision, Error> {
        self.charge_with_now(&ChargeRequest::new(items).once(idempotency))
    }

    /// [`Limiter::reserve`] without a future.
    ///
    /// # Errors
    /// As there.
    pub fn reserve_now(&self, items: &[Item<'_>], within: Duration) -> Result<Decision, Error> {
        self.charge_with_now(&ChargeRequest::new(items).reserved(within))
    }

    /// [`Limiter::charge_with`] without a future.
    ///
    /// # Errors
    /// As there.
    #[inline(always)]
    pub fn charge_with_now(&self, request: &ChargeRequest<'_>) -> Result<Decision, Error> {
        self.ready(request.items)?;
        fall_back(request.items, self.shared.store.charge_now(request))
    }

    /// [`Limiter::refund`] without a future.
    ///
    /// # Errors
    /// As there.
    #[inline]
    pub fn refund_now(&self, receipt: &mut Receipt) -> Result<Refund, Error> {
        let totals = whole(receipt);
        self.refund_parts_now(receipt, &totals)
    }

    /// [`Limiter::refund_up_to`] without a future.
    ///
    /// # Errors
    /// As there.
    pub fn refund_up_to_now(&self, receipt: &mut Receipt, total: u64) -> Result<Refund, Error> {
        let totals = each(receipt, total);
        self.refund_parts_now(receipt, &totals)
    }

    /// [`Limiter::refund_parts`] without a future.
    ///
    /// # Errors
    /// As there.
    #[inline]
    pub fn refund_parts_now(&self, receipt: &mut Receipt, totals: &[u64]) -> Result<Refund, Error> {
        let answer = self.shared.store.refund_now(&RefundRequest { receipt, totals })?;
        note_refund(receipt, &answer);
        Ok(answer)
    }

    /// [`Limiter::settle`] without a future.
    ///
    /// # Errors
    /// As there.
    pub fn settle_now(&self, receipt: &mut Receipt, cost: u64, shortfall: Shortfall) -> Result<Settlement, Error> {
        let costs = first_parts(receipt, cost);
        self.settle_parts_now(receipt, &costs, shortfall)
    }

    /// [`Limiter::settle_parts`] without a future.
    ///
    /// # Errors
    /// As there.
    pub fn settle_parts_now(
        &self,
        receipt: &mut Receipt,
        costs: &[u64],
        shortfall: Shortfall,
    ) -> Result<Settlement, Error> {
        let reply = self.shared.store.settle_now(&SettleRequest { receipt, costs, shortfall })?;
        Ok(note_settlement(receipt, reply))
    }

    /// [`Limiter::peek`] without a future.
    ///
    /// # Errors
    /// As there.
    pub fn peek_now<'a>(&self, limit: &'a Limit, key: impl Into<KeyRef<'a>>) -> Result<Status, Error> {
        first(self.peek_all_now(&[Item::new(limit, key)])?)
    }

    /// [`Limiter::peek_all`] without a future.
    ///
    /// # Errors
    /// As there.
    pub fn peek_all_now(&self, items: &[Item<'_>]) -> Result<Statuses, Error> {
        self.ready(items)?;
        self.shared.store.peek_now(items)
    }

    /// [`Limiter::reset`] without a future.
    ///
    /// # Errors
    /// As there.
    pub fn reset_now<'a>(&self, limit: &'a Limit, key: impl Into<KeyRef<'a>>) -> Result<bool, Error> {
        let item = Item::new(limit, key);
        self.ready(&[item])?;
        self.shared.store.reset_now(limit, item.key)
    }

    /// [`Limiter::list`] without a future.
    ///
    /// # Errors
    /// As there.
    pub fn list_now(&self, limit: &Limit, after: Option<Cursor>, size: usize) -> Result<Page, Error> {
        self.meet(limit)?;
        self.shared.store.list_now(&ListRequest { limit, after, size: size.max(1) })
    }
}
