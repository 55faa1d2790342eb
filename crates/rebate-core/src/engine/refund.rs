//! Refunding: up to an absolute total of each part.

use smallvec::SmallVec;

use crate::algorithm::Returned;
use crate::count::Held;
use crate::decision::{PartRefund, Refund, Status};
use crate::engine::{Counts, check_receipt, counts_place, look};
use crate::error::Error;
use crate::limit::Identity;
use crate::receipt::{Part, Receipt};
use crate::store::RefundRequest;
use crate::time::Timestamp;

/// Gives back up to the totals of the request at `now`.
///
/// # Errors
/// [`Error::is_other_store`] when the receipt is another store's, [`Error::is_invalid`] when there is
/// not one total for each part. Nothing has happened then.
pub fn refund(counts: &mut impl Counts, request: &RefundRequest<'_>, now: Timestamp) -> Result<Refund, Error> {
    let receipt = request.receipt;
    check_receipt(counts.identity(), receipt)?;
    if request.totals.len() != receipt.parts().len() {
        return Err(Error::invalid(format!(
            "{} totals for a receipt of {} parts; give one for each",
            request.totals.len(),
            receipt.parts().len()
        )));
    }
    let mut parts: SmallVec<[PartRefund; 1]> = SmallVec::new();
    for (part, &total) in receipt.parts().iter().zip(request.totals) {
        let returned = give_back(counts, part, total, now);
        parts.push(PartRefund {
            given_back: returned.now,
            in_all: returned.in_all.max(part.refunded),
            expired: returned.expired,
            status: None,
        });
    }
    // Only now: parts may be of one count, where one tops up another.
    for (at, (part, answer)) in receipt.parts().iter().zip(&mut parts).enumerate() {
        answer.status = status_of_part(counts, part, now).map(|status| status.of_item(at, None));
    }
    note(counts, receipt, parts.iter().map(|part| (part.in_all, part.expired)), None);
    Ok(Refund { parts })
}

/// Gives back up to `total` of one part.
pub(super) fn give_back(counts: &mut impl Counts, part: &Part, total: u64, now: Timestamp) -> Returned {
    let Some((_, place)) = counts_place(counts.identity(), part) else { return Returned::EXPIRED };
    let Some(mut held) = look(counts, place, now) else { return Returned::EXPIRED };
    let returned = held.refund(part.instance, part.units(), total, now.as_micros());
    counts.put(place, (!returned.closed).then_some(held));
    returned
}

/// The status of a part's count under the limit it was last charged under; of a count that is gone, whether
/// or not it is kept still, under the limit that the receipt names.
pub(super) fn status_of_part(counts: &mut impl Counts, part: &Part, now: Timestamp) -> Option<Status> {
    let (named, place) = counts_place(counts.identity(), part)?;
    let held = look(counts, place, now);
    let live = held.as_ref().filter(|held| held.is_live(now.as_micros()));
    let status = Held::peek(live, live.map_or(&named, |held| &held.limit), now.as_micros());
    if held.is_some() {
        counts.put(place, held);
    }
    Some(status)
}

/// Notes a settlement at `now`, by which the charge is reserved no more, in the idempotency key's memory.
pub(super) fn note_settlement(
    counts: &mut impl Counts,
    receipt: &Receipt,
    in_all: impl Iterator<Item = u64>,
    now: Timestamp,
) {
    note(counts, receipt, in_all.map(|in_all| (in_all, false)), Some(now));
}

/// Notes in the idempotency key's memory what has been given back in all of each first part, and whether that is expired. Once
/// everything was given back the key is free again; a lease that has ended by itself holds nothing, so that it need not be.
fn note(
    counts: &mut impl Counts,
    receipt: &Receipt,
    parts: impl Iterator<Item = (u64, bool)>,
    settled_at: Option<Timestamp>,
) {
    let Some(idempotency) = &receipt.idempotency else { return };
    let scope = idempotency.scope.as_ref();
    let Some(mut note) = counts.take_note(scope, &idempotency.key) else { return };
    let billed_this = match (note.parts.first(), receipt.parts().first()) {
        (Some(noted), Some(part)) => (noted.instance, noted.last) == (part.instance, part.last),
        _ => false,
    };
    let mut freed = billed_this;
    if billed_this {
        let mut gave_back = false;
        for (part, (in_all, expired)) in note.parts.iter_mut().zip(parts) {
            part.refunded = part.refunded.max(in_all);
            let is_whole = part.refunded >= part.cost;
            gave_back |= is_whole;
            freed &= is_whole || (expired && is_lease(counts.identity(), part));
        }
        freed &= gave_back;
        // A key that is free already stays free.
        if settled_at.is_some_and(|now| note.is_in_force(now)) {
            note.reserved_until = None;
        }
    }
    counts.put_note(scope, &idempotency.key, (!freed).then_some(note));
}

fn is_lease(identity: &Identity, part: &Part) -> bool {
    identity.named(&part.limit).is_some_and(|limit| limit.policy().is_concurrency())
}
