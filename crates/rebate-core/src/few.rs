//! Up to three of something, in place, or any number of them on the heap.

use std::ops::Deref;

use smallvec::SmallVec;

/// What a denial holds of statuses: nearly always one, or one for each of two or three limits, which take no
/// more room than a receipt.
///
/// Not a `SmallVec`, which takes its inline items as an array that is complete elsewhere and then moved
/// in: this one is built, word by word, in the answer that a charge returns, and dropped by a look
/// at its tag.
#[derive(Clone)]
pub(crate) enum Few<T> {
    One([T; 1]),
    Two([T; 2]),
    Three([T; 3]),
    Many(Box<[T]>),
}

impl<T> Few<T> {
    #[inline(always)]
    pub(crate) fn one(item: T) -> Self {
        Few::One([item])
    }

    /// `count` items, told by their places, each written where it stays.
    #[inline(always)]
    pub(crate) fn of(count: usize, mut item: impl FnMut(usize) -> T) -> Self {
        match count {
            1 => Few::One([item(0)]),
            2 => Few::Two([item(0), item(1)]),
            3 => Few::Three([item(0), item(1), item(2)]),
            _ => Few::Many((0..count).map(item).collect()),
        }
    }

    pub(crate) fn none() -> Self {
        Few::Many(Box::default())
    }
}

impl<T> From<SmallVec<[T; 1]>> for Few<T> {
    fn from(items: SmallVec<[T; 1]>) -> Self {
        match items.into_inner() {
            Ok(one) => Few::One(one),
            Err(items) => Few::Many(items.into_vec().into()),
        }
    }
}

impl<T> Deref for Few<T> {
    type Target = [T];

    #[inline]
    fn deref(&self) -> &[T] {
        match self {
            Few::One(one) => one,
            Few::Two(two) => two,
            Few::Three(three) => three,
            Few::Many(many) => many,
        }
    }
}

impl<T: std::fmt::Debug> std::fmt::Debug for Few<T> {
    /// As a list, however it is held.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        (**self).fmt(f)
    }
}
