//! Charges whose caller has gone: a dropped future's answer is awaited elsewhere, and what it charged is given back.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use rebate_core::Error;
use redis::Value;

use crate::owing::Owing;
use crate::shared::Shared;

/// A call under way.
type Pending = Pin<Box<dyn Future<Output = Result<Value, Error>> + Send>>;

/// What an admitted charge took, by the server's keys.
pub(crate) struct Owed {
    pub(crate) count: Vec<u8>,
    pub(crate) cost: u64,
}

/// A charge under way. Dropped before its answer came, it goes on by itself and is given back: nobody else can.
pub(crate) struct Charging<'a, O: Fn() -> Vec<Owed>> {
    shared: &'a Arc<Shared>,
    pending: Option<Pending>,
    /// What to give back. Asked for only when the caller has gone.
    owed: O,
}

impl<'a, O: Fn() -> Vec<Owed>> Charging<'a, O> {
    pub(crate) fn new(
        shared: &'a Arc<Shared>,
        pending: impl Future<Output = Result<Value, Error>> + Send + 'static,
        owed: O,
    ) -> Self {
        Charging { shared, pending: Some(Box::pin(pending)), owed }
    }
}

impl<O: Fn() -> Vec<Owed> + Unpin> Future for Charging<'_, O> {
    type Output = Result<Value, Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(pending) = &mut self.pending else { return Poll::Pending };
        let answer = std::task::ready!(pending.as_mut().poll(context));
        self.pending = None;
        Poll::Ready(answer)
    }
}

impl<O: Fn() -> Vec<Owed>> Drop for Charging<'_, O> {
    fn drop(&mut self) {
        let Some(pending) = self.pending.take() else { return };
        let (shared, owed) = (Arc::clone(self.shared), (self.owed)());
        let owing = Owing::new(&shared, owed.iter().map(|owed| owed.cost).fold(0, u64::saturating_add));
        let Some(runtime) = shared.runtime() else { return };
        runtime.spawn(async move {
            owing.answered(match pending.await {
                Ok(answer) => shared.give_back_answer(&answer, &owed).await,
                Err(error) if error.may_have_happened() => Err(error),
                Err(_) => Ok(()),
            });
        });
    }
}
