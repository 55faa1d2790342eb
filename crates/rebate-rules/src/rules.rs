//! Rules that were found to be right.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use ipnet::IpNet;
use rebate_core::Limit;
use smallvec::SmallVec;

use crate::builder::RulesBuilder;
use crate::charge::{Charge, Chosen, Exemption};
use crate::methods::{Class, Methods};
use crate::path::{Pattern, is_plain, without_trailing_slash};
use crate::problem::{Problem, Problems};
use crate::read::read;
use crate::readings::{normal_form, readings};
use crate::refunds::Statuses;
use crate::router::Target;
use crate::source::Source;

/// Which requests are charged to which limits. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Rules {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) off: bool,
    /// Decoded, without a slash at its end.
    pub(crate) base: Box<str>,
    pub(crate) ipv6_prefix: u8,
    pub(crate) methods: Methods,
    pub(crate) targets: Vec<Aim>,
    pub(crate) rules: Vec<CheckedRule>,
    pub(crate) limits: Vec<RuleLimit>,
    pub(crate) plans: Option<CheckedPlans>,
    /// In order.
    pub(crate) exempt_keys: Vec<Box<[u8]>>,
    pub(crate) exempt_networks: Vec<IpNet>,
    pub(crate) functions: Vec<Box<str>>,
    /// In words.
    pub(crate) exemptions: Vec<Box<str>>,
    pub(crate) warnings: Box<[Problem]>,
}

impl fmt::Debug for Inner {
    /// Of the exempt keys only their number: keys may be personal data.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inner")
            .field("off", &self.off)
            .field("base", &self.base)
            .field("rules", &self.rules)
            .field("limits", &self.limits)
            .field("plans", &self.plans)
            .field("exempt_keys", &self.exempt_keys.len())
            .finish_non_exhaustive()
    }
}

/// What a route leads to.
#[derive(Debug)]
pub(crate) enum Aim {
    Rule(usize),
    /// An exempt path.
    Exempt(Pattern),
}

#[derive(Debug)]
pub(crate) struct CheckedPlans {
    pub(crate) by: Source,
    pub(crate) names: Vec<Box<str>>,
    pub(crate) default: usize,
}

/// A rule that was found to be right.
#[derive(Debug)]
pub struct CheckedRule {
    pub(crate) index: usize,
    pub(crate) name: Box<str>,
    pub(crate) pattern: Box<str>,
    pub(crate) prefix: bool,
    pub(crate) methods: Vec<Box<str>>,
    pub(crate) key: Source,
    pub(crate) group: Option<Source>,
    pub(crate) on_missing_key: OnMissingKey,
    pub(crate) on_unavailable: OnTrouble,
    pub(crate) on_full: OnTrouble,
    pub(crate) refunds: Statuses,
    pub(crate) lines: Vec<Line>,
}

/// A limit as a rule charges it.
#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) cost: u64,
    /// The limit's number under each plan; one alone where there are no plans. `None`: unlimited.
    pub(crate) by_plan: Box<[Option<u32>]>,
}

/// A limit of the rules, under one plan where plans differ in it.
#[derive(Debug)]
pub struct RuleLimit {
    pub(crate) index: usize,
    pub(crate) limit: Limit,
    pub(crate) policy: Box<str>,
    pub(crate) code: Box<str>,
    pub(crate) plans: Vec<Box<str>>,
}

/// What becomes of a request while its store is in trouble.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum OnTrouble {
    /// It passes, unchecked.
    Allow,
    /// It is denied: 503.
    Deny,
}

/// What becomes of a request that lacks the key it is to be charged to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OnMissingKey {
    /// It is denied.
    Deny,
    /// It passes, uncharged.
    Skip,
    /// It is charged to a key of this other source; denied when that is missing too.
    Take(Source),
}

impl Rules {
    /// Rules in plain Rust.
    pub fn builder() -> RulesBuilder {
        RulesBuilder::default()
    }

    /// Reads a rule file.
    ///
    /// # Errors
    /// All that is wrong, at once, each with its place and what would be right.
    pub fn parse(text: &str) -> Result<Self, Problems> {
        read(text)
    }

    /// What looks wrong: rules that are never chosen, and the like.
    pub fn warnings(&self) -> &[Problem] {
        &self.inner.warnings
    }

    /// The rules, in the order they were declared in.
    pub fn rules(&self) -> &[CheckedRule] {
        &self.inner.rules
    }

    /// Every limit, in the order of their [numbers](RuleLimit::index); under each plan where plans differ.
    pub fn limits(&self) -> &[RuleLimit] {
        &self.inner.limits
    }

    /// The names of the functions that [`Subject::function`](crate::Subject::function) is asked for.
    pub fn functions(&self) -> impl Iterator<Item = &str> {
        self.inner.functions.iter().map(|name| &**name)
    }

    /// The rule for a request, by its method and the path of its URI (without the query).
    ///
    /// Where servers may read a path in different ways (something in it is encoded, doubled, or to be resolved),
    /// a request is charged by the rules of every reading, and is exempt only when each reading that leads anywhere
    /// leads to an exempt path. The readings are all that comes of these steps, in whatever order and however often:
    /// to decode (also overlong UTF-8 and `%u002e`), to drop `;parameters`, to take `\` for `/`, to cut at `?`, `#` or
    /// NUL, to collapse slashes, to resolve dots. At most 128 are looked at, fewer of a very long path; one that has
    /// more is charged by those, and [refused](Chosen::Refused) when none of them is charged.
    ///
    /// ```
    /// use rebate_rules::{Chosen, Rule, Rules};
    ///
    /// let rules = Rules::builder().rule(Rule::path("/generate").limit("10/month")).exempt_path("/health").build()?;
    /// for path in ["/generate", "/generate/", "//generate", "/gener%61te", "/health/%2e%2e/generate"] {
    ///     assert!(matches!(rules.choose("POST", path), Chosen::Charged(_)), "{path}");
    /// }
    /// assert!(matches!(rules.choose("POST", "/health"), Chosen::Exempt(_)));
    /// # Ok::<(), rebate_rules::Problems>(())
    /// ```
    #[inline]
    pub fn choose(&self, method: &str, path: &str) -> Chosen<'_> {
        let inner = &*self.inner;
        if inner.off {
            return Chosen::Off;
        }
        let router = match inner.methods.class(method) {
            Class::Exempt => return Chosen::Exempt(Exemption::Method),
            Class::Router(router) => router,
        };
        if let Some(target) = inner.methods.router(router).at_plain(path) {
            return inner.aim(target);
        }
        if !is_plain(path) {
            return inner.choose_odd(router, path);
        }
        let path = without_trailing_slash(path);
        match inner.methods.router(router).at(path) {
            Some(target) => inner.aim(target),
            None => inner.nothing(path),
        }
    }

    /// The ways in which servers may read a path, and what each alone leads to; one for most paths. For those who
    /// explain what [`choose`](Rules::choose) answers.
    pub fn readings<'p>(&self, method: &str, path: &'p str) -> Vec<(Cow<'p, str>, Chosen<'_>)> {
        let inner = &*self.inner;
        let readings: Vec<Cow<'p, str>> = match is_plain(path) {
            true => vec![without_trailing_slash(path).into()],
            false => readings(path).found.into_iter().map(Cow::Owned).collect(),
        };
        let chosen = |reading: &str| match (inner.off, inner.methods.class(method)) {
            (true, _) => Chosen::Off,
            (_, Class::Exempt) => Chosen::Exempt(Exemption::Method),
            (_, Class::Router(router)) => match inner.methods.router(router).at(reading) {
                Some(target) => inner.aim(target),
                None => inner.nothing(reading),
            },
        };
        let lead = |reading: Cow<'p, str>| {
            let chosen = chosen(&reading);
            (reading, chosen)
        };
        readings.into_iter().map(lead).collect()
    }

    /// What a rule charges: each limit, under each plan where plans differ in it, and its cost. A plan that none of
    /// a name's limits tells of does not limit it.
    pub fn charges<'a>(&'a self, rule: &'a CheckedRule) -> impl Iterator<Item = (&'a RuleLimit, u64)> {
        rule.lines.iter().flat_map(|line| {
            let mut numbers: Vec<u32> = line.by_plan.iter().copied().flatten().collect();
            numbers.sort_unstable();
            numbers.dedup();
            numbers.into_iter().map(|number| (&self.inner.limits[number as usize], line.cost))
        })
    }

    /// What is never limited, in words: `path /health`, `network 10.0.0.0/8`.
    pub fn exemptions(&self) -> impl Iterator<Item = &str> {
        self.inner.exemptions.iter().map(|exemption| &**exemption)
    }

    /// The path as rules are written for it: decoded once, slashes collapsed, dots resolved, without a slash at its
    /// end.
    pub fn normal_form(path: &str) -> Cow<'_, str> {
        normal_form(path)
    }

    /// What chooses a request's plan, where there are plans.
    pub fn plans_by(&self) -> Option<&Source> {
        self.inner.plans.as_ref().map(|plans| &plans.by)
    }

    /// The names of the plans, in their order.
    pub fn plans(&self) -> impl Iterator<Item = &str> {
        self.inner.plans.iter().flat_map(|plans| plans.names.iter().map(|name| &**name))
    }
}

impl Inner {
    fn aim(&self, target: Target) -> Chosen<'_> {
        match &self.targets[target as usize] {
            Aim::Rule(rule) => Chosen::Charged(Charge::new(self, &self.rules[*rule])),
            Aim::Exempt(pattern) => Chosen::Exempt(Exemption::Path(&pattern.text)),
        }
    }

    /// A path that no route matches.
    fn nothing(&self, path: &str) -> Chosen<'_> {
        match path.strip_prefix(&*self.base) {
            Some(rest) if rest.is_empty() || rest.starts_with('/') || self.base.is_empty() => Chosen::NoRule,
            _ => Chosen::Outside,
        }
    }

    #[cold]
    fn choose_odd(&self, router: usize, path: &str) -> Chosen<'_> {
        let mut chosen: SmallVec<[usize; 1]> = SmallVec::new();
        let mut exemption = None;
        let router = self.methods.router(router);
        let readings = readings(path);
        for reading in &readings.found {
            match router.at(reading).map(|target| &self.targets[target as usize]) {
                Some(Aim::Rule(rule)) if !chosen.contains(rule) => chosen.push(*rule),
                Some(Aim::Rule(_)) | None => {}
                Some(Aim::Exempt(pattern)) => exemption = Some(&pattern.text),
            }
        }
        match (chosen.split_first(), exemption) {
            (Some((&first, more)), _) => {
                let mut charge = Charge::new(self, &self.rules[first]);
                more.iter().for_each(|&rule| charge.add(&self.rules[rule]));
                Chosen::Charged(charge)
            }
            // What leads to a rule may be among those that were not looked at.
            (None, _) if !readings.complete => Chosen::Refused,
            (None, Some(path)) => Chosen::Exempt(Exemption::Path(path)),
            (None, None) => self.nothing(&normal_form(path)),
        }
    }
}

impl CheckedRule {
    /// Its place among [`Rules::rules`].
    pub fn index(&self) -> usize {
        self.index
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The path it is for, base included, as it was written.
    pub fn path(&self) -> &str {
        &self.pattern
    }

    /// Whether it is for all that lies below the path too.
    pub fn is_prefix(&self) -> bool {
        self.prefix
    }

    /// The methods it names; none: every method.
    pub fn methods(&self) -> impl Iterator<Item = &str> {
        self.methods.iter().map(|method| &**method)
    }

    /// Who is charged.
    pub fn key(&self) -> &Source {
        &self.key
    }

    /// What group the key belongs to.
    pub fn group(&self) -> Option<&Source> {
        self.group.as_ref()
    }

    /// What becomes of a request without the key.
    pub fn on_missing_key(&self) -> &OnMissingKey {
        &self.on_missing_key
    }

    /// What becomes of a request while the store cannot be reached.
    pub fn on_unavailable(&self) -> OnTrouble {
        self.on_unavailable
    }

    /// What becomes of a request while the store is full.
    pub fn on_full(&self) -> OnTrouble {
        self.on_full
    }

    /// Which statuses give the charge back.
    pub fn refunds(&self) -> &Statuses {
        &self.refunds
    }
}

impl RuleLimit {
    /// Its place among [`Rules::limits`].
    pub fn index(&self) -> usize {
        self.index
    }

    /// The limit itself. Its name is that of the rule, for a rule's own limit.
    pub fn limit(&self) -> &Limit {
        &self.limit
    }

    /// The text of its policy: `10/month`.
    pub fn policy(&self) -> &str {
        &self.policy
    }

    /// What a client is told whom it denies, for programs: `DAILY_QUOTA_EXCEEDED`.
    pub fn code(&self) -> &str {
        &self.code
    }

    /// The plans under which the limit is this one; none where plans say nothing of it.
    pub fn plans(&self) -> impl Iterator<Item = &str> {
        self.plans.iter().map(|plan| &**plan)
    }
}
