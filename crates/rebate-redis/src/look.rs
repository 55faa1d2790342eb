//! Peeking at counts, and resetting them.

use rebate_core::algorithm::entries::Entry;
use rebate_core::engine;
use rebate_core::{Error, Item, KeyRef, Lease, Limit, Statuses};
use redis::Value;
use smallvec::{SmallVec, smallvec};

use crate::charge::{are_together, views};
use crate::link::Call;
use crate::shared::{Shared, bytes, unreadable, whole_number};
use crate::view::{View, identity_at, status, wholes};

const PEEK: &str = "rebate_peek";
/// The same where something that was reserved is to be given back first.
const PEEK_DUE: &str = "rebate_peek_due";
const LEASES: &str = "rebate_leases";
const RESET: &str = "rebate_reset";

pub(crate) async fn peek(shared: &Shared, items: &[Item<'_>]) -> Result<Statuses, Error> {
    engine::check_items(items)?;
    let together = !shared.link.is_cluster() || items.iter().all(|item| are_together(items[0].key, item.key));
    let mut statuses = Statuses::new();
    // Keys of several groups one by one on a cluster: that need not be one moment.
    for items in items.chunks(if together { items.len() } else { 1 }) {
        let prepared: Vec<_> =
            items.iter().map(|item| shared.prepared(shared.identity.index_of(item.limit), item.limit)).collect();
        let counts = items.iter().zip(&prepared).map(|(item, prepared)| shared.count(prepared, item.key).name);
        let (now, views) = look_at(shared, counts.collect(), items.iter().map(|item| item.limit)).await?;
        for ((item, prepared), view) in items.iter().zip(&prepared).zip(&views) {
            let at = statuses.len();
            statuses.push(status(view.as_ref(), item.limit, &prepared.shape, now).of_item(at, None));
        }
    }
    Ok(statuses)
}

/// The time, and the states of the counts with these names, all of one slot.
pub(crate) async fn look_at<'a>(
    shared: &Shared,
    counts: SmallVec<[Vec<u8>; 1]>,
    limits: impl Iterator<Item = &'a Limit>,
) -> Result<(u64, Vec<Option<View>>), Error> {
    let count = counts.len();
    let mut call = Call {
        function: PEEK,
        keys: counts,
        arguments: smallvec![shared.time(), count.to_string().into_bytes()],
        reads_only: true,
        repeatable: true,
    };
    shared.name_helpers(&mut call, limits.map(Some).enumerate());
    let mut answer = shared.link.call(call.clone()).await?;
    if matches!(&answer, Value::Array(answer) if answer.len() == 1) {
        answer = shared.link.call(Call { function: PEEK_DUE, reads_only: false, ..call }).await?;
    }
    let read = || {
        let Value::Array(answer) = &answer else { return None };
        let (now, states) = answer.split_first()?;
        Some((whole_number(now)?, views(states, count)?))
    };
    read().ok_or_else(|| unreadable(PEEK))
}

pub(crate) async fn reset(shared: &Shared, limit: &Limit, key: KeyRef<'_>) -> Result<bool, Error> {
    let prepared = shared.prepared(shared.identity.index_of(limit), limit);
    let mut call = Call {
        function: RESET,
        keys: smallvec![shared.count(&prepared, key).name],
        arguments: smallvec![shared.time()],
        reads_only: false,
        repeatable: false,
    };
    // What is there may be of another limit that had the name.
    shared.name_helpers(&mut call, std::iter::once((0, None)));
    match shared.link.call(call).await? {
        Value::Int(said) => Ok(said == 1),
        _ => Err(unreadable(RESET)),
    }
}

pub(crate) async fn leases(shared: &Shared, limit: &Limit, key: KeyRef<'_>) -> Result<Vec<Lease>, Error> {
    engine::check_leases(limit, key)?;
    let index = shared.identity.index_of(limit);
    let mut call = Call {
        function: LEASES,
        keys: smallvec![shared.count(&shared.prepared(index, limit), key).name],
        arguments: smallvec![shared.time()],
        reads_only: true,
        repeatable: true,
    };
    shared.name_helpers(&mut call, std::iter::once((0, Some(limit))));
    let answer = shared.link.call(call).await?;
    let read = || {
        let Value::Array(answer) = &answer else { return None };
        let Some((roll, entries)) = answer.split_first() else { return Some(Vec::new()) };
        let roll = bytes(roll)?;
        let (instance, [span]) = (identity_at(roll, 0)?, wholes(roll, 8)?);
        let read = |entry: &Value| {
            let [last, cost, end, refunded] = wholes(bytes(entry)?, 0)?;
            Some(Entry { last, end, cost, refunded })
        };
        let mut entries = entries.iter().map(read).collect::<Option<Vec<Entry>>>()?;
        entries.retain(|entry| entry.refunded < entry.cost);
        // The server puts those that end together in the order of their bytes.
        entries.sort_by_key(|entry| (entry.end, entry.last));
        let lease = |entry| engine::lease(&shared.identity, index.limit, key, instance, entry, span);
        Some(entries.into_iter().map(lease).collect())
    };
    read().ok_or_else(|| unreadable(LEASES))
}
