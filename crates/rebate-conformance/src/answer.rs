//! Answers in one form, so that those of a store and of the model can be compared.

use rebate_core::{
    Decision, Denial, Error, Identity, Key, Lease, LimitRef, PartRenewal, Receipt, Refund, Renewal, Retry, Settlement,
    Status, Timestamp,
};

/// All that an answer tells, but for random numbers and wording.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// A charge was admitted.
    Allowed(ShownReceipt),
    /// A charge or a settlement was denied.
    Denied {
        /// One for each limit.
        statuses: Vec<ShownStatus>,
        /// When to try again.
        retry: Retry,
    },
    /// What became of each part of a refund.
    Refunded(Vec<ShownRefund>),
    /// What became of each part of a settlement, and the receipt after it.
    Settled(Vec<ShownSettled>, ShownReceipt),
    /// What became of each part of a renewal.
    Renewed(Vec<PartRenewal>),
    /// Statuses that were looked at.
    Peeked(Vec<ShownStatus>),
    /// Whether there was something to reset.
    Reset(bool),
    /// The keys that have a count, in order.
    Listed(Vec<(Who, ShownStatus)>),
    /// The leases of a key, and the receipts told of them.
    Leased(Vec<ShownLease>),
    /// An error.
    Failed(Failure),
    /// The operation had nothing to act on, or only moved the clock.
    Nothing,
}

/// A key's group and bytes.
pub type Who = (Option<Vec<u8>>, Vec<u8>);

/// What kind of error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// [`Error::is_invalid`].
    Invalid,
    /// [`Error::is_conflict`].
    Conflict,
    /// Any other.
    Other,
}

/// What a status tells.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "as in Status")]
pub struct ShownStatus {
    pub item: usize,
    pub quota: u64,
    pub remaining: u64,
    pub reset: u64,
    pub denied: Option<Retry>,
}

/// What a receipt tells.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "as in Receipt")]
pub struct ShownReceipt {
    pub parts: Vec<ShownPart>,
    pub charged_at: Timestamp,
    pub replay: bool,
    pub idempotent: bool,
    pub statuses: Vec<ShownStatus>,
}

/// What a receipt's part tells.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "as in Part")]
pub struct ShownPart {
    pub limit: String,
    pub key: Who,
    pub cost: u64,
    pub refunded: u64,
    pub tops_up: Option<u16>,
}

/// What the refund of a part tells.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "as in PartRefund")]
pub struct ShownRefund {
    pub given_back: u64,
    pub in_all: u64,
    pub expired: bool,
    pub status: Option<ShownStatus>,
}

/// What the settlement of a part tells.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "as in PartSettled")]
pub struct ShownSettled {
    pub topped_up: u64,
    pub given_back: u64,
    pub shortfall: u64,
    pub expired: bool,
    pub status: Option<ShownStatus>,
}

/// What a lease tells.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "as in Lease")]
pub struct ShownLease {
    pub receipt: ShownReceipt,
    pub units: u64,
    pub until: Timestamp,
}

pub(crate) fn who(key: &Key) -> Who {
    let key = key.as_ref();
    (key.group().map(<[u8]>::to_vec), key.bytes().to_vec())
}

pub(crate) fn failed(error: &Error) -> Answer {
    Answer::Failed(match () {
        () if error.is_invalid() => Failure::Invalid,
        () if error.is_conflict() => Failure::Conflict,
        () => Failure::Other,
    })
}

pub(crate) fn receipt(identity: &Identity, receipt: &Receipt) -> ShownReceipt {
    let name = |limit: &LimitRef| match limit {
        LimitRef::Index(index) => identity.limit(*index).map_or(String::new(), |limit| limit.name().to_owned()),
        LimitRef::Name(name) => name.to_string(),
    };
    let parts = receipt.parts().iter().map(|part| ShownPart {
        limit: name(&part.limit),
        key: who(&part.key),
        cost: part.cost,
        refunded: part.refunded,
        tops_up: part.tops_up,
    });
    ShownReceipt {
        parts: parts.collect(),
        charged_at: receipt.charged_at(),
        replay: receipt.is_replay(),
        idempotent: receipt.is_idempotent(),
        statuses: statuses(receipt.statuses()),
    }
}

pub(crate) fn decision(identity: &Identity, decision: &Decision) -> Answer {
    match decision {
        Decision::Allowed(allowed) => Answer::Allowed(receipt(identity, allowed)),
        Decision::Denied(denial) => denied(denial),
        Decision::Unchecked(unchecked) => failed(unchecked.error()),
    }
}

pub(crate) fn refund(refund: &Refund) -> Answer {
    let shown = |part: &rebate_core::PartRefund| ShownRefund {
        given_back: part.given_back,
        in_all: part.in_all,
        expired: part.expired,
        status: part.status.as_ref().map(status),
    };
    Answer::Refunded(refund.parts.iter().map(shown).collect())
}

/// `settled` is the receipt after it.
pub(crate) fn settlement(identity: &Identity, settlement: &Settlement, settled: &Receipt) -> Answer {
    match settlement {
        Settlement::Refused(denial) => denied(denial),
        Settlement::Settled(done) => {
            let shown = |part: &rebate_core::PartSettled| ShownSettled {
                topped_up: part.topped_up,
                given_back: part.given_back,
                shortfall: part.shortfall,
                expired: part.expired,
                status: part.status.as_ref().map(status),
            };
            // Its statuses are those of its charge still.
            let settled = ShownReceipt { statuses: Vec::new(), ..receipt(identity, settled) };
            Answer::Settled(done.parts.iter().map(shown).collect(), settled)
        }
    }
}

pub(crate) fn renewal(renewal: &Renewal) -> Answer {
    Answer::Renewed(renewal.parts.to_vec())
}

pub(crate) fn leases(identity: &Identity, leases: &[Lease]) -> Answer {
    let shown = |lease: &Lease| ShownLease {
        receipt: receipt(identity, &lease.receipt),
        units: lease.units,
        until: lease.until,
    };
    Answer::Leased(leases.iter().map(shown).collect())
}

pub(crate) fn statuses(statuses: &[Status]) -> Vec<ShownStatus> {
    statuses.iter().map(status).collect()
}

pub(crate) fn status(status: &Status) -> ShownStatus {
    ShownStatus {
        item: status.item(),
        quota: status.quota(),
        remaining: status.remaining(),
        reset: status.reset_after().as_micros() as u64,
        denied: status.denied(),
    }
}

fn denied(denial: &Denial) -> Answer {
    Answer::Denied { statuses: statuses(denial.statuses()), retry: denial.retry() }
}
