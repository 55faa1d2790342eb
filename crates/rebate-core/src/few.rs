//! One of something, in place, or any number of them on the heap.

use std::ops::{Deref, DerefMut};

use smallvec::SmallVec;

/// What an answer holds of parts or statuses: nearly always one.
///
/// Not a `SmallVec`, which takes its inline items as an array that is complete elsewhere and then moved
/// in: this one is built, word by word, in the answer that a charge returns, and dropped by a look
/// at its tag.
#[derive(Clone)]
pub(crate) enum Few<T> {
    One([T; 1]),
    Many(Box<[T]>),
}

impl<T> Few<T> {
    #[inline(always)]
    pub(crate) fn one(item: T) -> Self {
        Few::One([item])
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
            Few::Many(many) => many,
        }
    }
}

impl<T> DerefMut for Few<T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut [T] {
        match self {
            Few::One(one) => one,
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
