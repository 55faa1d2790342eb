//! Units that are given back with nobody left to be told whether that was done.

use rebate_core::{Error, Receipt};

use crate::shared::Shared;

/// Units that are to be given back. Whatever keeps them from it, an error or a runtime that has ended, is said in the log.
pub(crate) struct Owing {
    store: String,
    /// `None` where several were charged, or its name is not at hand.
    limit: Option<String>,
    units: u64,
    answered: bool,
}

impl Owing {
    pub(crate) fn new(shared: &Shared, units: u64) -> Self {
        Owing { store: shared.identity.name().to_owned(), limit: None, units, answered: false }
    }

    /// What a receipt still holds.
    pub(crate) fn of(shared: &Shared, receipt: &Receipt) -> Self {
        let limit = match receipt.parts() {
            [part] => shared.limit_name(part).ok().map(str::to_owned),
            _ => None,
        };
        let units = receipt.cost().saturating_sub(receipt.refunded());
        let mut owing = Owing::new(shared, units);
        owing.limit = limit;
        owing
    }

    /// What became of it.
    pub(crate) fn answered<T>(mut self, answer: Result<T, Error>) {
        self.answered = true;
        if let Err(error) = answer {
            tracing::error!(
                store = self.store,
                limit = self.limit,
                units = self.units,
                %error,
                may_have_happened = error.may_have_happened(),
                "units that nobody holds any more were not given back"
            );
        }
    }
}

impl Drop for Owing {
    fn drop(&mut self) {
        if !self.answered {
            tracing::error!(
                store = self.store,
                limit = self.limit,
                units = self.units,
                "units that nobody holds any more were not given back: no tokio runtime is there, or it has ended"
            );
        }
    }
}
