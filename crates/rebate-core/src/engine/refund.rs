//! Refunding: up to an absolute total of each part.

use smallvec::SmallVec;

use crate::algorithm::Returned;
use crate::count::Held;
use crate::decision::{PartRefund, Refund, Status};
use crate::engine::{Counts, check_receipt, counts_place, look};
use crate::error::Error;
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
    note_refunds(counts, receipt, parts.iter().map(|part| part.in_all));
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

/// Notes in the idempotency key's memory what has been given back in all of each first part; once that
/// is everything, the key is free again.
fn note_refunds(counts: &mut impl Counts, receipt: &Receipt, in_all: impl Iterator<Item = u64>) {
    note(counts, receipt, in_all, None);
}

/// The same for a settlement at `now`, by which the charge is reserved no more.
pub(super) fn note_settlement(
    counts: &mut impl Counts,
    receipt: &Receipt,
    in_all: impl Iterator<Item = u64>,
    now: Timestamp,
) {
    note(counts, receipt, in_all, Some(now));
}

fn note(counts: &mut impl Counts, receipt: &Receipt, in_all: impl Iterator<Item = u64>, settled_at: Option<Timestamp>) {
    let Some(idempotency) = &receipt.idempotency else { return };
    let scope = idempotency.scope.as_ref();
    let Some(mut note) = counts.take_note(scope, &idempotency.key) else { return };
    let billed_this = match (note.parts.first(), receipt.parts().first()) {
        (Some(noted), Some(part)) => (noted.instance, noted.last) == (part.instance, part.last),
        _ => false,
    };
    if billed_this {
        for (part, in_all) in note.parts.iter_mut().zip(in_all) {
            part.refunded = part.refunded.max(in_all);
        }
        // A key that is free already stays free.
        if settled_at.is_some_and(|now| note.is_in_force(now)) {
            note.reserved_until = None;
        }
    }
    let freed = billed_this && note.parts.iter().all(|part| part.refunded >= part.cost);
    counts.put_note(scope, &idempotency.key, (!freed).then_some(note));
}
