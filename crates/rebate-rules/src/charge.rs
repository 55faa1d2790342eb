//! What is charged for a request, and to whom.

use std::ops::Deref;

use rebate_core::{Item, KeyRef};
use smallvec::SmallVec;

use crate::rules::{CheckedRule, Inner, Line, OnMissingKey, OnTrouble, RuleLimit};
use crate::source::{Absence, KeyBuffer, Source, Subject};

/// What the rules say of a request's method and path.
#[derive(Clone, Debug)]
pub enum Chosen<'a> {
    /// Limiting is switched off.
    Off,
    /// The path lies outside the base.
    Outside,
    /// No rule is for it.
    NoRule,
    /// It is never limited.
    Exempt(Exemption<'a>),
    /// Its path can be read in more ways than are looked at, and none of those leads to a rule: no honest client's.
    /// To be answered with 400.
    Refused,
    /// It is to be charged.
    Charged(Charge<'a>),
}

/// Why a request is never limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exemption<'a> {
    /// By its method.
    Method,
    /// By this path, as it was written.
    Path(&'a str),
    /// By its key.
    Key,
    /// By its client's address.
    Network,
}

/// The rules by which a request is charged: nearly always one.
#[derive(Clone, Debug)]
pub struct Charge<'a> {
    inner: &'a Inner,
    rule: &'a CheckedRule,
    more: SmallVec<[&'a CheckedRule; 1]>,
}

/// Why a request is charged nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Uncharged<'a> {
    /// It is never limited.
    Exempt(Exemption<'a>),
    /// It lacks the key, and passes by the rule's word.
    NoKey,
    /// Its plan limits nothing.
    Unlimited,
    /// It lacks the key, and is to be denied.
    Denied(MissingKey<'a>),
}

/// A key that a request lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MissingKey<'a> {
    rule: &'a CheckedRule,
    source: &'a Source,
    absence: Absence,
}

impl PartialEq for CheckedRule {
    /// Whether it is the same rule of the same rules.
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self, other)
    }
}

impl Eq for CheckedRule {}

impl<'a> MissingKey<'a> {
    /// The rule that asks for it.
    pub fn rule(&self) -> &'a CheckedRule {
        self.rule
    }

    /// What is missing.
    pub fn source(&self) -> &'a Source {
        self.source
    }

    /// Whether it is there but too long to be charged: above 64 KiB.
    pub fn is_too_long(&self) -> bool {
        self.absence == Absence::TooLong
    }

    /// The HTTP status of the answer: 401 where nobody said who is asking, else 400.
    pub fn status(&self) -> u16 {
        if self.source.is_user() && !self.is_too_long() { 401 } else { 400 }
    }
}

/// What is to be charged: the items of one charge. Derefs to them.
#[derive(Clone, Debug)]
pub struct Items<'a> {
    items: SmallVec<[Item<'a>; 3]>,
    limits: SmallVec<[&'a RuleLimit; 3]>,
}

impl<'a> Items<'a> {
    /// The limit of the item at place `item`, as the rules know it.
    pub fn limit(&self, item: usize) -> Option<&'a RuleLimit> {
        self.limits.get(item).copied()
    }

    /// The limits of all items, in their order.
    pub fn limits(&self) -> &[&'a RuleLimit] {
        &self.limits
    }
}

impl<'a> Deref for Items<'a> {
    type Target = [Item<'a>];

    #[inline]
    fn deref(&self) -> &Self::Target {
        &self.items
    }
}

impl<'a> Charge<'a> {
    #[inline]
    pub(crate) fn new(inner: &'a Inner, rule: &'a CheckedRule) -> Self {
        Charge { inner, rule, more: SmallVec::new() }
    }

    pub(crate) fn add(&mut self, rule: &'a CheckedRule) {
        self.more.push(rule);
    }

    /// The rule; where the path can be read in several ways, that of the path as it came, if it has one.
    #[inline]
    pub fn rule(&self) -> &'a CheckedRule {
        self.rule
    }

    /// All rules by which it is charged.
    pub fn rules(&self) -> impl Iterator<Item = &'a CheckedRule> {
        std::iter::once(self.rule).chain(self.more.iter().copied())
    }

    /// Whether an HTTP status gives the charge back: by the word of every rule.
    #[inline]
    pub fn refunds(&self, status: u16) -> bool {
        self.rules().all(|rule| rule.refunds.contains(status))
    }

    /// Whether a gRPC status gives the charge back: by the word of every rule.
    #[inline]
    pub fn refunds_grpc(&self, status: u32) -> bool {
        self.rules().all(|rule| rule.refunds.contains_grpc(status))
    }

    /// What becomes of it while the store cannot be reached: the strictest rule decides.
    pub fn on_unavailable(&self) -> OnTrouble {
        self.rules().map(|rule| rule.on_unavailable).max().unwrap_or(OnTrouble::Deny)
    }

    /// What becomes of it while the store is full: the strictest rule decides.
    pub fn on_full(&self) -> OnTrouble {
        self.rules().map(|rule| rule.on_full).max().unwrap_or(OnTrouble::Deny)
    }

    /// The plan that limits the request, where there are plans.
    pub fn plan(&self, subject: &(impl Subject + ?Sized)) -> Option<&'a str> {
        let plans = self.inner.plans.as_ref()?;
        Some(&plans.names[self.inner.plan(subject)])
    }

    /// What to charge: each limit once, at its cost and to its key, whose bytes are written to `keys`.
    ///
    /// ```
    /// use std::borrow::Cow;
    /// use rebate_rules::{Chosen, KeyBuffer, Rule, Rules, Subject};
    ///
    /// struct User(&'static str);
    /// impl Subject for User {
    ///     fn user(&self) -> Option<Cow<'_, [u8]>> { Some(self.0.as_bytes().into()) }
    /// }
    ///
    /// let rules = Rules::builder().rule(Rule::path("/generate").limit("10/month").cost(2)).build()?;
    /// let Chosen::Charged(charge) = rules.choose("POST", "/generate") else { panic!("charged") };
    /// let mut keys = KeyBuffer::new();
    /// let items = charge.items(&User("42"), &mut keys).expect("a user is known");
    /// assert_eq!((items[0].limit.name(), items[0].key.bytes(), items[0].cost), ("/generate", &b"user:42"[..], 2));
    /// # Ok::<(), rebate_rules::Problems>(())
    /// ```
    ///
    /// # Errors
    /// No error but why it is charged nothing.
    #[inline]
    pub fn items<'k>(
        &self,
        subject: &(impl Subject + ?Sized),
        keys: &'k mut KeyBuffer,
    ) -> Result<Items<'k>, Uncharged<'a>>
    where
        'a: 'k,
    {
        keys.bytes.clear();
        if self.inner.is_exempt_network(subject) {
            return Err(Uncharged::Exempt(Exemption::Network));
        }
        let plan = self.inner.plan(subject);
        if self.more.is_empty() {
            let written = self.inner.write_keys(self.rule, subject, keys)?;
            let mut items = Items { items: SmallVec::new(), limits: SmallVec::new() };
            for (key, cost, limit) in self.inner.lines(&written, &keys.bytes, plan) {
                items.items.push(Item { limit: &limit.limit, key, cost });
                items.limits.push(limit);
            }
            return if items.is_empty() { Err(Uncharged::Unlimited) } else { Ok(items) };
        }
        self.items_of_several(subject, plan, keys)
    }

    /// The same for a path that is read in several ways.
    #[cold]
    fn items_of_several<'k>(
        &self,
        subject: &(impl Subject + ?Sized),
        plan: usize,
        keys: &'k mut KeyBuffer,
    ) -> Result<Items<'k>, Uncharged<'a>>
    where
        'a: 'k,
    {
        let mut written: SmallVec<[Written<'a>; 1]> = SmallVec::new();
        let mut uncharged = None;
        for rule in self.rules() {
            match self.inner.write_keys(rule, subject, keys) {
                Ok(ends) => written.push(ends),
                Err(denied @ Uncharged::Denied(_)) => return Err(denied),
                Err(why) => uncharged = Some(why),
            }
        }
        let mut items = Items { items: SmallVec::new(), limits: SmallVec::new() };
        for written in &written {
            for (key, cost, limit) in self.inner.lines(written, &keys.bytes, plan) {
                // Only here can a limit be met twice.
                match items.items.iter_mut().find(|known| *known.limit == limit.limit && known.key == key) {
                    Some(known) => known.cost = known.cost.max(cost),
                    None => {
                        items.items.push(Item { limit: &limit.limit, key, cost });
                        items.limits.push(limit);
                    }
                }
            }
        }
        if items.is_empty() { Err(uncharged.unwrap_or(Uncharged::Unlimited)) } else { Ok(items) }
    }
}

/// Where a rule's key and group were written.
struct Written<'a> {
    rule: &'a CheckedRule,
    start: usize,
    key_end: usize,
    group_end: usize,
}

impl Inner {
    #[inline]
    fn is_exempt_network(&self, subject: &(impl Subject + ?Sized)) -> bool {
        if self.exempt_networks.is_empty() {
            return false;
        }
        let address = subject.address().map(|address| address.to_canonical());
        address.is_some_and(|address| self.exempt_networks.iter().any(|network| network.contains(&address)))
    }

    #[inline]
    fn plan(&self, subject: &(impl Subject + ?Sized)) -> usize {
        let Some(plans) = &self.plans else { return 0 };
        let named = plans.by.attribute(subject);
        let known = named.and_then(|named| plans.names.iter().position(|name| name.as_bytes() == &*named));
        known.unwrap_or(plans.default)
    }

    /// The key, cost and limit of each item by a rule.
    #[inline]
    fn lines<'k>(
        &'k self,
        written: &Written<'k>,
        bytes: &'k [u8],
        plan: usize,
    ) -> impl Iterator<Item = (KeyRef<'k>, u64, &'k RuleLimit)> {
        let &Written { rule, start, key_end, group_end } = written;
        let key = &bytes[start..key_end];
        let key = match rule.group {
            Some(_) => KeyRef::in_group(&bytes[key_end..group_end], key),
            None => KeyRef::new(key),
        };
        let line = move |line: &'k Line| Some((key, line.cost, &self.limits[line.by_plan[plan]? as usize]));
        rule.lines.iter().filter_map(line)
    }

    #[inline]
    fn write_keys<'a>(
        &'a self,
        rule: &'a CheckedRule,
        subject: &(impl Subject + ?Sized),
        keys: &mut KeyBuffer,
    ) -> Result<Written<'a>, Uncharged<'a>> {
        let start = keys.bytes.len();
        if let Err(absence) = rule.key.write(subject, self.ipv6_prefix, keys) {
            let denied = Uncharged::Denied(MissingKey { rule, source: &rule.key, absence });
            keys.bytes.truncate(start);
            match &rule.on_missing_key {
                // Whoever sends too much of a key does not pass for one who sends none.
                _ if absence == Absence::TooLong => return Err(denied),
                OnMissingKey::Deny => return Err(denied),
                OnMissingKey::Skip => return Err(Uncharged::NoKey),
                OnMissingKey::Take(other) => {
                    other.write(subject, self.ipv6_prefix, keys).map_err(|_| denied)?;
                }
            }
        }
        let key_end = keys.bytes.len();
        let key = &keys.bytes[start..];
        if !self.exempt_keys.is_empty() && self.exempt_keys.binary_search_by(|known| (**known).cmp(key)).is_ok() {
            return Err(Uncharged::Exempt(Exemption::Key));
        }
        if let Some(group) = &rule.group {
            group.write(subject, self.ipv6_prefix, keys).map_err(|absence| match (absence, &rule.on_missing_key) {
                (Absence::Missing, OnMissingKey::Skip) => Uncharged::NoKey,
                _ => Uncharged::Denied(MissingKey { rule, source: group, absence }),
            })?;
        }
        Ok(Written { rule, start, key_end, group_end: keys.bytes.len() })
    }
}
