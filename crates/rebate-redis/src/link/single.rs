//! Work that many wait for and one does.

use std::sync::{Mutex, PoisonError};

use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

/// At most one run of the work at a time. It runs in a task of its own, because those who wait for it may all give
/// up, and others come.
pub(super) struct Single<T>(Mutex<Option<watch::Receiver<Option<T>>>>);

impl<T: Clone + Send + Sync + 'static> Single<T> {
    pub(super) fn new() -> Single<T> {
        Single(Mutex::new(None))
    }

    /// The outcome of the run that is under way, or of a new one; `None` if there is none by the deadline.
    pub(super) async fn run<F>(&self, deadline: Instant, mut work: impl FnMut() -> F) -> Option<T>
    where
        F: Future<Output = T> + Send + 'static,
    {
        // The second, should the runtime that the first ran on be gone, is made on this one.
        for _ in 0..2 {
            let mut run = self.join(&mut work);
            let outcome = match timeout_at(deadline, run.wait_for(Option::is_some)).await {
                Ok(Ok(outcome)) => outcome.clone(),
                Ok(Err(_)) => continue,
                Err(_) => None,
            };
            if outcome.is_none() {
                // Perhaps it belongs to a runtime that does not run: the next to come shall begin afresh.
                let mut current = self.0.lock().unwrap_or_else(PoisonError::into_inner);
                if current.as_ref().is_some_and(|current| current.same_channel(&run)) {
                    *current = None;
                }
            }
            return outcome;
        }
        None
    }

    /// Begins a run, unless one is under way, and does not wait for it.
    pub(super) fn start<F>(&self, mut work: impl FnMut() -> F)
    where
        F: Future<Output = T> + Send + 'static,
    {
        self.join(&mut work);
    }

    fn join<F>(&self, work: &mut impl FnMut() -> F) -> watch::Receiver<Option<T>>
    where
        F: Future<Output = T> + Send + 'static,
    {
        let mut current = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(run) = current.as_ref() {
            // An error says that its task is gone.
            if run.borrow().is_none() && run.has_changed().is_ok() {
                return run.clone();
            }
        }
        let (sender, run) = watch::channel(None);
        *current = Some(run.clone());
        let work = work();
        tokio::spawn(async move {
            sender.send_replace(Some(work.await));
        });
        run
    }
}
