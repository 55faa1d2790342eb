//! What the history of a fixed window says.

use num_bigint::BigInt;
use rebate_core::Policy;
use rebate_core::algorithm::fixed::{Fixed, Layout};

use super::calendar;
use super::kind::{Standing, Wait};
use super::life::Life;

/// The window that a charge at `now` opens.
pub(super) fn open(fixed: &Fixed, now: i128) -> (i128, i128) {
    match &fixed.layout {
        Layout::Aligned(span) => {
            let start = now.div_euclid(i128::from(*span)) * i128::from(*span);
            (start, start + i128::from(*span))
        }
        Layout::FromFirst(span) => (now, now + i128::from(*span)),
        Layout::Calendar(calendar) => calendar::window(calendar, now),
    }
}

/// The count's time, unless the window is gone.
pub(super) fn time(life: &Life, now: i128) -> Option<i128> {
    let (start, end) = life.window;
    let gone = now >= end || start - now > end - start;
    (!gone).then_some(now.max(start))
}

pub(super) fn used(life: &Life) -> BigInt {
    life.charged().iter().map(|charged| charged.counts()).sum()
}

pub(super) fn standing(life: Option<&Life>, policy: &Policy, fixed: &Fixed, now: i128) -> Standing {
    let used = life.map(used).unwrap_or_default();
    let reset = match (life, &fixed.layout) {
        (Some(life), _) => life.window.1 - now,
        (None, Layout::FromFirst(_)) => 0,
        (None, _) => open(fixed, now).1 - now,
    };
    Standing { free: BigInt::from(policy.quota()) - used, reset }
}

/// Everything that counts stops counting at the end.
pub(super) fn wait(life: &Life, now: i128) -> Wait {
    life.window.1 - now
}
