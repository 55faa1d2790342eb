//! Charging: all items or none.

use std::collections::HashMap;
use std::time::Duration;

use smallvec::SmallVec;

use crate::count::{Held, Plan};
use crate::decision::{Decision, Denial, Retry, Status};
use crate::engine::{Counts, Note, Place, check_items, look, peek_at};
use crate::error::Error;
use crate::key::{Key, KeyRef};
use crate::limit::{Identity, Limit, LimitIndex};
use crate::marks::Units;
use crate::policy::MAX_WINDOW;
use crate::receipt::{IdempotencyNote, LimitRef, Part, Receipt};
use crate::reserved::{Reservation, Reservations};
use crate::store::{ChargeRequest, Idempotency, Item, Statuses};
use crate::time::{Timestamp, micros};

/// The items of one request that charge the same count, summed.
#[derive(Clone, Copy, Debug)]
pub struct Line<'a> {
    /// The first item's place in the request.
    pub item: usize,
    /// Its limit.
    pub limit: &'a Limit,
    /// The limit's place in the store's registry.
    pub index: LimitIndex,
    /// Where the count is kept.
    pub place: Place<'a>,
    /// The items' costs, summed; saturating.
    pub cost: u64,
}

/// The lines of a request, in the order of their first items.
pub type Lines<'a> = SmallVec<[Line<'a>; 2]>;

/// A count taken out for a line.
pub(super) struct Taken<'a> {
    pub(super) line: Line<'a>,
    held: Option<Held>,
    verdict: Result<(Plan, Status), (Retry, Status)>,
}

impl Taken<'_> {
    pub(super) fn denies(&self) -> bool {
        self.verdict.is_err()
    }
}

/// Takes every item of the request at `now`, or none.
///
/// # Errors
/// [`Error::is_invalid`] for no items, a cost of 0, a key too long, or an idempotency key that is not
/// of its form; [`Error::is_conflict`] when the idempotency key has billed another charge, or one name
/// stands for two limits; [`Error::is_full`]. Nothing has happened then.
pub fn charge(
    counts: &mut impl Counts,
    request: &ChargeRequest<'_>,
    now: Timestamp,
    random: &mut impl FnMut() -> u64,
) -> Result<Decision, Error> {
    check_items(request.items)?;
    let lines = sum(counts.identity(), request.items)?;
    let reserved_until = request.reserved.map(|within| check_reserved(within, now)).transpose()?;
    if let Some(idempotency) = &request.idempotency {
        let scope = check_idempotency(idempotency, request.items)?;
        // A note that has run out is forgotten by having been taken.
        if let Some(note) = counts.take_note(scope.key, idempotency.key)
            && note.is_in_force(now)
        {
            let replayed = replay(counts, &note, &lines, scope, idempotency, now);
            counts.put_note(scope.key, idempotency.key, Some(note));
            return replayed.map(Decision::Allowed);
        }
    }
    let taken = take(counts, lines, now, random);
    if taken.iter().any(Taken::denies) {
        return Ok(Decision::Denied(deny(counts, taken, now)));
    }
    let note_bytes = request.idempotency.map_or(0, |idempotency| {
        let scope = part_bytes(request.items[idempotency.scope].key);
        let parts: usize = taken.iter().map(|taken| part_bytes(taken.line.place.key)).sum();
        2 * (size_of::<Note>() + 64) + idempotency.key.len() + scope + parts
    });
    let (parts, statuses) = apply(counts, taken, note_bytes, reserved_until, now)?;
    let mut receipt = Receipt::new(counts.identity().tag(), now, parts, statuses);
    if let Some(idempotency) = &request.idempotency {
        let scope = request.items[idempotency.scope].key;
        let note = Note {
            expires_at: now.as_micros() + micros(idempotency.lifetime),
            charged_at: now,
            parts: receipt.parts().iter().cloned().collect(),
            reserved_until,
        };
        counts.put_note(scope, idempotency.key, Some(note));
        receipt.idempotency = Some(note_of(scope.into(), idempotency, false));
    }
    Ok(Decision::Allowed(receipt))
}

/// Takes out the count of every line and decides it.
pub(super) fn take<'a>(
    counts: &mut impl Counts,
    lines: Lines<'a>,
    now: Timestamp,
    random: &mut impl FnMut() -> u64,
) -> SmallVec<[Taken<'a>; 2]> {
    lines
        .into_iter()
        .map(|line| {
            let held = look(counts, line.place, now);
            let verdict = Held::decide(held.as_ref(), line.limit, line.cost, now.as_micros(), random());
            Taken { line, held, verdict }
        })
        .collect()
}

/// Puts everything back as it was; the denial says what each limit answered.
pub(super) fn deny(counts: &mut impl Counts, taken: SmallVec<[Taken<'_>; 2]>, now: Timestamp) -> Denial {
    let mut statuses = Statuses::new();
    for Taken { line, held, verdict } in taken {
        statuses.push(match verdict {
            // Its verdict may tell the status after the charge, which is not made.
            Ok(_) => Held::peek(held.as_ref(), line.limit, now.as_micros()).of_item(line.item, None),
            Err((retry, status)) => status.of_item(line.item, Some(retry)),
        });
        if held.is_some() {
            counts.put(line.place, held);
        }
    }
    Denial::new(statuses)
}

/// Charges every line that was found to fit, reserved until then if so; or, when there is no room for them and
/// `further_bytes`, puts everything back.
pub(super) fn apply(
    counts: &mut impl Counts,
    taken: SmallVec<[Taken<'_>; 2]>,
    further_bytes: usize,
    reserved_until: Option<u64>,
    now: Timestamp,
) -> Result<(SmallVec<[Part; 1]>, Statuses), Error> {
    let places: SmallVec<[Place<'_>; 2]> = taken.iter().map(|taken| taken.line.place).collect();
    let growth: usize = taken
        .iter()
        .map(|taken| {
            let reserved = taken.held.as_ref().map(|held| &held.reserved);
            let reserves = if reserved_until.is_some() { Reservations::growth(reserved) } else { 0 };
            growth(taken.held.as_ref(), taken.line.limit) + reserves
        })
        .sum();
    let mut plans = SmallVec::<[(Line<'_>, Plan); 2]>::new();
    // Put back first: a store may count what it holds when it is asked for room.
    for Taken { line, held, verdict } in taken {
        if held.is_some() {
            counts.put(line.place, held);
        }
        if let Ok((plan, _)) = verdict {
            plans.push((line, plan));
        }
    }
    counts.reserve(&places, growth + further_bytes)?;
    let mut parts = SmallVec::new();
    let mut statuses = Statuses::new();
    for (line, plan) in plans {
        let held = counts.take(line.place);
        let (mut held, grant) = Held::charge(held, line.limit, plan);
        if let Some(ends_at) = reserved_until
            && held.may_count_at(ends_at)
        {
            let units = Units { cost: line.cost, last: grant.last };
            held.reserved.insert(Reservation { ends_at, instance: grant.instance, units });
        }
        statuses.push(Held::peek(Some(&held), line.limit, now.as_micros()).of_item(line.item, None));
        counts.put(line.place, Some(held));
        parts.push(Part {
            limit: LimitRef::Index(line.index.limit),
            key: line.place.key.into(),
            cost: line.cost,
            instance: grant.instance,
            last: grant.last,
            refunded: 0,
            tops_up: None,
        });
    }
    Ok((parts, statuses))
}

/// The items of a request, those of one count summed in the place of the first.
///
/// # Errors
/// [`Error::is_invalid`] for a cost of 0; [`Error::is_conflict`] when one name stands for two limits.
pub fn sum<'a>(identity: &Identity, items: &'a [Item<'a>]) -> Result<Lines<'a>, Error> {
    items.iter().try_for_each(check_cost)?;
    let mut lines = Lines::new();
    // By hash where there are many: keys may be long, and alike but for their ends.
    let (mut places, many) = (HashMap::new(), items.len() > 16);
    for (at, item) in items.iter().enumerate() {
        let index = identity.index_of(item.limit);
        let place = Place { name: index.name, key: item.key };
        match lines.iter().find(|line| line.place.name == place.name) {
            Some(line) if line.index.limit != index.limit => {
                return Err(Error::conflict(format!(
                    "one charge names two limits `{}`: {} and {}",
                    item.limit.name(),
                    line.limit.policy(),
                    item.limit.policy()
                )));
            }
            _ => {}
        }
        let known = match many {
            true => places.get(&place).copied(),
            false => lines.iter().position(|line| line.place == place),
        };
        match known {
            Some(known) => lines[known].cost = lines[known].cost.saturating_add(item.cost),
            None => {
                if many {
                    places.insert(place, lines.len());
                }
                lines.push(Line { item: at, limit: item.limit, index, place, cost: item.cost });
            }
        }
    }
    Ok(lines)
}

pub(crate) fn check_cost(item: &Item<'_>) -> Result<(), Error> {
    if item.cost == 0 {
        return Err(Error::invalid(format!(
            "a cost of 0 for the limit `{}`; charge at least 1, or peek",
            item.limit.name()
        )));
    }
    Ok(())
}

/// Checks an idempotency key's form; answers the item to whose key it is scoped.
///
/// # Errors
/// [`Error::is_invalid`] when it is not of its form.
pub fn check_idempotency<'a>(idempotency: &Idempotency<'_>, items: &'a [Item<'a>]) -> Result<&'a Item<'a>, Error> {
    let length = idempotency.key.len();
    if !(1..=255).contains(&length) {
        return Err(Error::invalid(format!("an idempotency key of {length} bytes; 1 to 255 are taken")));
    }
    let lifetime = idempotency.lifetime;
    if micros(lifetime) == 0 || lifetime > MAX_WINDOW {
        return Err(Error::invalid(format!(
            "an idempotency key remembered for {lifetime:?}; from a microsecond to a century is taken"
        )));
    }
    items.get(idempotency.scope).ok_or_else(|| {
        Error::invalid(format!(
            "an idempotency key scoped to item {} of a charge of {}",
            idempotency.scope,
            items.len()
        ))
    })
}

/// The moment until which a charge is reserved, in microseconds since the epoch.
///
/// # Errors
/// [`Error::is_invalid`] when the time is not one of those taken.
pub fn check_reserved(within: Duration, now: Timestamp) -> Result<u64, Error> {
    if micros(within) == 0 || within > MAX_WINDOW {
        return Err(Error::invalid(format!(
            "a charge reserved for {within:?}; from a microsecond to a century is taken"
        )));
    }
    Ok(now.as_micros() + micros(within))
}

/// The receipt of the charge that `note` remembers, if it is the same charge, with the statuses of now.
fn replay(
    counts: &mut impl Counts,
    note: &Note,
    lines: &Lines<'_>,
    scope: &Item<'_>,
    idempotency: &Idempotency<'_>,
    now: Timestamp,
) -> Result<Receipt, Error> {
    let identity = counts.identity();
    let name = |part: &Part| match &part.limit {
        LimitRef::Index(index) => identity.index(*index).map(|index| index.name),
        LimitRef::Name(name) => identity.by_name(name).map(|(_, index)| index.name),
    };
    let is_of =
        |part: &Part, line: &Line<'_>| name(part) == Some(line.place.name) && part.key.as_ref() == line.place.key;
    let same =
        |line: &Line<'_>| note.parts.iter().find(|part| is_of(part, line)).is_some_and(|part| part.cost == line.cost);
    if note.parts.len() != lines.len() || !lines.iter().all(same) {
        return Err(Error::conflict(
            "the idempotency key has billed a charge of other limits, keys or costs; use a new one",
        ));
    }
    let mut parts = note.parts.clone();
    for part in &mut parts {
        // The variant that it is asked for under may be another than was charged: a store need not keep which one was.
        if let Some(line) = lines.iter().find(|line| is_of(part, line)) {
            part.limit = LimitRef::Index(line.index.limit);
        }
    }
    let tag = identity.tag();
    let mut statuses = Statuses::new();
    for line in lines {
        statuses.push(peek_at(counts, line.place, line.limit, now).of_item(line.item, None));
    }
    let mut receipt = Receipt::new(tag, note.charged_at, parts, statuses);
    receipt.idempotency = Some(note_of(scope.key.into(), idempotency, true));
    Ok(receipt)
}

fn note_of(scope: Key, idempotency: &Idempotency<'_>, replay: bool) -> Box<IdempotencyNote> {
    Box::new(IdempotencyNote { scope, key: idempotency.key.into(), replay })
}

/// The most that remembering a part with this key takes.
pub(super) fn part_bytes(key: KeyRef<'_>) -> usize {
    2 * size_of::<Part>() + 64 + key.bytes().len() + key.group().map_or(0, <[u8]>::len)
}

/// Bytes on the heap by which a charge may grow a count.
fn growth(held: Option<&Held>, limit: &Limit) -> usize {
    use crate::algorithm::entries::Entry;
    use crate::count::Count;
    use crate::policy::Algorithm;
    match (limit.policy().algorithm(), held) {
        (Algorithm::Log(_) | Algorithm::Concurrency(_), Some(Held { count: Count::Entries(roll), .. })) => {
            let grows = roll.entries.len() == roll.entries.capacity();
            if grows { roll.entries.capacity() * size_of::<Entry>() } else { 0 }
        }
        (Algorithm::Log(_) | Algorithm::Concurrency(_), _) => 4 * size_of::<Entry>(),
        _ => 0,
    }
}
