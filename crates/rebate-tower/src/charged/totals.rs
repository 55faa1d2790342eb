//! How much of each part is given back.

use rebate_core::Receipt;
use smallvec::SmallVec;

/// What to give back in all of each part, so that of each limit charged it is `total` over its part and those that
/// topped it up: the latest first.
pub(super) fn totals(receipt: &Receipt, total: u64) -> SmallVec<[u64; 4]> {
    let parts = receipt.parts();
    let mut totals: SmallVec<[u64; 4]> = parts.iter().map(|part| part.refunded).collect();
    for first in (0..parts.len()).filter(|&at| parts[at].tops_up.is_none()) {
        let of_first =
            |at: usize| at == first || parts[at].tops_up.is_some_and(|tops_up| usize::from(tops_up) == first);
        let done =
            (0..parts.len()).filter(|&at| of_first(at)).map(|at| parts[at].refunded).fold(0, u64::saturating_add);
        let mut missing = total.saturating_sub(done);
        for at in (0..parts.len()).rev().filter(|&at| of_first(at)) {
            let more = missing.min(parts[at].cost.saturating_sub(parts[at].refunded));
            totals[at] += more;
            missing -= more;
        }
    }
    totals
}
