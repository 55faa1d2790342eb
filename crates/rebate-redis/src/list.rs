//! Listing the keys of a limit, a page at a time, and the limits that are written down.

use std::collections::HashMap;
use std::sync::Arc;

use rebate_core::{Cursor, Error, Key, Limit, ListRequest, Page, Status};
use smallvec::SmallVec;

use crate::item::Prepared;
use crate::keys::read_original;
use crate::look::look_at;
use crate::shared::{Shared, bytes, unreadable};
use crate::view::status;

/// A page's cursor is the node's number above so many bits of the server's own cursor.
const CURSOR_BITS: u32 = 52;
/// Keys that the server looks at in one step: few enough that nobody waits for it.
const STEP: usize = 256;

/// A step through the counts of several limits: what [`RedisStore::list_all`](crate::RedisStore::list_all) answers.
#[derive(Clone, Debug)]
pub struct CountsPage {
    /// The counts found in this step: often none, where other keys live beside them.
    pub counts: Vec<ListedCount>,
    /// Where to go on; `None` at the end.
    pub next: Option<Cursor>,
}

/// A key's count under one of the limits that were listed.
#[derive(Clone, Debug)]
pub struct ListedCount {
    /// The limit's place among those given.
    pub limit: usize,
    /// Whose count it is.
    pub key: Key,
    /// Quota, remaining and reset.
    pub status: Status,
}

/// A count as its name tells it.
struct Found {
    name: Vec<u8>,
    limit: usize,
    /// [`None`] where the name holds a digest.
    key: Option<Key>,
}

/// Where a scan stands: a node, and the server's own cursor there.
#[derive(Clone, Copy)]
struct Place {
    node: usize,
    cursor: u64,
}

impl Place {
    fn of(cursor: Option<Cursor>) -> Self {
        let place = cursor.map_or(0, |Cursor(place)| place);
        Place { node: (place >> CURSOR_BITS) as usize, cursor: place & ((1 << CURSOR_BITS) - 1) }
    }

    /// Behind a step after which the server's cursor is `next`: 0 at a node's end.
    fn then(self, next: u64) -> Self {
        if next == 0 { Place { node: self.node + 1, cursor: 0 } } else { Place { cursor: next, ..self } }
    }

    fn cursor(self, nodes: usize) -> Option<Cursor> {
        (self.node < nodes).then_some(Cursor((self.node as u64) << CURSOR_BITS | self.cursor))
    }
}

pub(crate) async fn list(shared: &Shared, request: &ListRequest<'_>) -> Result<Page, Error> {
    let limits = [made_ready(shared, request.limit)];
    let nodes = shared.link.nodes().await?;
    let mut place = Place::of(request.after);
    let pattern = shared.names.pattern(&limits[0].name);
    let mut keys = Vec::new();
    while place.node < nodes {
        let (next, names) = shared.link.scan(place.node, place.cursor, &pattern, STEP.max(request.size)).await?;
        let found = names.into_iter().filter_map(|name| {
            let key = shared.names.read_count(&name, &limits[0].name)?;
            Some(Found { name, limit: 0, key })
        });
        list_counts(shared, found.collect(), &limits, |count| keys.push((count.key, count.status))).await?;
        place = place.then(next);
        if keys.len() >= request.size {
            break;
        }
    }
    Ok(Page { keys, next: place.cursor(nodes) })
}

/// One step of the server, whatever it finds: who paces it counts steps.
pub(crate) async fn list_all(
    shared: &Shared,
    limits: &[Limit],
    after: Option<Cursor>,
    step: usize,
) -> Result<CountsPage, Error> {
    let limits: Vec<_> = limits.iter().map(|limit| made_ready(shared, limit)).collect();
    let by_name: HashMap<&[u8], usize> = limits.iter().enumerate().map(|(at, limit)| (&limit.name[..], at)).collect();
    let nodes = shared.link.nodes().await?;
    let place = Place::of(after);
    let mut counts = Vec::new();
    if limits.is_empty() || place.node >= nodes {
        return Ok(CountsPage { counts, next: None });
    }
    let pattern = shared.names.pattern(if let [limit] = &limits[..] { &limit.name } else { b"" });
    let (next, names) = shared.link.scan(place.node, place.cursor, &pattern, step.max(1)).await?;
    let found = names.into_iter().filter_map(|name| {
        let (limit, key) = shared.names.read_any_count(&name)?;
        let limit = *by_name.get(limit)?;
        Some(Found { name, limit, key })
    });
    list_counts(shared, found.collect(), &limits, |count| counts.push(count)).await?;
    Ok(CountsPage { counts, next: place.then(next).cursor(nodes) })
}

fn made_ready(shared: &Shared, limit: &Limit) -> Arc<Prepared> {
    shared.prepared(shared.identity.index_of(limit), limit)
}

/// Gives those of the counts that say anything to `add`.
async fn list_counts(
    shared: &Shared,
    found: Vec<Found>,
    limits: &[Arc<Prepared>],
    mut add: impl FnMut(ListedCount),
) -> Result<(), Error> {
    let together = if shared.link.is_cluster() { 1 } else { STEP };
    for found in found.chunks(together) {
        let names: SmallVec<[Vec<u8>; 1]> = found.iter().map(|found| found.name.clone()).collect();
        let of = found.iter().map(|found| &limits[found.limit].limit);
        let (now, views) = look_at(shared, names, of).await?;
        for (Found { name, limit, key }, view) in found.iter().zip(views) {
            let Some(view) = view.filter(|view| view.expires_at() > now) else { continue };
            let key = match key {
                Some(key) => Some(key.clone()),
                None => original(shared, name).await?,
            };
            if let Some(key) = key {
                let prepared = &limits[*limit];
                let status = status(Some(&view), &prepared.limit, &prepared.shape, now);
                add(ListedCount { limit: *limit, key, status });
            }
        }
    }
    Ok(())
}

/// The key in full that is kept beside a count whose name holds a digest.
async fn original(shared: &Shared, count: &[u8]) -> Result<Option<Key>, Error> {
    let name = [count, b":k"].concat();
    let mut command = redis::cmd("GET");
    command.arg(&name);
    let answer = shared.link.command(Some(&name), command, true).await?;
    Ok(bytes(&answer).and_then(read_original))
}

pub(crate) async fn limits(shared: &Shared) -> Result<Vec<Limit>, Error> {
    let name = shared.names.limits();
    let mut command = redis::cmd("HGETALL");
    command.arg(&name);
    let answer = shared.link.command(Some(&name), command, true).await?;
    let pairs: Vec<(String, String)> =
        redis::from_redis_value(answer).map_err(|error| unreadable("HGETALL").with_source(error))?;
    // A later release may write down a policy that this one does not know.
    let mut limits: Vec<Limit> = pairs.iter().filter_map(|(name, policy)| Limit::new(name, policy).ok()).collect();
    limits.sort_by(|one, other| one.name().cmp(other.name()));
    Ok(limits)
}
