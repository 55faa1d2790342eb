//! What a function is told of one limit to charge: an item, as bytes. The scripts say what stands where.

use std::sync::atomic::{AtomicU64, Ordering};

use rebate_core::algorithm::bucket::{Bucket, Level};
use rebate_core::algorithm::fixed::{Fixed, Layout};
use rebate_core::{Algorithm, Calendar, Limit, MAX_UNIT};
use sha2::{Digest, Sha256};

use crate::keys::escaped;

/// Where an item's cost stands.
const COST: usize = 16;
/// Bounds of calendar windows that are sent along: the window before the client's time, its own, and the next two.
const BOUNDS: usize = 5;

/// What names a limit's algorithm, window and layout: a count with another shape starts afresh.
pub(crate) type Shape = [u8; 8];

/// A limit made ready for charging.
pub(crate) struct Prepared {
    pub(crate) limit: Limit,
    pub(crate) shape: Shape,
    /// The limit's name as it stands in the names of keys.
    pub(crate) name: Vec<u8>,
    /// The function that charges it alone.
    pub(crate) charge: &'static str,
    /// The item, with no cost and no fresh identity yet.
    item: Vec<u8>,
    /// Where the fresh identity stands: behind what every charge reads.
    fresh: usize,
    /// When the limit was last written down on the server, in microseconds since the epoch.
    pub(crate) written_at: AtomicU64,
}

/// A bucket's level that core adopted from another rate.
pub(crate) struct Adopted {
    /// The 80 bytes of the state it was adopted from.
    pub(crate) old: [u8; 80],
    /// The level and the count's time; none where the count is as if absent.
    pub(crate) level: Option<(Level, u64)>,
    /// What remains, told at the old rate.
    pub(crate) remaining: u64,
}

impl Prepared {
    /// `grace`: for how much longer than needed the server keeps what it is told, in microseconds.
    pub(crate) fn new(limit: &Limit, grace: u64) -> Self {
        let shape = shape_of(limit);
        let grace = grace as f64;
        // After shape, quota and cost; the zero is the fresh identity's place.
        let (charge, quota, fresh, numbers) = match limit.policy().algorithm() {
            Algorithm::Fixed(Fixed { quota, layout }) => {
                let (span, bounds) = match layout {
                    Layout::Aligned(span) => (*span as f64, 0),
                    Layout::FromFirst(span) => (-(*span as f64), 0),
                    Layout::Calendar(_) => (0.0, BOUNDS),
                };
                ("rebate_charge_fixed", *quota, 24, vec![0.0, grace, span, bounds as f64])
            }
            Algorithm::Sliding(sliding) => {
                let [window, tick, ticks] = [sliding.window, sliding.tick, sliding.ticks].map(|number| number as f64);
                ("rebate_charge_sliding", sliding.quota, 48, vec![window, tick, ticks, 0.0, grace])
            }
            Algorithm::Bucket(bucket) => {
                let [unit_parts, denominator, span, fraction] =
                    [bucket.unit_parts(), bucket.denominator, bucket.span.micros, bucket.span.fraction]
                        .map(|number| number as f64);
                let numbers = vec![unit_parts, denominator, span, fraction, 0.0, grace, 0.0];
                ("rebate_charge_bucket", bucket.burst, 56, numbers)
            }
            Algorithm::Log(entries) | Algorithm::Concurrency(entries) => {
                ("rebate_charge_entry", entries.quota, 32, vec![entries.span as f64, 0.0, grace])
            }
        };
        let mut item = Vec::with_capacity(24 + 8 * numbers.len());
        item.extend_from_slice(&shape);
        item.extend_from_slice(&(quota as f64).to_le_bytes());
        item.extend_from_slice(&[0; 8]);
        numbers.iter().for_each(|number| item.extend_from_slice(&number.to_le_bytes()));
        Prepared {
            limit: limit.clone(),
            shape,
            name: escaped(limit.name()),
            charge,
            item,
            fresh,
            written_at: AtomicU64::new(0),
        }
    }

    /// The item for a charge of `cost`. `fresh` becomes the identity of a window that it opens; `now` is the client's time,
    /// around which calendar windows are told; `original` is a key too long for its name.
    #[inline]
    pub(crate) fn item(
        &self,
        cost: u64,
        fresh: u64,
        now: impl FnOnce() -> u64,
        adopted: Option<&Adopted>,
        original: Option<&[u8]>,
    ) -> Vec<u8> {
        let further = original.map_or(0, <[u8]>::len) + if adopted.is_some() { 120 } else { 0 };
        let mut item = Vec::with_capacity(self.item.len() + further + 8 * BOUNDS);
        item.extend_from_slice(&self.item);
        item[self.fresh..self.fresh + 8].copy_from_slice(&fresh.to_le_bytes());
        item[COST..COST + 8].copy_from_slice(&number(cost));
        if let Algorithm::Fixed(Fixed { layout: Layout::Calendar(calendar), .. }) = self.limit.policy().algorithm() {
            bounds_around(calendar, now()).iter().for_each(|&bound| item.extend_from_slice(&number(bound)));
        }
        if let Some(adopted) = adopted {
            write_adopted(&mut item, adopted);
        }
        if let Some(original) = original {
            item.extend_from_slice(original);
        }
        item
    }

    /// Whether the limit is to be written down on the server again: once in a while, so that an operator finds it there even
    /// after the server lost its data.
    pub(crate) fn is_due(&self, now: u64) -> bool {
        const EVERY: u64 = 60_000_000;
        let written_at = self.written_at.load(Ordering::Relaxed);
        (written_at == 0 || now.abs_diff(written_at) >= EVERY)
            && self.written_at.compare_exchange(written_at, now.max(1), Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }
}

/// A number as the scripts read it; what a double cannot tell exactly is above every quota and every unit.
#[inline]
pub(crate) fn number(number: u64) -> [u8; 8] {
    (number.min(MAX_UNIT) as f64).to_le_bytes()
}

fn write_adopted(item: &mut Vec<u8>, adopted: &Adopted) {
    // Its length stands in the last of the numbers that are always there.
    let at = item.len() - 8;
    item[at..].copy_from_slice(&120f64.to_le_bytes());
    item.extend_from_slice(&adopted.old);
    let (tat, fraction, time, absent) = match adopted.level {
        Some((level, time)) => (level.tat.micros, level.tat.fraction, time, 0),
        None => (0, 0, 0, 1),
    };
    item.extend([tat, fraction, time, absent, adopted.remaining].into_iter().flat_map(number));
}

/// A digest of the algorithm, layout and window, then the letter of the algorithm and layout.
fn shape_of(limit: &Limit) -> Shape {
    let (letter, text) = match limit.policy().algorithm() {
        Algorithm::Fixed(fixed) => match &fixed.layout {
            Layout::Aligned(span) => (b'A', format!("aligned {span}")),
            Layout::FromFirst(span) => (b'F', format!("from first {span}")),
            Layout::Calendar(calendar) => (b'D', format!("{} in {}", calendar.unit, calendar.zone())),
        },
        Algorithm::Sliding(sliding) => (b'S', format!("sliding {}", sliding.window)),
        Algorithm::Bucket(bucket) => (b'B', format!("bucket {}", bucket.period)),
        Algorithm::Log(entries) => (b'L', format!("log {}", entries.span)),
        Algorithm::Concurrency(entries) => (b'C', format!("leases {}", entries.span)),
    };
    // The number is the state's version: state of another one is not continued.
    let digest = Sha256::digest(format!("rebate state 1: {text}"));
    // Read as a double: the letter stands in its highest byte, so that it is none of those that equal nothing.
    let mut shape = [letter; 8];
    shape[..7].copy_from_slice(&digest[..7]);
    shape
}

/// Where calendar windows begin around `now`.
fn bounds_around(calendar: &Calendar, now: u64) -> [u64; BOUNDS] {
    let (start, end) = calendar.bounds(now);
    let before = calendar.bounds(start.saturating_sub(1)).0;
    let next = calendar.bounds(end).1;
    [before.min(start), start, end, next, calendar.bounds(next).1]
}

/// The bucket whose units take so many parts of the denominator, and whose period is `period`, if there can be one.
pub(crate) fn bucket_of(burst: u64, unit_parts: u64, denominator: u64, period: u64) -> Option<Bucket> {
    let rate = (u128::from(period) * u128::from(denominator)).checked_div(u128::from(unit_parts))?;
    let rate = u64::try_from(rate).ok().filter(|&rate| rate > 0)?;
    let bucket = Bucket::new(burst, rate, period)?;
    ((bucket.unit_parts(), bucket.denominator) == (unit_parts, denominator)).then_some(bucket)
}
