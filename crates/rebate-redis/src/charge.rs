//! Charging: one call of the server for one limit or for several.

use std::sync::Arc;

use rebate_core::engine::{self, Line, Lines};
use rebate_core::{
    ChargeRequest, Decision, Denial, Error, Idempotency, IdempotencyNote, Key, KeyRef, LimitRef, Part, Receipt, Status,
    Statuses,
};
use redis::Value;
use smallvec::{SmallVec, smallvec};

use crate::item::{Adopted, Prepared, number};
use crate::late::{Charging, Owed};
use crate::link::Call;
use crate::shared::{Shared, bytes, timestamp, unreadable, whole_number};
use crate::view::{Said, State, View, adoption, denied, headers, identity_at, said, status, wholes};

/// How often a charge is sent again that the server answered without deciding it: for calendar windows around another time
/// than the client's, or for a bucket's level at another rate. Each is over with one more call, unless others interfere.
const ROUNDS: usize = 8;

pub(crate) async fn charge(shared: &Arc<Shared>, request: &ChargeRequest<'_>) -> Result<Decision, Error> {
    engine::check_items(request.items)?;
    let lines = engine::sum(&shared.identity, request.items)?;
    let reserved = request
        .reserved
        .map(|within| engine::check_reserved(within, timestamp(shared.about_now())).map(|_| within.as_micros() as u64));
    let reserved = reserved.transpose()?;
    match (lines.as_slice(), &request.idempotency) {
        ([line], None) if reserved.is_none() => charge_one(shared, line).await,
        (_, idempotency) => {
            let once = match idempotency {
                Some(once) => {
                    engine::check_idempotency(once, request.items)?;
                    Some((once, request.items[once.scope].key))
                }
                None => None,
            };
            if shared.link.is_cluster() {
                check_groups(&lines)?;
            }
            charge_several(shared, &lines, once, reserved).await
        }
    }
}

async fn charge_one(shared: &Arc<Shared>, line: &Line<'_>) -> Result<Decision, Error> {
    let prepared = shared.prepared(line.index, line.limit);
    shared.write_down(&prepared);
    shared.note_runtime();
    let (mut around, mut adopted) = (None, None);
    for _ in 0..ROUNDS {
        let count = shared.count(&prepared, line.place.key);
        let item = item(shared, &prepared, line.cost, around, adopted.as_ref(), count.original.as_deref());
        let mut arguments = smallvec![item];
        if shared.clock.is_some() {
            arguments.push(shared.time());
        }
        let mut call = Call {
            function: prepared.charge,
            keys: smallvec![count.name],
            arguments,
            reads_only: false,
            repeatable: false,
        };
        shared.name_helpers(&mut call, std::iter::once((0, Some(line.limit))));
        let owed = || vec![Owed { count: shared.count(&prepared, line.place.key).name, cost: line.cost }];
        let answer = Charging::new(shared, shared.link.call(call), owed).await?;
        match &answer {
            Value::BulkString(answer) => match denied(answer) {
                None => {
                    return admitted_one(shared, &prepared, line, answer).ok_or_else(|| unreadable(prepared.charge));
                }
                Some((now, state)) => {
                    let view = View::read(state).flatten();
                    match said(view.as_ref(), line.limit, &prepared.shape, line.cost, now) {
                        Said::Denied(retry, status) => {
                            return Ok(Decision::Denied(Denial::of_one(status.of_item(line.item, Some(retry)))));
                        }
                        Said::Fits(_) => adopted = adoption(view.as_ref(), line.limit, &prepared.shape, now),
                    }
                }
            },
            Value::Array(parts) if parts.len() == 1 => around = whole_number(&parts[0]),
            _ => return Err(unreadable(prepared.charge)),
        }
    }
    Err(undecided())
}

fn admitted_one(shared: &Shared, prepared: &Prepared, line: &Line<'_>, state: &[u8]) -> Option<Decision> {
    let view = View::read(state)??;
    let now = match view.state {
        // A log's own time may be ahead of the clock, which is then told behind.
        State::Entries(_) if state.len() == 112 => wholes::<1>(state, 104)?[0],
        _ => view.charged_at,
    };
    let status = status(Some(&view), line.limit, &prepared.shape, now).of_item(line.item, None);
    let part = part_of(line, &view);
    Some(Decision::Allowed(Receipt::of_one(shared.identity.tag(), timestamp(now), part, status)))
}

async fn charge_several(
    shared: &Arc<Shared>,
    lines: &Lines<'_>,
    once: Option<(&Idempotency<'_>, KeyRef<'_>)>,
    reserved: Option<u64>,
) -> Result<Decision, Error> {
    let prepared: SmallVec<[Arc<Prepared>; 4]> =
        lines.iter().map(|line| shared.prepared(line.index, line.limit)).collect();
    prepared.iter().for_each(|prepared| shared.write_down(prepared));
    shared.note_runtime();
    // Tells this call's second sending, after an answer that was lost, from another call.
    let own = shared.fresh().to_le_bytes();
    let mut around = None;
    let mut adopted: Vec<Option<Adopted>> = lines.iter().map(|_| None).collect();
    for _ in 0..ROUNDS {
        let mut keys: SmallVec<[Vec<u8>; 1]> = SmallVec::with_capacity(lines.len() + 1);
        let mut arguments: SmallVec<[Vec<u8>; 2]> = SmallVec::with_capacity(lines.len() + 2);
        for ((line, prepared), adopted) in lines.iter().zip(&prepared).zip(&adopted) {
            let count = shared.count(prepared, line.place.key);
            arguments.push(item(shared, prepared, line.cost, around, adopted.as_ref(), count.original.as_deref()));
            keys.push(count.name);
        }
        if let Some((once, scope)) = once {
            keys.push(shared.names.note(scope, once.key));
            let lifetime = once.lifetime.as_micros() as u64;
            arguments.push([number(lifetime), number(shared.grace), own].concat());
        }
        if let Some(within) = reserved {
            if once.is_none() {
                arguments.push(Vec::new());
            }
            arguments.push(within.to_string().into_bytes());
        }
        arguments.push(shared.time());
        let function = match (reserved, once) {
            (Some(_), _) => "rebate_reserve",
            (None, Some(_)) => "rebate_charge_once",
            (None, None) => "rebate_charge_several",
        };
        let repeatable = once.is_some();
        let mut call = Call { function, keys, arguments, reads_only: false, repeatable };
        shared.name_helpers(&mut call, lines.iter().map(|line| Some(line.limit)).enumerate());
        // A retry finds the charge that bears an idempotency key; any other is given back when its caller has gone.
        let answer = if repeatable {
            shared.link.call(call).await?
        } else {
            let owed = || {
                let owed = |(line, prepared): (&Line<'_>, &Arc<Prepared>)| Owed {
                    count: shared.count(prepared, line.place.key).name,
                    cost: line.cost,
                };
                lines.iter().zip(&prepared).map(owed).collect()
            };
            Charging::new(shared, shared.link.call(call), owed).await?
        };
        let answer = match answer {
            Value::BulkString(states) => {
                let receipt = admitted(shared, &prepared, lines, &states).ok_or_else(|| unreadable(function))?;
                return Ok(Decision::Allowed(noted(receipt, once, false)));
            }
            Value::Array(answer) => answer,
            _ => return Err(unreadable(function)),
        };
        let [now, Value::BulkString(kind), rest @ ..] = answer.as_slice() else { return Err(unreadable(function)) };
        let now = whole_number(now).ok_or_else(|| unreadable(function))?;
        match kind.as_slice() {
            b"R" | b"O" => {
                let receipt = replayed(shared, &prepared, lines, rest, now).ok_or_else(|| unreadable(function))?;
                return Ok(Decision::Allowed(noted(receipt, once, kind == b"R")));
            }
            b"D" => {
                let views = views(rest, lines.len()).ok_or_else(|| unreadable(function))?;
                let mut statuses = Statuses::new();
                let mut denied = false;
                for ((line, prepared), view) in lines.iter().zip(&prepared).zip(&views) {
                    statuses.push(match said(view.as_ref(), line.limit, &prepared.shape, line.cost, now) {
                        Said::Denied(retry, status) => {
                            denied = true;
                            status.of_item(line.item, Some(retry))
                        }
                        Said::Fits(status) => status.of_item(line.item, None),
                    });
                }
                if denied {
                    return Ok(Decision::Denied(Denial::new(statuses)));
                }
                for (at, (line, prepared)) in lines.iter().zip(&prepared).enumerate() {
                    adopted[at] = adoption(views[at].as_ref(), line.limit, &prepared.shape, now);
                }
            }
            b"B" => around = Some(now),
            b"X" => {
                return Err(Error::conflict(
                    "the idempotency key has billed a charge of other limits, keys or costs; use a new one",
                ));
            }
            _ => return Err(unreadable(function)),
        }
    }
    Err(undecided())
}

/// The item of a charge, its calendar windows told around a time that the server has said, or the client's.
pub(crate) fn item(
    shared: &Shared,
    prepared: &Prepared,
    cost: u64,
    around: Option<u64>,
    adopted: Option<&Adopted>,
    original: Option<&[u8]>,
) -> Vec<u8> {
    prepared.item(cost, shared.fresh(), || around.unwrap_or_else(|| shared.about_now()), adopted, original)
}

/// Whether two keys are of one group, so that all that is known of them lies in one slot.
pub(crate) fn are_together(one: KeyRef<'_>, other: KeyRef<'_>) -> bool {
    match (one.group(), other.group()) {
        (Some(group), Some(others)) => group == others,
        (None, None) => one == other,
        _ => false,
    }
}

/// On a cluster only what lies in one slot can be charged together.
fn check_groups(lines: &Lines<'_>) -> Result<(), Error> {
    let first = lines[0].place.key;
    match lines.iter().find(|line| !are_together(first, line.place.key)) {
        None => Ok(()),
        Some(line) => Err(Error::cross_group(format!(
            "the limits `{}` and `{}` are charged to keys of different groups, which may lie on different nodes of the \
             cluster; give the keys one group, or charge them apart",
            lines[0].limit.name(),
            line.limit.name()
        ))),
    }
}

fn part_of(line: &Line<'_>, view: &View) -> Part {
    Part {
        limit: LimitRef::Index(line.index.limit),
        key: line.place.key.into(),
        cost: line.cost,
        instance: view.instance,
        last: view.last(),
        refunded: 0,
        tops_up: None,
    }
}

fn admitted(shared: &Shared, prepared: &[Arc<Prepared>], lines: &Lines<'_>, answer: &[u8]) -> Option<Receipt> {
    let (mut parts, mut statuses) = (SmallVec::new(), Statuses::new());
    let headers = headers(answer);
    (headers.len() == lines.len()).then_some(())?;
    let [now] = wholes(answer, answer.len().checked_sub(8)?)?;
    for ((line, prepared), header) in lines.iter().zip(prepared).zip(headers) {
        let view = View::read(header)??;
        parts.push(part_of(line, &view));
        statuses.push(status(Some(&view), line.limit, &prepared.shape, now).of_item(line.item, None));
    }
    Some(Receipt::new(shared.identity.tag(), timestamp(now), parts, statuses))
}

/// The receipt of a charge that was made before, with the statuses of now.
fn replayed(
    shared: &Shared,
    prepared: &[Arc<Prepared>],
    lines: &Lines<'_>,
    answer: &[Value],
    now: u64,
) -> Option<Receipt> {
    let (charged_at, rest) = answer.split_first()?;
    let (billed, states) = rest.split_at_checked(lines.len())?;
    let mut parts = SmallVec::new();
    for part in billed {
        let part = bytes(part)?;
        let [number, cost] = wholes(part, 0)?;
        let [last, refunded] = wholes(part, 24)?;
        let line = lines.get(usize::try_from(number).ok()?.checked_sub(1)?)?;
        parts.push(Part {
            limit: LimitRef::Index(line.index.limit),
            key: line.place.key.into(),
            cost,
            instance: identity_at(part, 16)?,
            last,
            refunded,
            tops_up: None,
        });
    }
    let views = views(states, lines.len())?;
    let status_of = |((line, prepared), view): ((&Line<'_>, &Arc<Prepared>), &Option<View>)| -> Status {
        status(view.as_ref(), line.limit, &prepared.shape, now).of_item(line.item, None)
    };
    let statuses = lines.iter().zip(prepared).zip(&views).map(status_of).collect();
    Some(Receipt::new(shared.identity.tag(), timestamp(whole_number(charged_at)?), parts, statuses))
}

fn noted(receipt: Receipt, once: Option<(&Idempotency<'_>, KeyRef<'_>)>, replay: bool) -> Receipt {
    match once {
        None => receipt,
        Some((once, scope)) => {
            receipt.with_idempotency(IdempotencyNote { scope: Key::new(scope), key: once.key.into(), replay })
        }
    }
}

/// So many states. What is none of this version's is as if absent, as to a charge: it shall not keep other counts from being
/// refunded, or listed.
pub(crate) fn views(values: &[Value], count: usize) -> Option<Vec<Option<View>>> {
    (values.len() == count).then_some(())?;
    values.iter().map(|value| Some(View::read(bytes(value)?).flatten())).collect()
}

/// Others have changed the count between every two calls.
#[cold]
pub(crate) fn undecided() -> Error {
    Error::unavailable("the limit's rate or calendar is changed by others at every try; try again", false)
}
