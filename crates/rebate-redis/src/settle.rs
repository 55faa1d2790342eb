//! Settling the true cost of a charge.

use rebate_core::engine::{self, MAX_ITEMS};
use rebate_core::{
    Denial, Error, Limit, LimitIndex, LimitRef, MAX_UNIT, Part, PartSettled, SettleReply, SettleRequest, Settled,
    Settlement, Shortfall, Statuses,
};
use redis::Value;
use smallvec::{SmallVec, smallvec};
use std::sync::Arc;

use crate::charge::{item, undecided, views};
use crate::item::{Adopted, Prepared, number};
use crate::keys::escaped;
use crate::link::Call;
use crate::shared::{Shared, bytes, part_argument, unreadable, whole_number};
use crate::view::{Said, View, adoption, identity_at, said, wholes};

const SETTLE: &str = "rebate_settle";
const ROUNDS: usize = 8;

/// One first part of the receipt.
struct First<'a> {
    part: &'a Part,
    /// The limit that a top-up is charged under: as the store's identity says.
    limit: Option<(Limit, LimitIndex, Arc<Prepared>)>,
    cost: u64,
    adopted: Option<Adopted>,
}

pub(crate) async fn settle(shared: &Shared, request: &SettleRequest<'_>) -> Result<SettleReply, Error> {
    let receipt = request.receipt;
    engine::check_receipt(&shared.identity, receipt)?;
    let (firsts, top_ups): (Vec<&Part>, Vec<&Part>) = receipt.parts().iter().partition(|part| part.tops_up.is_none());
    if firsts.is_empty() || firsts.len() != request.costs.len() {
        return Err(Error::invalid(format!(
            "{} true costs for a receipt of {} charged parts; give one for each",
            request.costs.len(),
            firsts.len()
        )));
    }
    let mut firsts = firsts
        .into_iter()
        .zip(request.costs)
        .map(|(part, &cost)| first(shared, part, cost))
        .collect::<Result<Vec<_>, Error>>()?;
    let mut around = None;
    for _ in 0..ROUNDS {
        let call = settle_call(shared, request, &firsts, &top_ups, around)?;
        let Value::Array(answer) = shared.link.call(call).await? else { return Err(unreadable(SETTLE)) };
        let [now, Value::BulkString(kind), rest @ ..] = answer.as_slice() else { return Err(unreadable(SETTLE)) };
        let now = whole_number(now).ok_or_else(|| unreadable(SETTLE))?;
        match kind.as_slice() {
            b"S" => return settled(shared, &firsts, rest, now).ok_or_else(|| unreadable(SETTLE)),
            b"D" => match denied(request, &mut firsts, rest, now).ok_or_else(|| unreadable(SETTLE))? {
                Some(denial) => {
                    return Ok(SettleReply { settlement: Settlement::Refused(denial), parts: SmallVec::new() });
                }
                None => continue,
            },
            b"B" => around = Some(now),
            b"U" => {
                return Err(Error::invalid(
                    "the receipt's limit is not known here, so it cannot be topped up; register the limit first",
                ));
            }
            b"M" => {
                return Err(Error::invalid(format!("a receipt of more than {MAX_ITEMS} parts; settle in fewer steps")));
            }
            _ => return Err(unreadable(SETTLE)),
        }
    }
    Err(undecided())
}

fn first<'a>(shared: &Shared, part: &'a Part, cost: u64) -> Result<First<'a>, Error> {
    let limit = shared.identity.to_top_up(&part.limit).map(|(limit, index)| {
        let prepared = shared.prepared(index, &limit);
        (limit, index, prepared)
    });
    Ok(First { part, limit, cost, adopted: None })
}

fn settle_call(
    shared: &Shared,
    request: &SettleRequest<'_>,
    firsts: &[First<'_>],
    top_ups: &[&Part],
    around: Option<u64>,
) -> Result<Call, Error> {
    let receipt = request.receipt;
    let takes_what_is_there = u64::from(request.shortfall == Shortfall::TakeWhatIsThere);
    let noted = u64::from(receipt.is_idempotent());
    let header = [receipt.charged_at().as_micros(), firsts.len() as u64, takes_what_is_there, shared.grace, noted];
    let header = header.map(number).concat();
    let mut call = Call {
        function: SETTLE,
        keys: SmallVec::new(),
        arguments: smallvec![shared.time(), header],
        reads_only: false,
        // A top-up is known by the receipt's identity: settling again charges nothing more.
        repeatable: true,
    };
    for First { part, cost, .. } in firsts {
        call.keys.push(shared.count_of(part)?);
        // The known part of a refund's total is the part given back; the true cost stands last.
        let mut argument = part_argument(part.instance, part.last, part.cost, part.refunded, *cost);
        argument.extend_from_slice(&(cost.saturating_sub(MAX_UNIT) as f64).to_le_bytes());
        call.arguments.push(argument);
    }
    for First { part, limit, adopted, .. } in firsts {
        call.arguments.push(match limit {
            None => Vec::new(),
            Some((_, _, prepared)) => {
                let original = shared.count(prepared, part.key()).original;
                item(shared, prepared, 0, around, adopted.as_ref(), original.as_deref())
            }
        });
    }
    for First { limit, .. } in firsts {
        let policy = limit.as_ref().map(|(limit, ..)| limit.policy().to_string());
        call.arguments.push(policy.unwrap_or_default().into_bytes());
    }
    for part in top_ups {
        let at = u64::from(part.tops_up.unwrap_or_default()) + 1;
        let mut argument = number(at).to_vec();
        argument.extend_from_slice(&part.instance.to_le_bytes());
        argument.extend([part.last, part.cost, part.refunded].into_iter().flat_map(number));
        call.arguments.push(argument);
        let policy = shared.limit_of(part).map(|(limit, _)| limit.policy().to_string());
        call.arguments.push(policy.unwrap_or_default().into_bytes());
    }
    let home = firsts[0].part;
    call.keys.push(shared.names.top_ups(&escaped(shared.limit_name(home)?), home.key()));
    call.keys.extend(shared.note_of(receipt));
    let limits = firsts.iter().map(|first| first.limit.as_ref().map(|(limit, ..)| limit));
    shared.name_helpers(&mut call, limits.enumerate());
    Ok(call)
}

/// The denial of a top-up; [`None`] within where it is to be tried again, with levels that core has adopted.
fn denied(request: &SettleRequest<'_>, firsts: &mut [First<'_>], lines: &[Value], now: u64) -> Option<Option<Denial>> {
    let (mut statuses, mut is_denied, mut adopts) = (Statuses::new(), false, false);
    for line in lines.chunks_exact(2) {
        let [number, cost] = wholes(bytes(&line[0])?, 0)?;
        let view: Option<View> = View::read(bytes(&line[1])?)?;
        let at = usize::try_from(number).ok()?.checked_sub(1)?;
        let first = firsts.get_mut(at)?;
        let (limit, _, prepared) = first.limit.as_ref()?;
        if let Some(adopted) = adoption(view.as_ref(), limit, &prepared.shape, now) {
            let is_new = first.adopted.as_ref().is_none_or(|known| known.old != adopted.old);
            // What remains was not known to the server yet, so its cost is not the one to decide on.
            if is_new && request.shortfall == Shortfall::TakeWhatIsThere {
                first.adopted = Some(adopted);
                adopts = true;
                continue;
            }
            first.adopted = Some(adopted);
        }
        statuses.push(match said(view.as_ref(), limit, &prepared.shape, cost, now) {
            Said::Denied(retry, status) => {
                is_denied = true;
                status.of_item(at, Some(retry))
            }
            Said::Fits(status) => status.of_item(at, None),
        });
    }
    Some((is_denied && !adopts).then(|| Denial::new(statuses)))
}

fn settled(shared: &Shared, firsts: &[First<'_>], answer: &[Value], now: u64) -> Option<SettleReply> {
    let count = firsts.len();
    let (numbers, rest) = answer.split_at_checked(count)?;
    let (states, rest) = rest.split_at_checked(count)?;
    let (refunded, top_ups) = rest.split_at_checked(count)?;
    let states = views(states, count)?;
    let (mut settled, mut parts) = (SmallVec::new(), SmallVec::<[Part; 1]>::new());
    for (at, first) in firsts.iter().enumerate() {
        let [topped_up, given_back, shortfall, expired] = wholes(bytes(&numbers[at])?, 0)?;
        settled.push(PartSettled {
            topped_up,
            given_back,
            // The server was told no more than a double holds.
            shortfall: shortfall.saturating_add(first.cost.saturating_sub(MAX_UNIT)),
            expired: expired == 1,
            status: shared.status_of_part(first.part, states[at].as_ref(), now).map(|status| status.of_item(at, None)),
        });
        let [refunded] = wholes(bytes(&refunded[at])?, 0)?;
        parts.push(Part { refunded, ..first.part.clone() });
    }
    for top_up in top_ups.chunks_exact(2) {
        let (top_up, policy) = (bytes(&top_up[0])?, bytes(&top_up[1])?);
        let [number] = wholes(top_up, 0)?;
        let [last, cost, refunded] = wholes(top_up, 16)?;
        let at = usize::try_from(number).ok()?.checked_sub(1)?;
        let first = firsts.get(at)?;
        parts.push(Part {
            limit: limit_with(shared, first, policy),
            key: first.part.key.clone(),
            cost,
            instance: identity_at(top_up, 8)?,
            last,
            refunded,
            tops_up: Some(at as u16),
        });
    }
    Some(SettleReply { settlement: Settlement::Settled(Settled { parts: settled }), parts })
}

/// The limit that a top-up was charged under, by its policy's text: of those under the name, which may have been replaced
/// since.
fn limit_with(shared: &Shared, first: &First<'_>, policy: &[u8]) -> LimitRef {
    let Some((latest, index, _)) = &first.limit else { return first.part.limit.clone() };
    let is_it = |limit: &Limit| limit.policy().to_string().as_bytes() == policy;
    if is_it(latest) {
        return LimitRef::Index(index.limit);
    }
    let known = (0..).map_while(|number| shared.identity.limit(number).map(|limit| (number, limit)));
    let found = known.filter(|(_, limit)| limit.name() == latest.name()).find(|(_, limit)| is_it(limit));
    LimitRef::Index(found.map_or(index.limit, |(number, _)| number))
}
