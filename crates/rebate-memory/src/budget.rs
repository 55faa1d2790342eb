//! The memory cap.

use rebate_core::Error;

use crate::sync::{AtomicUsize, Ordering};

/// Counts the bytes that a store holds against its cap.
///
/// The last sixteenth of the cap is kept for refunds, whose marks must find room when charges do not.
pub(crate) struct Budget {
    cap: usize,
    used: AtomicUsize,
}

impl Budget {
    pub(crate) fn new(cap: usize) -> Self {
        Budget { cap, used: AtomicUsize::new(0) }
    }

    pub(crate) fn cap(&self) -> usize {
        self.cap
    }

    pub(crate) fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// Takes `bytes` for a charge, if they are there.
    pub(crate) fn take(&self, bytes: usize) -> bool {
        self.take_below(bytes, self.cap - self.cap / 16)
    }

    /// Whether a refund may take `bytes`.
    pub(crate) fn has_reserve(&self, bytes: usize) -> bool {
        self.used().saturating_add(bytes) <= self.cap
    }

    /// Takes bytes that were asked for before.
    pub(crate) fn add(&self, bytes: usize) {
        self.used.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn give_back(&self, bytes: usize) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }

    #[cold]
    pub(crate) fn full(&self) -> Error {
        Error::full(format!(
            "the memory store is at its cap of {} bytes with counts that are still in force; nothing was changed",
            self.cap
        ))
    }

    fn take_below(&self, bytes: usize, most: usize) -> bool {
        let enough = |used: usize| used.checked_add(bytes).filter(|&used| used <= most);
        self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, enough).is_ok()
    }
}
