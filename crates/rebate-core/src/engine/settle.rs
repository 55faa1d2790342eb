//! Settling: the true cost of a charge made on an estimate.

use smallvec::SmallVec;

use crate::REMEMBERED;
use crate::decision::{PartSettled, Settled, Settlement, Shortfall};
use crate::engine::charge::{Line, Lines, apply, deny, part_bytes, take};
use crate::engine::refund::{give_back, note_settlement, status_of_part};
use crate::engine::{
    Counts, MAX_ITEMS, Place, SETTLE_WITHIN, TopUp, TopUps, check_receipt, counts_place, look, peek_at,
};
use crate::error::Error;
use crate::limit::{Limit, LimitIndex};
use crate::receipt::{Part, Receipt};
use crate::store::{SettleReply, SettleRequest};
use crate::time::Timestamp;

/// One first part of a receipt, and what tops it up.
struct Account<'a> {
    part: &'a Part,
    /// Where it is kept and the limit it is topped up by, if that is known here.
    place: Option<(Limit, LimitIndex, Place<'a>)>,
    /// The units charged for it in all: its cost and its top-ups', whether or not given back since.
    charged: u64,
    /// The units it holds now: those less what was given back.
    holds: u64,
    target: u64,
}

/// Makes each first part of the receipt hold its true cost at `now`: gives back what is too much (the
/// latest top-up first), or charges what is missing in the window current now.
///
/// Which top-ups a receipt has is known by its identity: settling a copy of it again charges
/// nothing more, also after a refund. So units once given back are not charged again: what a true cost is
/// short of because of them is told as shortfall. A receipt older than [`SETTLE_WITHIN`], or forgotten past [`REMEMBERED`] others of its
/// count, is topped up no more.
///
/// # Errors
/// [`Error::is_other_store`]; [`Error::is_invalid`] when there is not one cost for each first part or a
/// limit to top up is not known here; [`Error::is_full`]. Nothing has happened then.
pub fn settle(
    counts: &mut impl Counts,
    request: &SettleRequest<'_>,
    now: Timestamp,
    random: &mut impl FnMut() -> u64,
) -> Result<SettleReply, Error> {
    let receipt = request.receipt;
    check_receipt(counts.identity(), receipt)?;
    let (firsts, own_top_ups): (Vec<&Part>, Vec<&Part>) =
        receipt.parts().iter().partition(|part| part.tops_up.is_none());
    let Some(&first) = firsts.first().filter(|_| firsts.len() == request.costs.len()) else {
        return Err(Error::invalid(format!(
            "{} true costs for a receipt of {} charged parts; give one for each",
            request.costs.len(),
            firsts.len()
        )));
    };
    let home = counts_place(counts.identity(), first).map(|(_, place)| place);
    let mut top_ups = home.and_then(|home| counts.take_top_ups(home)).unwrap_or_default();
    forget_old(&mut top_ups, now);
    let known = top_ups.receipts.iter().position(|known| known.receipt == (first.instance, first.last));
    let mut added: Vec<Part> = match known {
        Some(known) => top_ups.receipts[known].parts.clone(),
        None => own_top_ups.into_iter().cloned().collect(),
    };
    let accounts = accounts(counts, &firsts, &added, request.costs, now);

    let may_top_up = now.as_micros() < receipt.charged_at.as_micros().saturating_add(SETTLE_WITHIN)
        && (known.is_some() || top_ups.floor.is_none_or(|floor| receipt.charged_at > floor));
    let mut settled: SmallVec<[PartSettled; 1]> =
        accounts.iter().map(|account| untouched(account, may_top_up)).collect();
    // Put back first: a store counts what it holds when it is asked for room.
    put_top_ups(counts, home, top_ups);
    if let Some(denial) = top_up(counts, request, &accounts, may_top_up, &mut settled, &mut added, now, random)? {
        return Ok(SettleReply { settlement: Settlement::Refused(denial), parts: SmallVec::new() });
    }
    let mut top_ups = home.and_then(|home| counts.take_top_ups(home)).unwrap_or_default();
    let originals = give_back_excess(counts, &accounts, &mut settled, &mut added, now);

    match known {
        Some(known) => top_ups.receipts[known].parts.clone_from(&added),
        // Remembered, one that may be topped up no more could be again.
        None if added.is_empty() || !may_top_up => {}
        None => remember(&mut top_ups, receipt, first, &added),
    }
    put_top_ups(counts, home, top_ups);
    for part in &originals {
        end_reservation(counts, part, now);
    }
    note_settlement(counts, receipt, originals.iter().map(|part| part.refunded), now);
    let parts = originals.into_iter().chain(added).collect();
    Ok(SettleReply { settlement: Settlement::Settled(Settled { parts: settled }), parts })
}

fn accounts<'a>(
    counts: &mut impl Counts,
    firsts: &[&'a Part],
    added: &[Part],
    costs: &[u64],
    now: Timestamp,
) -> Vec<Account<'a>> {
    let mut accounts = Vec::with_capacity(firsts.len());
    for (at, (part, &target)) in firsts.iter().zip(costs).enumerate() {
        let of_this = added.iter().filter(|top_up| top_up.tops_up == Some(at as u16));
        let (mut charged, mut holds) = (0u64, 0u64);
        for part in std::iter::once(*part).chain(of_this) {
            charged = charged.saturating_add(part.cost);
            holds = holds.saturating_add(held_by(counts, part, now));
        }
        let index = counts_place(counts.identity(), part).and_then(|(_, place)| {
            let (limit, index) = counts.identity().to_top_up(&part.limit)?;
            Some((limit, index, place))
        });
        accounts.push(Account { part, place: index, charged, holds, target });
    }
    accounts
}

/// The units of a part that were not given back, as far as store and receipt know.
fn held_by(counts: &mut impl Counts, part: &Part, now: Timestamp) -> u64 {
    let returned = give_back(counts, part, 0, now);
    part.cost.saturating_sub(returned.in_all.max(part.refunded))
}

impl Account<'_> {
    /// The units to top it up by. What was charged counts, not what is held: a settlement that arrives again
    /// after a refund must charge nothing.
    fn missing(&self) -> u64 {
        self.target.saturating_sub(self.charged)
    }
}

/// What is said of an account before anything is charged or given back.
fn untouched(account: &Account<'_>, may_top_up: bool) -> PartSettled {
    PartSettled {
        topped_up: 0,
        given_back: 0,
        shortfall: account.target.saturating_sub(account.holds),
        expired: account.missing() > 0 && !may_top_up,
        status: None,
    }
}

/// Charges what is missing. Answers with a denial when that does not fit and the request refuses.
#[expect(clippy::too_many_arguments, reason = "the settlement's state, each used once")]
fn top_up(
    counts: &mut impl Counts,
    request: &SettleRequest<'_>,
    accounts: &[Account<'_>],
    may_top_up: bool,
    settled: &mut [PartSettled],
    added: &mut Vec<Part>,
    now: Timestamp,
    random: &mut impl FnMut() -> u64,
) -> Result<Option<crate::decision::Denial>, Error> {
    let mut lines = Lines::new();
    for (at, account) in accounts.iter().enumerate() {
        let mut cost = account.missing();
        if cost == 0 || !may_top_up {
            continue;
        }
        let Some((limit, index, place)) = &account.place else {
            return Err(Error::invalid(
                "the receipt's limit is not known here, so it cannot be topped up; register the limit first",
            ));
        };
        if request.shortfall == Shortfall::TakeWhatIsThere {
            let remaining = peek_at(counts, *place, limit, now).remaining();
            cost = cost.min(remaining);
        }
        if cost > 0 {
            lines.push(Line { item: at, limit, index: *index, place: *place, cost });
        }
    }
    if lines.is_empty() {
        return Ok(None);
    }
    if lines.len() + added.len() + accounts.len() > MAX_ITEMS {
        return Err(Error::invalid(format!("a receipt of more than {MAX_ITEMS} parts; settle in fewer steps")));
    }
    let items: SmallVec<[usize; 2]> = lines.iter().map(|line| line.item).collect();
    let taken = take(counts, lines, now, random);
    if taken.iter().any(|taken| taken.denies()) {
        return Ok(Some(deny(counts, taken, now)));
    }
    let remembering =
        taken.iter().map(|taken| part_bytes(taken.line.place.key)).sum::<usize>() + 2 * size_of::<TopUp>();
    let (parts, _) = apply(counts, taken, remembering, None, now)?;
    for (at, part) in items.into_iter().zip(parts) {
        settled[at].topped_up = part.cost;
        settled[at].shortfall = settled[at].shortfall.saturating_sub(part.cost);
        added.push(Part { tops_up: Some(at as u16), ..part });
    }
    Ok(None)
}

/// Gives back what is held beyond the true cost, the latest top-up first. Returns the first parts as
/// they are then, and leaves the statuses in `settled`.
fn give_back_excess(
    counts: &mut impl Counts,
    accounts: &[Account<'_>],
    settled: &mut [PartSettled],
    added: &mut [Part],
    now: Timestamp,
) -> Vec<Part> {
    let mut originals: Vec<Part> = accounts.iter().map(|account| account.part.clone()).collect();
    for (at, account) in accounts.iter().enumerate() {
        let mut excess = account.holds.saturating_sub(account.target);
        let of_this = added.iter_mut().rev().filter(|top_up| top_up.tops_up == Some(at as u16));
        for part in of_this.chain(std::iter::once(&mut originals[at])) {
            let before = held_by(counts, part, now);
            let total = part.cost - before + before.min(excess);
            let returned = give_back(counts, part, if excess > 0 { total } else { 0 }, now);
            part.refunded = part.refunded.max(returned.in_all);
            settled[at].given_back += returned.now;
            settled[at].expired |= returned.expired && excess > 0 && before > 0;
            excess -= before.min(excess);
        }
        settled[at].status = status_of_part(counts, account.part, now).map(|status| status.of_item(at, None));
    }
    originals
}

/// What a settlement settled stands.
fn end_reservation(counts: &mut impl Counts, part: &Part, now: Timestamp) {
    let Some((_, place)) = counts_place(counts.identity(), part) else { return };
    let Some(mut held) = look(counts, place, now) else { return };
    held.reserved.settle(part.instance, part.units());
    counts.put(place, Some(held));
}

/// Notes a receipt's first top-up; past the bound the oldest receipt is forgotten.
fn remember(top_ups: &mut TopUps, receipt: &Receipt, first: &Part, added: &[Part]) {
    top_ups.receipts.push(TopUp {
        receipt: (first.instance, first.last),
        charged_at: receipt.charged_at,
        parts: added.to_vec(),
    });
    if top_ups.receipts.len() > REMEMBERED {
        let oldest = top_ups.receipts.iter().enumerate().min_by_key(|(_, receipt)| receipt.charged_at);
        if let Some((at, _)) = oldest {
            let forgotten = top_ups.receipts.remove(at);
            top_ups.floor = top_ups.floor.max(Some(forgotten.charged_at));
        }
    }
}

fn forget_old(top_ups: &mut TopUps, now: Timestamp) {
    let old = |moment: Timestamp| moment.as_micros().saturating_add(SETTLE_WITHIN) <= now.as_micros();
    top_ups.receipts.retain(|receipt| !old(receipt.charged_at));
    top_ups.floor = top_ups.floor.filter(|&floor| !old(floor));
}

fn put_top_ups(counts: &mut impl Counts, home: Option<Place<'_>>, top_ups: TopUps) {
    if let Some(home) = home {
        let nothing = top_ups.receipts.is_empty() && top_ups.floor.is_none();
        counts.put_top_ups(home, (!nothing).then_some(top_ups));
    }
}
