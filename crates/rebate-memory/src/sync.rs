//! The locks and atomics of the store, in one place: under `--cfg shuttle` they are shuttle's, which
//! tries the interleavings of the real locking code.

#[cfg(not(shuttle))]
mod real {
    pub(crate) use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
    pub(crate) use std::thread::yield_now;
}

#[cfg(shuttle)]
mod real {
    pub(crate) use shuttle::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
    pub(crate) use shuttle::thread::yield_now;
}

use parking_lot::lock_api;

use real::{AtomicBool, yield_now};
pub(crate) use real::{AtomicUsize, Ordering};

/// A shard's lock.
pub(crate) type Mutex<T> = lock_api::Mutex<Brief, T>;
/// A shard's lock, held.
pub(crate) type MutexGuard<'a, T> = lock_api::MutexGuard<'a, Brief, T>;

/// A lock for sections of some nanoseconds: one atomic exchange to lock, a plain store to unlock.
///
/// A lock that parks those who wait must look for them when it is unlocked, by a second exchange:
/// with `parking_lot::RawMutex` here a charge of a hot key takes 1.2 times as long. Who waits spins
/// a little, then yields its time slice to whoever holds the lock. The longest section is the growth of one
/// shard's table.
pub(crate) struct Brief {
    locked: AtomicBool,
}

/// How often a waiter looks at the lock before it yields.
const SPINS: u32 = 64;

// SAFETY: `lock` and `try_lock` return (true) only after an exchange that found the lock free and took
// it, so one holder exists at a time; the acquire of that exchange sees all that the release of the
// last `unlock` published. Shuttle tries its interleavings, and Miri runs it.
#[allow(unsafe_code)]
unsafe impl lock_api::RawMutex for Brief {
    const INIT: Self = Brief { locked: AtomicBool::new(false) };

    type GuardMarker = lock_api::GuardSend;

    #[inline]
    fn lock(&self) {
        if !self.try_lock() {
            self.wait();
        }
    }

    #[inline]
    fn try_lock(&self) -> bool {
        !self.locked.swap(true, Ordering::Acquire)
    }

    #[inline]
    unsafe fn unlock(&self) {
        self.locked.store(false, Ordering::Release);
    }
}

impl Brief {
    #[cold]
    fn wait(&self) {
        use lock_api::RawMutex;
        loop {
            for _ in 0..SPINS {
                if !self.locked.load(Ordering::Relaxed) && self.try_lock() {
                    return;
                }
                std::hint::spin_loop();
            }
            yield_now();
        }
    }
}
