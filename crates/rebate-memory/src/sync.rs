//! The locks and atomics of the store, in one place: under `--cfg shuttle` they are shuttle's, which
//! tries the interleavings of the real locking code.

#[cfg(not(shuttle))]
mod real {
    pub(crate) use parking_lot::{Mutex, MutexGuard};
    pub(crate) use std::sync::atomic::{AtomicUsize, Ordering};
}

#[cfg(shuttle)]
mod real {
    pub(crate) use shuttle::sync::MutexGuard;
    pub(crate) use shuttle::sync::atomic::{AtomicUsize, Ordering};

    pub(crate) struct Mutex<T>(shuttle::sync::Mutex<T>);

    impl<T> Mutex<T> {
        pub(crate) fn new(value: T) -> Self {
            Mutex(shuttle::sync::Mutex::new(value))
        }

        pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
            self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
        }
    }
}

pub(crate) use real::{AtomicUsize, Mutex, MutexGuard, Ordering};
