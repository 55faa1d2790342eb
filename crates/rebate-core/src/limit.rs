//! Limits: a policy under a name, and what a store writes down about limits.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::fmt;
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, RwLock};

use crate::error::Error;
use crate::policy::Policy;
use crate::receipt::LimitRef;

/// The longest name of a limit, in bytes.
pub const MAX_NAME_BYTES: usize = 64;
/// The longest name of a store, in bytes.
pub const MAX_STORE_NAME_BYTES: usize = 16;

/// A policy under a name. Cheap to clone; make it once and keep it.
///
/// A count is identified by the limit's name, the group and the key: two services that share a store
/// and a name share the count. Register a limit of its own with each [`Limiter`](crate::Limiter):
/// a second limiter takes a slower path for it.
///
/// ```
/// use rebate_core::Limit;
///
/// let limit = Limit::new("generate", "10/month")?;
/// assert_eq!(limit.policy().quota(), 10);
/// # Ok::<(), rebate_core::Error>(())
/// ```
#[derive(Clone)]
pub struct Limit {
    inner: Arc<Inner>,
}

struct Inner {
    policy: Policy,
    /// The stamp of the limiter that last found its name to stand for it, so that a charge need not look
    /// the name up. A limiter whose names change takes another stamp.
    checked: AtomicU64,
    /// Where the first store that met this limit keeps it.
    home: OnceLock<Home>,
    fallback: Fallback,
    name: Box<str>,
    /// Shared by the variants of one limit, and told by its address.
    family: Arc<Family>,
}

/// Not empty, so that each has an address of its own.
struct Family {
    _place: u8,
}

#[derive(Clone, Copy)]
pub(crate) struct Home {
    pub(crate) store: u64,
    pub(crate) index: LimitIndex,
}

/// What happens to a charge of a limit while the store is unavailable or full. In a charge of
/// several limits the strictest decides: an error before a denial before letting it pass.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "lowercase"))]
pub enum Fallback {
    /// The request passes, [unchecked](crate::Decision::Unchecked).
    Allow,
    /// The request is denied.
    Deny,
    /// The caller gets the error.
    #[default]
    Error,
}

impl Limit {
    /// A limit of `policy` (see [`Policy::parse`]) under `name`: 1 to 64 visible ASCII characters
    /// other than `"` and `\`, so that it can stand in a header.
    ///
    /// # Errors
    /// [`Error::is_invalid`] when the name or the policy is not of that form.
    pub fn new(name: &str, policy: &str) -> Result<Self, Error> {
        Self::of(name, Policy::parse(policy)?)
    }

    /// A limit of a policy built in code.
    ///
    /// # Errors
    /// [`Error::is_invalid`] when the name is not of the form that [`Limit::new`] takes.
    pub fn of(name: &str, policy: Policy) -> Result<Self, Error> {
        check_name("a limit's name", name, MAX_NAME_BYTES)?;
        Ok(Self::build(name.into(), policy, Fallback::default(), Arc::new(Family { _place: 0 })))
    }

    /// The same limit with another fallback.
    #[must_use]
    pub fn with_fallback(&self, fallback: Fallback) -> Self {
        Self::build(self.inner.name.clone(), self.inner.policy.clone(), fallback, Arc::clone(&self.inner.family))
    }

    /// The same limit as it is for some of its keys: another policy under the same name that is no conflict with
    /// this one, for the plans of customers, say. A limiter takes both, in turn and for different keys.
    ///
    /// A key charged now under one and then under the other keeps what it has used: so window and algorithm are the
    /// same, and only the quota differs (of a bucket, burst or rate). Else its count would start afresh with each change,
    /// and who alternates between plans would not be limited at all. One charge names one of them, also for different keys.
    ///
    /// ```
    /// use rebate_core::Limit;
    ///
    /// let free = Limit::new("daily", "50/day")?;
    /// let pro = free.variant("1000/day")?;
    /// assert_eq!((pro.name(), pro.policy().quota()), ("daily", 1000));
    /// assert!(free.variant("100/hour").unwrap_err().is_invalid());
    /// # Ok::<(), rebate_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::is_invalid`] when the policy is not of the form that [`Policy::parse`] takes, or does not
    /// [continue](Policy::continues) this limit's.
    pub fn variant(&self, policy: &str) -> Result<Self, Error> {
        let (inner, policy) = (&self.inner, Policy::parse(policy)?);
        if !policy.continues(&inner.policy) {
            return Err(Error::invalid(format!(
                "`{policy}` has another window or algorithm than `{self}`: a count would start afresh whenever a key is charged \
                 under the other one; give it another limit's name"
            )));
        }
        Ok(Self::build(inner.name.clone(), policy, inner.fallback, Arc::clone(&inner.family)))
    }

    /// Whether one is a [variant](Limit::variant) of the other, or both are of a third.
    pub fn is_variant_of(&self, other: &Limit) -> bool {
        Arc::ptr_eq(&self.inner.family, &other.inner.family)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// Its policy.
    #[inline]
    pub fn policy(&self) -> &Policy {
        &self.inner.policy
    }

    /// What happens while the store is unavailable or full.
    pub fn fallback(&self) -> Fallback {
        self.inner.fallback
    }

    #[inline]
    pub(crate) fn checked(&self) -> u64 {
        self.inner.checked.load(Ordering::Relaxed)
    }

    pub(crate) fn set_checked(&self, stamp: u64) {
        self.inner.checked.store(stamp, Ordering::Relaxed);
    }

    #[inline]
    pub(crate) fn home(&self) -> Option<&Home> {
        self.inner.home.get()
    }

    pub(crate) fn settle_home(&self, home: Home) {
        // A limit that has a home keeps it; others look it up by name.
        let _ = self.inner.home.set(home);
    }

    fn build(name: Box<str>, policy: Policy, fallback: Fallback, family: Arc<Family>) -> Self {
        let (checked, home) = (AtomicU64::new(0), OnceLock::new());
        Limit { inner: Arc::new(Inner { policy, checked, home, fallback, name, family }) }
    }
}

impl PartialEq for Limit {
    /// Whether name and policy are the same.
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.inner, &other.inner) || (self.name() == other.name() && self.policy() == other.policy())
    }
}

impl fmt::Debug for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Limit({}: {})", self.name(), self.policy())
    }
}

impl fmt::Display for Limit {
    /// `name: policy`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name(), self.policy())
    }
}

/// A limit as it is written for programs.
#[cfg(feature = "serde")]
#[derive(serde::Serialize, serde::Deserialize)]
#[serde(rename = "Limit", deny_unknown_fields)]
struct LimitText<'a> {
    #[serde(borrow)]
    name: std::borrow::Cow<'a, str>,
    policy: Policy,
    #[serde(default, skip_serializing_if = "is_default")]
    fallback: Fallback,
}

#[cfg(feature = "serde")]
fn is_default(fallback: &Fallback) -> bool {
    *fallback == Fallback::default()
}

#[cfg(feature = "serde")]
impl serde::Serialize for Limit {
    /// As `name`, `policy` (its text) and, unless it is an error, `fallback`.
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        LimitText { name: self.name().into(), policy: self.policy().clone(), fallback: self.fallback() }
            .serialize(serializer)
    }
}

#[cfg(feature = "serde")]
impl<'de> serde::Deserialize<'de> for Limit {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = LimitText::deserialize(deserializer)?;
        let limit = Limit::of(&text.name, text.policy).map_err(serde::de::Error::custom)?;
        Ok(if is_default(&text.fallback) { limit } else { limit.with_fallback(text.fallback) })
    }
}

/// A limit's place in a store's registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LimitIndex {
    /// Stands for this name with this policy.
    pub limit: u32,
    /// Stands for the name alone, whatever the policy: what identifies a count.
    pub name: u32,
}

/// A store's name and the limits it has met. Every store keeps one.
///
/// Its tag is random, so receipts cannot be taken for those of another store of the process. Limits are
/// never forgotten: they are a service's policies, not its subjects; do not make up names per user.
pub struct Identity {
    name: Box<str>,
    tag: u64,
    /// Every limit ever met, by its number; read without a lock.
    limits: Limits,
    /// The latest last.
    by_name: RwLock<HashMap<Box<str>, Vec<Met>>>,
}

impl Identity {
    /// The identity of a store that is called `name` in its receipts: 1 to 16 visible ASCII
    /// characters other than `"` and `\`. Choose a name that says which store it is, never its URL.
    ///
    /// # Errors
    /// [`Error::is_invalid`] when the name is not of that form.
    pub fn new(name: &str) -> Result<Self, Error> {
        check_name("a store's name", name, MAX_STORE_NAME_BYTES)?;
        let tag = RandomState::new().hash_one(name) | 1;
        Ok(Identity { name: name.into(), tag, limits: Limits::default(), by_name: RwLock::default() })
    }

    /// The store's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Random, never 0: tells this store's receipts from those of others in the process.
    #[inline]
    pub fn tag(&self) -> u64 {
        self.tag
    }

    /// The place of `limit`, which is entered when it is new.
    #[inline]
    pub fn index_of(&self, limit: &Limit) -> LimitIndex {
        match limit.home() {
            Some(home) if home.store == self.tag => home.index,
            _ => self.enter(limit),
        }
    }

    /// The limit with this number.
    #[inline]
    pub fn limit(&self, number: u32) -> Option<&Limit> {
        self.limits.at(number).map(|(limit, _)| limit)
    }

    /// The place of the limit with this number.
    #[inline]
    pub fn index(&self, number: u32) -> Option<LimitIndex> {
        self.limits.at(number).map(|&(_, index)| index)
    }

    /// The limit last entered under a name, and its place.
    pub fn by_name(&self, name: &str) -> Option<(Limit, LimitIndex)> {
        let by_name = self.by_name.read().unwrap_or_else(|poisoned| poisoned.into_inner());
        self.limits.at(by_name.get(name)?.last()?.number).cloned()
    }

    /// The limit that a receipt's part names, where it is known here.
    pub fn named(&self, limit: &LimitRef) -> Option<Limit> {
        match limit {
            LimitRef::Index(number) => self.limit(*number).cloned(),
            LimitRef::Name(name) => self.by_name(name).map(|(limit, _)| limit),
        }
    }

    /// The limit by which more is charged to what a receipt's part was charged to: the one last entered under its
    /// name, or the part's own, where that is a [variant](Limit::variant) of it.
    pub fn to_top_up(&self, limit: &LimitRef) -> Option<(Limit, LimitIndex)> {
        match limit {
            LimitRef::Name(name) => self.by_name(name),
            LimitRef::Index(number) => self.variant_where(self.limit(*number)?.name(), |other, _| other == *number),
        }
    }

    /// Tells the limit with this number from its variants, if it has any here: what a token says of it.
    pub(crate) fn variant_mark(&self, number: u32) -> Option<u32> {
        let own = self.limit(number)?;
        let by_name = self.by_name.read().unwrap_or_else(|poisoned| poisoned.into_inner());
        let known = by_name.get(own.name())?;
        let own = known.iter().find(|met| met.number == number)?;
        let has_others = known.iter().any(|met| met.number != number && met.is_beside(own));
        has_others.then(|| mark_of(&own.limit))
    }

    /// The limit that a token names: the variant of that mark, else the one last entered.
    pub(crate) fn by_mark(&self, name: &str, mark: u32) -> Option<(Limit, LimitIndex)> {
        self.variant_where(name, |_, limit| mark_of(limit) == mark)
    }

    /// Of the limit last entered under a name and its variants the one that is so; else the one last entered.
    fn variant_where(&self, name: &str, is_so: impl Fn(u32, &Limit) -> bool) -> Option<(Limit, LimitIndex)> {
        let by_name = self.by_name.read().unwrap_or_else(|poisoned| poisoned.into_inner());
        let known = by_name.get(name)?;
        let last = known.last()?;
        let found = known.iter().find(|met| is_so(met.number, &met.limit) && met.is_beside(last));
        self.limits.at(found.unwrap_or(last).number).cloned()
    }

    /// Enters `limit`, or finds it again.
    #[cold]
    pub(crate) fn enter(&self, limit: &Limit) -> LimitIndex {
        let mut by_name = self.by_name.write().unwrap_or_else(|poisoned| poisoned.into_inner());
        let met = by_name.entry(limit.name().into()).or_default();
        let time = met.last().map_or(0, |last| {
            let goes_on = |met: &Met| met.time == last.time && (met.limit == *limit || met.limit.is_variant_of(limit));
            if met.iter().any(goes_on) { last.time } else { last.time + 1 }
        });
        let known = met.iter().position(|met| met.limit == *limit);
        let index = match known.and_then(|at| Some((at, self.index(met[at].number)?))) {
            Some((at, index)) => {
                // It is the one last entered again.
                met.remove(at);
                index
            }
            None => {
                let number = self.limits.len();
                let name = met.iter().map(|met| met.number).min().unwrap_or(number);
                let index = LimitIndex { limit: number, name };
                self.limits.push((limit.clone(), index));
                index
            }
        };
        met.push(Met { number: index.limit, limit: limit.clone(), time });
        drop(by_name);
        limit.settle_home(Home { store: self.tag, index });
        index
    }
}

/// A limit met under a name, as it was last entered: limits that are the same by name and policy share a number, and may
/// be of different families in turn.
struct Met {
    number: u32,
    limit: Limit,
    /// Of the times that the name stood for something else, which one: limits that are the same as one of that time, or
    /// a variant of it, go on with it, however often they are made.
    time: u32,
}

impl Met {
    fn is_beside(&self, other: &Met) -> bool {
        self.time == other.time || self.limit.is_variant_of(&other.limit)
    }
}

/// Some places of a list, each filled once.
type Segment = Box<[OnceLock<(Limit, LimitIndex)>]>;

/// An append-only list, read without a lock: segments of doubling length that never move.
#[derive(Default)]
struct Limits {
    segments: [OnceLock<Segment>; 27],
    length: AtomicU32,
}

impl Limits {
    const FIRST: u32 = 32;

    #[inline]
    fn at(&self, number: u32) -> Option<&(Limit, LimitIndex)> {
        let (segment, offset) = Self::place(number);
        self.segments.get(segment)?.get()?.get(offset)?.get()
    }

    fn len(&self) -> u32 {
        self.length.load(Ordering::Acquire)
    }

    /// Called under the write lock of the names.
    fn push(&self, limit: (Limit, LimitIndex)) {
        let number = self.len();
        let (segment, offset) = Self::place(number);
        let length = (Self::FIRST as usize) << segment;
        let segment = self.segments[segment].get_or_init(|| (0..length).map(|_| OnceLock::new()).collect());
        // The place is fresh: numbers are given out once, under the lock.
        let _ = segment[offset].set(limit);
        self.length.store(number + 1, Ordering::Release);
    }

    #[inline]
    fn place(number: u32) -> (usize, usize) {
        let number = u64::from(number) + u64::from(Self::FIRST);
        let segment = number.ilog2() - Self::FIRST.ilog2();
        (segment as usize, (number - (u64::from(Self::FIRST) << segment)) as usize)
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({})", self.name)
    }
}

/// FNV-1a of the policy's text: enough to tell a few variants apart, in every process and release.
fn mark_of(limit: &Limit) -> u32 {
    let text = limit.policy().to_string();
    text.bytes().fold(0x811c_9dc5, |mark, byte| (mark ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

fn check_name(what: &str, name: &str, longest: usize) -> Result<(), Error> {
    if name.is_empty() {
        return Err(Error::invalid(format!("{what} is empty; give 1 to {longest} characters")));
    }
    if name.len() > longest {
        return Err(Error::invalid(format!("{what} has {} bytes; at most {longest} are taken", name.len())));
    }
    match name.char_indices().find(|&(_, c)| !matches!(c, ' '..='~') || c == '"' || c == '\\') {
        Some((at, c)) => {
            Err(Error::at(name, at, format!("{what} cannot hold {c:?}: visible ASCII other than `\"` and `\\` only")))
        }
        None if name.starts_with(' ') || name.ends_with(' ') => {
            Err(Error::invalid(format!("{what} begins or ends with a space: `{name}`")))
        }
        None => Ok(()),
    }
}
