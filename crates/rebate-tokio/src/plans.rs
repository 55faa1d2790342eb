//! Plans: which limits a subject has, asked for once and kept for a while.

use std::borrow::Borrow;
use std::error::Error as StdError;
use std::fmt;
use std::hash::Hash;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use moka::sync::Cache;
use rebate_core::Error;
use tokio::sync::OnceCell;
use tokio::time::Instant;

/// From a subject to its plan, asked for asynchronously (in a database, say) and kept for a time. A plan is any value that is
/// cheap to clone, such as a few [variants](rebate_core::Limit::variant) of limits. Cheap to clone; clones share what is kept.
///
/// Asked for by many at the same time a subject is looked up once, and all get the answer, also when it is an error; an error
/// is not kept. A change of plan holds from the next [`of`](Plans::of) after [`invalidate`](Plans::invalidate), and
/// else after the time at the latest. What a key has used stays used: a variant is charged to the same count.
///
/// ```
/// # use std::time::Duration;
/// # use rebate_core::{Error, Limit, Limiter, Store};
/// # use rebate_tokio::Plans;
/// # async fn ask_the_database(user: String) -> Result<bool, std::io::Error> { Ok(user.is_empty()) }
/// # async fn example(limiter: &Limiter<impl Store>) -> Result<(), Error> {
/// let free = Limit::new("daily", "50/day")?;
/// let pro = free.variant("1000/day")?;
/// let plans = Plans::new(Duration::from_secs(60), 100_000, move |user: String| {
///     let (free, pro) = (free.clone(), pro.clone());
///     async move { Ok::<_, std::io::Error>(if ask_the_database(user).await? { pro } else { free }) }
/// });
/// let daily = plans.of("user:42").await?;
/// let decision = limiter.charge(&daily, "user:42").await?;
/// plans.invalidate("user:42"); // She has paid.
/// # drop(decision);
/// # Ok(()) }
/// ```
pub struct Plans<K, V> {
    shared: Arc<Shared<K, V>>,
}

struct Shared<K, V> {
    lookup: Lookup<K, V>,
    keep_for: Duration,
    kept: Cache<K, Arc<Asked<V>>>,
    /// One more with each invalidation of all, so that no clock has to tell what was asked before it.
    round: AtomicU64,
}

type Lookup<K, V> = Box<dyn Fn(K) -> Pin<Box<dyn Future<Output = Answer<V>> + Send>> + Send + Sync>;

/// Errors are shared by all who asked.
type Answer<V> = Result<V, Arc<dyn StdError + Send + Sync>>;

impl<K, V> Plans<K, V>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// Plans as `lookup` tells them, each kept for `keep_for` since it was asked for; about `capacity` of them, those that are
    /// asked for more often rather than others.
    pub fn new<F, E>(keep_for: Duration, capacity: u64, lookup: impl Fn(K) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<V, E>> + Send + 'static,
        E: Into<Box<dyn StdError + Send + Sync>>,
    {
        let lookup: Lookup<K, V> = Box::new(move |subject| {
            let answer = lookup(subject);
            Box::pin(async move { answer.await.map_err(|error| Arc::from(error.into())) })
        });
        let kept = Cache::new(capacity);
        Plans { shared: Arc::new(Shared { lookup, keep_for, kept, round: AtomicU64::new(0) }) }
    }

    /// The plan of `subject`: as it is kept, or looked up now.
    ///
    /// # Errors
    /// [`Error::is_unavailable`] when the lookup fails, with its error as the source; nothing has been charged then.
    pub async fn of<Q>(&self, subject: &Q) -> Result<V, Error>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        let Shared { lookup, keep_for, kept, round } = &*self.shared;
        let round = round.load(Ordering::SeqCst);
        let serves = |asked: &Arc<Asked<V>>| asked.serves(*keep_for, round);
        let asked = match kept.get(subject).filter(serves) {
            Some(asked) => asked,
            None => {
                let ask = || Arc::new(Asked { at: Instant::now(), round, answer: OnceCell::new() });
                kept.entry_by_ref(subject).or_insert_with_if(ask, |old| !serves(old)).into_value()
            }
        };
        // Whatever is invalidated from here on takes the question out of what is kept: later ones ask anew.
        match asked.answer.get_or_init(|| lookup(subject.to_owned())).await {
            Ok(plan) => Ok(plan.clone()),
            Err(error) => Err(Error::unavailable(format!("the plan could not be looked up: {error}"), false)
                .with_source(Box::new(Arc::clone(error)))),
        }
    }

    /// Forgets the plan of `subject`, because it has changed: whoever asks from now on gets it as it is now. A lookup under way
    /// still answers those who asked before, and is not kept.
    pub fn invalidate<Q>(&self, subject: &Q)
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.shared.kept.invalidate(subject);
    }

    /// Likewise for all subjects.
    pub fn invalidate_all(&self) {
        self.shared.round.fetch_add(1, Ordering::SeqCst);
    }
}

impl<K, V> Clone for Plans<K, V> {
    fn clone(&self) -> Self {
        Plans { shared: Arc::clone(&self.shared) }
    }
}

impl<K, V> fmt::Debug for Plans<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Plans(kept for {:?})", self.shared.keep_for)
    }
}

/// What was asked of one subject, by all who asked for it together.
struct Asked<V> {
    /// When: what the answer says may be as old.
    at: Instant,
    round: u64,
    answer: OnceCell<Answer<V>>,
}

impl<V> Asked<V> {
    /// Whether one who asks now, in this round, is served by it.
    fn serves(&self, keep_for: Duration, round: u64) -> bool {
        self.round >= round && self.at.elapsed() < keep_for && !matches!(self.answer.get(), Some(Err(_)))
    }
}
