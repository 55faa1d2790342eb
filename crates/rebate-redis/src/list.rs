//! Listing the keys of a limit, a page at a time, and the limits that are written down.

use rebate_core::{Cursor, Error, Key, Limit, ListRequest, Page};
use smallvec::SmallVec;

use crate::keys::read_original;
use crate::look::look_at;
use crate::shared::{Shared, bytes, unreadable};
use crate::view::status;

/// A page's cursor is the node's number above so many bits of the server's own cursor.
const CURSOR_BITS: u32 = 52;
/// Keys that the server looks at in one step: few enough that nobody waits for it.
const STEP: usize = 256;

pub(crate) async fn list(shared: &Shared, request: &ListRequest<'_>) -> Result<Page, Error> {
    let limit = request.limit;
    let prepared = shared.prepared(shared.identity.index_of(limit), limit);
    let nodes = shared.link.nodes().await?;
    let place = request.after.map_or(0, |Cursor(place)| place);
    let (mut node, mut cursor) = ((place >> CURSOR_BITS) as usize, place & ((1 << CURSOR_BITS) - 1));
    let pattern = shared.names.pattern(&prepared.name);
    let mut keys = Vec::new();
    while node < nodes {
        let (next, names) = shared.link.scan(node, cursor, &pattern, STEP.max(request.size)).await?;
        let counts = names.into_iter().filter_map(|name| {
            let key = shared.names.read_count(&name, &prepared.name)?;
            Some((name, key))
        });
        list_counts(shared, counts.collect(), limit, &prepared.shape, &mut keys).await?;
        (node, cursor) = if next == 0 { (node + 1, 0) } else { (node, next) };
        if keys.len() >= request.size {
            break;
        }
    }
    let next = (node < nodes).then_some(Cursor((node as u64) << CURSOR_BITS | cursor));
    Ok(Page { keys, next })
}

/// Adds those of the counts that say anything.
async fn list_counts(
    shared: &Shared,
    counts: Vec<(Vec<u8>, Option<Key>)>,
    limit: &Limit,
    shape: &[u8; 8],
    keys: &mut Vec<(Key, rebate_core::Status)>,
) -> Result<(), Error> {
    let together = if shared.link.is_cluster() { 1 } else { STEP };
    for counts in counts.chunks(together) {
        let names: SmallVec<[Vec<u8>; 1]> = counts.iter().map(|(name, _)| name.clone()).collect();
        let (now, views) = look_at(shared, names, std::iter::repeat_n(limit, counts.len())).await?;
        for ((name, key), view) in counts.iter().zip(views) {
            let Some(view) = view.filter(|view| view.expires_at() > now) else { continue };
            let key = match key {
                Some(key) => Some(key.clone()),
                None => original(shared, name).await?,
            };
            if let Some(key) = key {
                keys.push((key, status(Some(&view), limit, shape, now)));
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
