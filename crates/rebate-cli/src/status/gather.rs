//! Going through the server's keys at a stated pace.

use std::cmp::Ordering;
use std::time::Duration;

use foldhash::HashMap;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use rebate::{Key, Limit, RedisStore, Status};
use tokio::time::{Instant, sleep, sleep_until};

use super::Sort;
use crate::show::grouped;
use crate::trouble::Trouble;

/// Keys looked at in a second: measured so that who charges does not notice (tests/beside_charges.rs).
pub(crate) const DEFAULT_PACE: u32 = 1_250;
/// Keys looked at in one step, during which the server does nothing else: with so few, 25 us for the names and 45 us for
/// the counts. Fewer at once would wake the server, and this program beside it, more often.
const STEP: usize = 16;
/// The same where no pace is kept.
const STEP_UNPACED: usize = 512;
/// By how much a step may be late and yet be made up for: timers tick in milliseconds.
const SLACK: Duration = Duration::from_millis(20);

/// How often in a row a step may fail that is not the first, and the pause after it.
const PATIENCE: u32 = 5;
const PAUSE: Duration = Duration::from_millis(500);

/// All that was found.
pub(crate) struct Gathered {
    pub(crate) limits: Vec<Limit>,
    /// How many counts each limit has.
    pub(crate) keys: Vec<u64>,
    pub(crate) counts: Vec<Count>,
    pub(crate) took: Duration,
}

/// A key's count under the limit with this place.
pub(crate) struct Count {
    pub(crate) limit: usize,
    pub(crate) key: Key,
    pub(crate) status: Status,
}

impl Count {
    fn by_key(&self) -> (Option<&[u8]>, &[u8], usize) {
        let key = self.key.as_ref();
        (key.group(), key.bytes(), self.limit)
    }
}

impl Gathered {
    /// Sorts the counts, and leaves the first `top`.
    pub(crate) fn sort(&mut self, sort: Sort, top: usize) {
        self.counts.sort_unstable_by(|one, other| {
            let (status, others) = (&one.status, &other.status);
            let order = match sort {
                Sort::Used => others.used().cmp(&status.used()),
                Sort::Remaining => status.remaining().cmp(&others.remaining()),
                Sort::Resets => status.reset_after().cmp(&others.reset_after()),
                Sort::Key => Ordering::Equal,
            };
            order.then_with(|| one.by_key().cmp(&other.by_key()))
        });
        self.counts.truncate(top);
    }
}

/// Lists all counts of `limits`.
pub(crate) async fn gather(store: &RedisStore, limits: Vec<Limit>, pace: u32) -> Result<Gathered, Trouble> {
    let begun = Instant::now();
    let progress = progress();
    let step = if pace == 0 { STEP_UNPACED } else { STEP };
    let mut due = begun;
    // A scan may tell of a key twice: the last word counts.
    let mut found: HashMap<(usize, Key), Status> = HashMap::default();
    let (mut after, mut looked_at, mut failures) = (None, 0, 0);
    while !limits.is_empty() {
        let page = match store.list_all(&limits, after, step).await {
            // A server that has answered before is worth some patience: a listing may have taken minutes by now.
            Err(error) if error.is_retryable() && after.is_some() && failures < PATIENCE => {
                failures += 1;
                sleep(PAUSE).await;
                continue;
            }
            answer => answer?,
        };
        failures = 0;
        looked_at += step as u64;
        found.extend(page.counts.into_iter().map(|count| ((count.limit, count.key), count.status)));
        progress.set_message(format!("{} keys looked at, {} counts", grouped(looked_at), grouped(found.len() as u64)));
        progress.tick();
        after = page.next;
        if after.is_none() {
            break;
        }
        if pace > 0 {
            due = (due + Duration::from_secs(1) * step as u32 / pace).max(Instant::now() - SLACK);
            sleep_until(due).await;
        }
    }
    progress.finish_and_clear();
    let mut keys = vec![0; limits.len()];
    found.keys().for_each(|(limit, _)| keys[*limit] += 1);
    let counts = found.into_iter().map(|((limit, key), status)| Count { limit, key, status }).collect();
    Ok(Gathered { limits, keys, counts, took: begun.elapsed() })
}

/// On standard error; nothing where that is no terminal.
fn progress() -> ProgressBar {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} {elapsed}") {
        bar.set_style(style);
    }
    bar
}
