//! Refunding, and renewing leases.

use rebate_core::engine;
use rebate_core::{Error, Limit, Part, PartRefund, PartRenewal, Receipt, Refund, RefundRequest, Renewal};
use redis::Value;
use smallvec::{SmallVec, smallvec};

use crate::charge::views;
use crate::item::number;
use crate::link::Call;
use crate::shared::{Shared, part_argument, timestamp, unreadable, whole_number};

const REFUND: &str = "rebate_refund";
const RENEW: &str = "rebate_renew";

pub(crate) async fn refund(shared: &Shared, request: &RefundRequest<'_>) -> Result<Refund, Error> {
    let receipt = request.receipt;
    engine::check_receipt(&shared.identity, receipt)?;
    let parts = receipt.parts();
    if request.totals.len() != parts.len() {
        return Err(Error::invalid(format!(
            "{} totals for a receipt of {} parts; give one for each",
            request.totals.len(),
            parts.len()
        )));
    }
    let mut call = Call {
        function: REFUND,
        keys: SmallVec::with_capacity(parts.len()),
        arguments: smallvec![shared.time(), if receipt.is_idempotent() { b"1".to_vec() } else { Vec::new() }],
        reads_only: false,
        // It names absolute totals: once more changes nothing.
        repeatable: true,
    };
    for (part, &total) in parts.iter().zip(request.totals) {
        call.keys.push(shared.count_of(part)?);
        call.arguments.push(part_argument(part.instance, part.last, part.cost, total, part.refunded));
    }
    call.keys.extend(shared.note_of(receipt));
    shared.name_helpers(&mut call, limits_of(shared, parts.iter()));
    let answer = shared.link.call(call).await?;
    read_refund(shared, receipt, &answer).ok_or_else(|| unreadable(REFUND))
}

/// The limits of the parts whose counts are a call's first keys.
fn limits_of<'a>(
    shared: &'a Shared,
    parts: impl Iterator<Item = &'a Part>,
) -> impl Iterator<Item = (usize, Option<&'a Limit>)> {
    parts.map(|part| shared.limit_of(part).map(|(limit, _)| limit)).enumerate()
}

fn read_refund(shared: &Shared, receipt: &Receipt, answer: &Value) -> Option<Refund> {
    let Value::Array(answer) = answer else { return None };
    let (now, rest) = answer.split_first()?;
    let now = whole_number(now)?;
    let (numbers, states) = rest.split_at_checked(3 * receipt.parts().len())?;
    let views = views(states, receipt.parts().len())?;
    let mut parts = SmallVec::new();
    for (at, ((part, numbers), view)) in receipt.parts().iter().zip(numbers.chunks_exact(3)).zip(&views).enumerate() {
        parts.push(PartRefund {
            given_back: whole_number(&numbers[0])?,
            in_all: whole_number(&numbers[1])?,
            expired: whole_number(&numbers[2])? == 1,
            status: shared.status_of_part(part, view.as_ref(), now).map(|status| status.of_item(at, None)),
        });
    }
    Some(Refund { parts })
}

pub(crate) async fn renew(shared: &Shared, receipt: &Receipt) -> Result<Renewal, Error> {
    engine::check_receipt(&shared.identity, receipt)?;
    // By the limit that the receipt names, where it is known here; else the count tells whether it is one of leases.
    let known: Vec<Option<bool>> = receipt
        .parts()
        .iter()
        .map(|part| shared.limit_of(part).map(|(limit, _)| limit.policy().is_concurrency()))
        .collect();
    let mut call = Call {
        function: RENEW,
        keys: SmallVec::new(),
        arguments: smallvec![shared.time(), shared.grace.to_string().into_bytes()],
        reads_only: false,
        repeatable: true,
    };
    for (part, _) in receipt.parts().iter().zip(&known).filter(|(_, known)| **known != Some(false)) {
        call.keys.push(shared.count_of(part)?);
        let mut argument = part.instance.to_le_bytes().to_vec();
        argument.extend([part.last, part.cost].into_iter().flat_map(number));
        call.arguments.push(argument);
    }
    let asked = receipt.parts().iter().zip(&known).filter(|(_, known)| **known != Some(false)).map(|(part, _)| part);
    shared.name_helpers(&mut call, limits_of(shared, asked));
    if call.keys.is_empty() {
        return Ok(Renewal { parts: known.iter().map(|_| PartRenewal::NotALease).collect() });
    }
    let Value::Array(ends) = shared.link.call(call).await? else { return Err(unreadable(RENEW)) };
    let mut ends = ends.into_iter();
    let mut parts = SmallVec::new();
    for known in known {
        if known == Some(false) {
            parts.push(PartRenewal::NotALease);
            continue;
        }
        parts.push(match ends.next() {
            Some(Value::Int(-1)) if known.is_none() => PartRenewal::NotALease,
            Some(Value::Int(end)) if end > 0 => PartRenewal::Until(timestamp(end as u64)),
            Some(Value::Int(_)) => PartRenewal::Expired,
            _ => return Err(unreadable(RENEW)),
        });
    }
    Ok(Renewal { parts })
}
