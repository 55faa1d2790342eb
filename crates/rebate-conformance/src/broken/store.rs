//! The store: maps behind one lock, every rule from `rebate_core::engine`, and the faults.

use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, MutexGuard};

use rebate_core::count::Count;
use rebate_core::engine::{self, Counts, OwnedPlace, Place};
use rebate_core::{
    Algorithm, ChargeRequest, Clock, Credit, Decision, Denial, Error, Held, Identity, Item, KeyRef, Lease, Limit,
    LimitRef, ListRequest, ManualClock, Page, Part, Receipt, Refund, RefundRequest, Renewal, Retry, SettleReply,
    SettleRequest, Settlement, Status, Statuses, Store, Timestamp,
};

use super::Fault;
use super::book::{Book, Open};

/// A store that is right but for its fault. Its charges answer at their second poll, as those of a store
/// behind a network do.
pub struct BrokenStore {
    fault: Option<Fault>,
    pub(super) identity: Identity,
    clock: ManualClock,
    room: usize,
    random: RandomState,
    book: Mutex<Book>,
}

impl BrokenStore {
    pub(super) fn new(fault: Option<Fault>, clock: &ManualClock, room: usize) -> Self {
        let identity = Identity::new("broken").expect("a good name");
        BrokenStore { fault, identity, clock: clock.clone(), room, random: RandomState::new(), book: Mutex::default() }
    }

    pub(super) fn fault(&self) -> Option<Fault> {
        self.fault
    }

    pub(super) fn is(&self, fault: Fault) -> bool {
        self.fault == Some(fault)
    }

    fn lock(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn open<'a>(&'a self, book: &'a mut Book) -> Open<'a> {
        let mut now = self.clock.now();
        if self.is(Fault::WaitsForItsTime) {
            now = now.max(book.latest);
        }
        if self.is(Fault::HasWindowsOfItsOwn) {
            now = Timestamp::from_micros(now.as_micros() + 30_000_000);
        }
        if self.is(Fault::ReadsACoarseClock) {
            now = Timestamp::from_micros(now.as_micros() / 10_000_000 * 10_000_000);
        }
        book.latest = now;
        Open { fault: self.fault, identity: &self.identity, book, now, room: self.room }
    }

    /// Random bits for the identities of windows.
    fn random(&self, open: &mut Open<'_>) -> impl FnMut() -> u64 + use<> {
        open.book.windows += 1;
        let (window, keys) = (open.book.windows, self.random.clone());
        let mut next = 0;
        move || {
            next += 1;
            keys.hash_one((window, next))
        }
    }

    fn charge_now(&self, request: &ChargeRequest<'_>) -> Result<Decision, Error> {
        if self.is(Fault::DecidesOnACopy) {
            let mut copy = self.lock().clone();
            let answer = self.decide(&mut copy, request);
            // Long enough for another thread to do the same.
            (0..64).for_each(|_| std::thread::yield_now());
            *self.lock() = copy;
            return answer;
        }
        self.decide(&mut self.lock(), request)
    }

    fn decide(&self, book: &mut Book, request: &ChargeRequest<'_>) -> Result<Decision, Error> {
        let mut open = self.open(book);
        let mut items = request.items.to_vec();
        if self.is(Fault::CountsCallsNotCosts) {
            items.iter_mut().for_each(|item| item.cost = item.cost.min(1));
        }
        if self.is(Fault::DropsDuplicates) {
            items.dedup_by(|a, b| a.limit == b.limit && a.key == b.key);
        }
        let opened_under = self.opened_under(&mut open, &items);
        for (item, opened_under) in items.iter_mut().zip(&opened_under) {
            item.limit = opened_under.as_ref().unwrap_or(item.limit);
        }
        let request = ChargeRequest { items: &items, reserved: self.reserved(request.reserved), ..*request };
        let before = self.reservations(&mut open, &items);
        let decision = self.decide_items(&mut open, &request)?;
        self.carry_reservations(&mut open, before);
        self.prolong(&mut open, &request, &decision);
        Ok(decision)
    }

    fn decide_items(&self, open: &mut Open<'_>, request: &ChargeRequest<'_>) -> Result<Decision, Error> {
        match request.idempotency {
            Some(idempotency) if self.is(Fault::RemembersDenials) => {
                if let Some(denial) = open.book.denials.get(idempotency.key) {
                    return Ok(Decision::Denied(denial.clone()));
                }
                let decision = self.ask(open, request)?;
                if let Decision::Denied(denial) = &decision {
                    open.book.denials.insert(idempotency.key.to_vec(), denial.clone());
                }
                Ok(decision)
            }
            Some(_) if self.is(Fault::AsksTheLimitsFirst) => {
                let mut copy = open.book.clone();
                match self.ask(&mut self.open(&mut copy), &ChargeRequest { idempotency: None, ..*request })? {
                    Decision::Allowed(_) => self.ask(open, request),
                    denied => Ok(denied),
                }
            }
            None if self.is(Fault::KeepsWhatItTookBeforeADenial) || self.is(Fault::ChecksTooLate) => {
                self.one_by_one(open, request.items)
            }
            _ => self.ask(open, request),
        }
    }

    /// Of each item whose count was last charged under another variant, that one, for the fault that goes by it.
    fn opened_under(&self, open: &mut Open<'_>, items: &[Item<'_>]) -> Vec<Option<Limit>> {
        let (keeps_it, starts_afresh) =
            (self.is(Fault::KeepsTheFirstVariant), self.is(Fault::StartsAfreshUnderAVariant));
        let opened_under = |item: &Item<'_>| {
            let place = Place { name: self.identity.index_of(item.limit).name, key: item.key };
            let place = open.place(place);
            let held = open.book.counts.get(&place)?;
            if held.limit == *item.limit || !held.limit.is_variant_of(item.limit) {
                return None;
            }
            let limit = held.limit.clone();
            if starts_afresh {
                open.book.counts.remove(&place);
            }
            keeps_it.then_some(limit)
        };
        items.iter().map(opened_under).collect()
    }

    fn ask(&self, open: &mut Open<'_>, request: &ChargeRequest<'_>) -> Result<Decision, Error> {
        let before = if self.is(Fault::TellsWhatWas) { engine::peek(open, request.items, open.now).ok() } else { None };
        let mut random = self.random(open);
        let now = open.now;
        Ok(match engine::charge(open, request, now, &mut random)? {
            Decision::Denied(denial) => Decision::Denied(self.tell(&denial)),
            Decision::Allowed(receipt) => match before.filter(|_| !receipt.is_idempotent()) {
                Some(before) => {
                    let parts = receipt.parts().iter().cloned().collect();
                    Decision::Allowed(Receipt::new(self.identity.tag(), receipt.charged_at(), parts, before))
                }
                None => Decision::Allowed(receipt),
            },
            other => other,
        })
    }

    fn one_by_one(&self, open: &mut Open<'_>, items: &[Item<'_>]) -> Result<Decision, Error> {
        let mut taken: Vec<Receipt> = Vec::new();
        for item in items {
            match self.ask(open, &ChargeRequest::new(&[*item]))? {
                Decision::Allowed(receipt) => taken.push(receipt),
                other => {
                    for receipt in taken.iter().filter(|_| self.is(Fault::ChecksTooLate)) {
                        let _ = engine::refund(open, &RefundRequest { receipt, totals: &[u64::MAX] }, open.now);
                    }
                    return Ok(other);
                }
            }
        }
        let Some(first) = taken.first() else { return Err(Error::invalid("a charge of no limits")) };
        let parts = taken.iter().flat_map(Receipt::parts).cloned().collect();
        let statuses =
            taken.iter().flat_map(Receipt::statuses).enumerate().map(|(at, s)| s.of_item(at, None)).collect();
        Ok(Decision::Allowed(Receipt::new(self.identity.tag(), first.charged_at(), parts, statuses)))
    }

    /// The denial with its waits as this store tells them.
    fn tell(&self, denial: &Denial) -> Denial {
        const SECOND: u64 = 1_000_000;
        let wait = |retry| match (retry, self.fault) {
            (Retry::AfterMicros(wait), Some(Fault::RetriesEarly)) => Retry::AfterMicros(wait / SECOND * SECOND),
            (Retry::AfterMicros(wait), Some(Fault::RetriesLate)) => Retry::AfterMicros(wait.div_ceil(SECOND) * SECOND),
            (Retry::Never, Some(Fault::SaysLaterForNever)) => Retry::AfterMicros(60 * SECOND),
            (told, _) => told,
        };
        let tell = |status: &Status| status.of_item(status.item(), status.denied().map(wait));
        Denial::new(denial.statuses().iter().map(tell).collect())
    }

    fn refund_now(&self, request: &RefundRequest<'_>) -> Result<Refund, Error> {
        let mut guard = self.lock();
        let mut copy = self.is(Fault::RefundsACopy).then(|| guard.clone());
        let mut open = self.open(copy.as_mut().unwrap_or(&mut guard));
        let nothing: Vec<u64> = request.receipt.parts().iter().map(|_| 0).collect();
        let now = open.now;
        let mut look = || engine::refund(&mut open, &RefundRequest { totals: &nothing, ..*request }, now);
        match self.fault {
            Some(Fault::AddsTotals) => {
                let known = look()?.parts;
                let more = request.totals.iter().zip(known).map(|(total, part)| total.saturating_add(part.in_all));
                let totals: Vec<u64> = more.collect();
                engine::refund(&mut open, &RefundRequest { totals: &totals, ..*request }, now)
            }
            Some(Fault::BlocksOnAnExpiredPart) => {
                let looked = look()?;
                if looked.any_expired() { Ok(looked) } else { engine::refund(&mut open, request, now) }
            }
            Some(Fault::IgnoresTheInstance) => {
                let receipt = self.of_the_instance_now(&mut open, request.receipt);
                engine::refund(&mut open, &RefundRequest { receipt: &receipt, ..*request }, now)
            }
            Some(Fault::CreditsOutright) => {
                let before: Vec<_> = request.receipt.parts().iter().map(|part| self.held(&mut open, part)).collect();
                let refund = engine::refund(&mut open, request, now)?;
                for ((part, back), before) in request.receipt.parts().iter().zip(&refund.parts).zip(before) {
                    self.credit_outright(&mut open, part, back.given_back, before);
                }
                Ok(refund)
            }
            Some(Fault::CreatesWhatIsGone) => {
                for part in request.receipt.parts() {
                    self.create(&mut open, part)?;
                }
                engine::refund(&mut open, request, now)
            }
            Some(Fault::EndsWithARefund) => {
                self.end_reservations(&mut open, request.receipt);
                engine::refund(&mut open, request, now)
            }
            _ => engine::refund(&mut open, request, now),
        }
    }

    pub(super) fn place_of<'a>(&self, part: &'a Part) -> Option<(Limit, Place<'a>)> {
        let (limit, index) = match &part.limit {
            LimitRef::Index(index) => (self.identity.limit(*index)?.clone(), self.identity.index(*index)?),
            LimitRef::Name(name) => self.identity.by_name(name)?,
        };
        Some((limit, Place { name: index.name, key: part.key() }))
    }

    fn held(&self, open: &mut Open<'_>, part: &Part) -> Option<Held> {
        let (_, place) = self.place_of(part)?;
        open.book.counts.get(&open.place(place)).cloned()
    }

    fn of_the_instance_now(&self, open: &mut Open<'_>, receipt: &Receipt) -> Receipt {
        let mut parts = receipt.parts().to_vec();
        for part in &mut parts {
            part.instance = self.held(open, part).map_or(part.instance, |held| instance_now(&held));
        }
        Receipt::new(self.identity.tag(), receipt.charged_at(), parts.into_iter().collect(), Statuses::new())
    }

    /// The receipt as it would be if it did not say which variant was charged.
    fn without_variants(&self, receipt: &Receipt) -> Receipt {
        let mut parts = receipt.parts().to_vec();
        for part in &mut parts {
            if let LimitRef::Index(number) = part.limit
                && let Some(limit) = self.identity.limit(number)
            {
                part.limit = LimitRef::Name(limit.name().into());
            }
        }
        Receipt::new(self.identity.tag(), receipt.charged_at(), parts.into_iter().collect(), Statuses::new())
    }

    fn credit_outright(&self, open: &mut Open<'_>, part: &Part, given_back: u64, before: Option<Held>) {
        let Some((limit, place)) = self.place_of(part) else { return };
        let Algorithm::Bucket(bucket) = limit.policy().algorithm() else { return };
        let Some(Held { limit, count: Count::Bucket(mut level, marks), reserved }) = before else { return };
        let credit = Credit { micros: given_back * bucket.unit.micros, fraction: 0 };
        level.tat = level.tat.minus(credit, bucket.denominator);
        open.put(place, Some(Held { limit, count: Count::Bucket(level, marks), reserved }));
    }

    fn create(&self, open: &mut Open<'_>, part: &Part) -> Result<(), Error> {
        let Some((limit, place)) = self.place_of(part) else { return Ok(()) };
        if open.book.counts.contains_key(&open.place(place)) {
            return Ok(());
        }
        self.touch(open, &Item::new(&limit, part.key()))
    }

    /// Charges a unit and refunds it.
    fn touch(&self, open: &mut Open<'_>, item: &Item<'_>) -> Result<(), Error> {
        let one = [item.cost(1)];
        if let Decision::Allowed(receipt) = self.ask(open, &ChargeRequest::new(&one))? {
            engine::refund(open, &RefundRequest { receipt: &receipt, totals: &[1] }, open.now)?;
        }
        Ok(())
    }

    fn peek_now(&self, items: &[Item<'_>]) -> Result<Statuses, Error> {
        let mut book = self.lock();
        let mut open = self.open(&mut book);
        if self.is(Fault::LooksByCharging) {
            items.iter().try_for_each(|item| self.touch(&mut open, item))?;
        }
        let now = open.now;
        let statuses = engine::peek(&mut open, items, now)?;
        if self.is(Fault::ForgetsWhatItLookedAt) {
            items.iter().for_each(|item| {
                engine::reset(&mut open, item.limit, item.key, now);
            });
        }
        if !self.is(Fault::TellsOneTooMany) {
            return Ok(statuses);
        }
        let more = |status: &Status| {
            Status::new(status.quota(), status.remaining() + 1, status.reset_after().as_micros() as u64)
                .of_item(status.item(), None)
        };
        Ok(statuses.iter().map(more).collect())
    }
}

/// The instance that a charge would be of.
pub(super) fn instance_now(held: &Held) -> u64 {
    match &held.count {
        Count::Window(window, _) => window.instance,
        Count::Sliding(buckets, ..) => buckets.instance(buckets.start),
        Count::Bucket(level, _) => level.identity,
        Count::Entries(roll) => roll.identity,
    }
}

/// An answer on its way. If nobody waits for it any more its charge is refunded, unless a retry will find
/// it by its idempotency key.
struct OnItsWay<'a> {
    store: &'a BrokenStore,
    answer: Option<Result<Decision, Error>>,
}

impl Drop for OnItsWay<'_> {
    fn drop(&mut self) {
        if self.store.is(Fault::KeepsLateCharges) {
            return;
        }
        if let Some(Ok(Decision::Allowed(receipt))) = self.answer.take()
            && !receipt.is_idempotent()
        {
            self.store.hand_back(receipt);
        }
    }
}

/// Waits for one poll.
async fn network() {
    let mut sent = false;
    std::future::poll_fn(|context| {
        if std::mem::replace(&mut sent, true) {
            return std::task::Poll::Ready(());
        }
        context.waker().wake_by_ref();
        std::task::Poll::Pending
    })
    .await;
}

impl Store for BrokenStore {
    fn identity(&self) -> &Identity {
        &self.identity
    }

    async fn charge(&self, request: &ChargeRequest<'_>) -> Result<Decision, Error> {
        let mut on_its_way = OnItsWay { store: self, answer: Some(self.charge_now(request)) };
        network().await;
        on_its_way.answer.take().expect("the answer is taken once")
    }

    async fn refund(&self, request: &RefundRequest<'_>) -> Result<Refund, Error> {
        self.refund_now(request)
    }

    async fn settle(&self, request: &SettleRequest<'_>) -> Result<SettleReply, Error> {
        let mut book = self.lock();
        let mut open = self.open(&mut book);
        if self.is(Fault::TopsUpWithoutTidying) {
            open.fault = Some(Fault::NeverTidies);
        }
        let mut random = self.random(&mut open);
        let now = open.now;
        if self.is(Fault::TopsUpUnderTheLastVariant) {
            let receipt = self.without_variants(request.receipt);
            return engine::settle(&mut open, &SettleRequest { receipt: &receipt, ..*request }, now, &mut random);
        }
        let before = self.reservations_of(&mut open, request.receipt);
        let reply = engine::settle(&mut open, request, now, &mut random)?;
        match reply.settlement {
            Settlement::Refused(_) if self.is(Fault::EndsWithARefusal) => {
                self.end_reservations(&mut open, request.receipt);
            }
            Settlement::Settled(_) if self.is(Fault::LapsesThoughSettled) => open.put_reservations(before),
            _ => {}
        }
        Ok(reply)
    }

    async fn renew(&self, receipt: &Receipt) -> Result<Renewal, Error> {
        let mut book = self.lock();
        let mut open = self.open(&mut book);
        let now = open.now;
        if self.is(Fault::RenewsAnyLease) {
            let receipt = self.of_the_instance_now(&mut open, receipt);
            return engine::renew(&mut open, &receipt, now);
        }
        engine::renew(&mut open, receipt, now)
    }

    async fn peek(&self, items: &[Item<'_>]) -> Result<Statuses, Error> {
        self.peek_now(items)
    }

    async fn reset(&self, limit: &Limit, key: KeyRef<'_>) -> Result<bool, Error> {
        let mut book = self.lock();
        let mut open = self.open(&mut book);
        let now = open.now;
        Ok(engine::reset(&mut open, limit, key, now))
    }

    async fn leases(&self, limit: &Limit, key: KeyRef<'_>) -> Result<Vec<Lease>, Error> {
        let mut book = self.lock();
        let mut open = self.open(&mut book);
        let now = open.now;
        let leases = engine::leases(&mut open, limit, key, now)?;
        if self.is(Fault::RenewsWhatItTells) {
            leases.iter().try_for_each(|lease| engine::renew(&mut open, &lease.receipt, now).map(drop))?;
        }
        if self.is(Fault::TellsReleasedLeases) {
            return Ok(self.leases_released_or_not(&mut open, limit, key));
        }
        Ok(leases)
    }

    async fn list(&self, request: &ListRequest<'_>) -> Result<Page, Error> {
        let mut book = self.lock();
        let mut open = self.open(&mut book);
        let (name, moment) = (self.identity.index_of(request.limit).name, open.now);
        let now = moment.as_micros();
        let places: Vec<OwnedPlace> = open.book.counts.keys().filter(|place| place.name == name).cloned().collect();
        for place in places.iter().filter(|_| !self.is(Fault::ListsWhatLapsed)) {
            engine::lapse(&mut open, Place { name, key: place.key.as_ref() }, moment);
        }
        let live = open.book.counts.iter().filter(|(place, held)| place.name == name && held.expires_at() > now);
        let keys = live.map(|(place, held)| (place.key.clone(), Held::peek(Some(held), request.limit, now)));
        Ok(Page { keys: keys.collect(), next: None })
    }

    fn hand_back(&self, receipt: Receipt) {
        if self.is(Fault::IgnoresHandBacks) {
            return;
        }
        let totals: Vec<u64> = receipt.parts().iter().map(|part| part.cost).collect();
        // From a drop there is nobody to tell.
        let _ = self.refund_now(&RefundRequest { receipt: &receipt, totals: &totals });
    }
}
