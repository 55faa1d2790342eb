//! Limits: those that rules share, plans, and each rule's own.

use std::collections::{HashMap, HashSet};

use rebate_core::Limit;

use super::{Check, at_byte, first_line, part};
use crate::declare::{Declared, Plans, SharedLimit, Text};
use crate::nearest::nearest;
use crate::problem::Where;
use crate::rules::{CheckedPlans, RuleLimit};
use crate::source::is_token;

/// All limits, as far as they are right.
#[derive(Default)]
pub(super) struct Limits {
    all: Vec<RuleLimit>,
    shared: HashMap<String, Shared>,
    plans: Vec<String>,
}

/// A limit that rules name.
struct Shared {
    /// Its number under each plan (one alone without plans), and whether it is said there.
    by_plan: Vec<Under>,
    used: bool,
    place: Where,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Under {
    Limited(u32),
    Unlimited,
    Unsaid,
    /// Said, but wrongly: that has been told.
    Wrong,
}

impl Limits {
    fn push(&mut self, limit: Limit, code: Option<&Text>, plans: Vec<Box<str>>) -> u32 {
        let index = self.all.len();
        let code = code.map_or_else(|| code_of(limit.name()), |code| code.value.clone()).into();
        let policy = limit.policy().to_string().into();
        self.all.push(RuleLimit { index, limit, policy, code, plans });
        index as u32
    }
}

impl Check {
    /// Takes the limits that rules share, and the plans.
    pub(super) fn shared_limits(&mut self, declared: &Declared, limits: &mut Limits) -> Option<CheckedPlans> {
        let plans = declared.plans.as_ref().map(|plans| (plans, self.plans(plans)));
        limits.plans = match &declared.plans {
            Some(plans) => plans.plans.iter().map(|plan| plan.name.value.clone()).collect(),
            None => vec![String::new()],
        };
        self.doubled(&declared.limits, "limit");
        for plan in declared.plans.iter().flat_map(|plans| &plans.plans) {
            self.doubled(&plan.limits, "limit of this plan");
        }
        let of_plans = declared.plans.iter().flat_map(|plans| &plans.plans).flat_map(|plan| &plan.limits);
        for limit in declared.limits.iter().chain(of_plans) {
            if !limits.shared.contains_key(&limit.name.value) {
                let shared = self.shared(&limit.name, declared, limits);
                limits.shared.insert(limit.name.value.clone(), shared);
            }
        }
        plans.and_then(|(_, plans)| plans)
    }

    fn plans(&mut self, plans: &Plans) -> Option<CheckedPlans> {
        let place = plans.place.or(&part("plans")).clone();
        let by = match &plans.by {
            None => {
                let right = "say `by = \"header:x-plan\"` or `by = \"function:NAME\"`";
                self.found.error(&place, format!("what chooses a request's plan? {right}"));
                None
            }
            Some(by) => match self.source(by, &place) {
                Some(source) if !source.is_attribute() => {
                    let right = "take `header:NAME` or `function:NAME`";
                    self.found.error(by.place.or(&place), format!("`{source}` tells no plan; {right}"));
                    None
                }
                source => source,
            },
        };
        for (at, plan) in plans.plans.iter().enumerate() {
            if plans.plans[..at].iter().any(|other| other.name.value == plan.name.value) {
                self.found.error(plan.name.place.or(&place), format!("a second plan `{}`", plan.name.value));
            }
        }
        let names = || plans.plans.iter().map(|plan| &*plan.name.value);
        let default = match &plans.default {
            _ if plans.plans.is_empty() => {
                self.found.error(&place, "there is no plan; write one as `[plans.free]`");
                None
            }
            None => {
                let first = names().next().unwrap_or_default();
                let text = format!("which plan is that of a request without one? Say `default = \"{first}\"`");
                self.found.error(&place, text);
                None
            }
            Some(default) if plans.has(&default.value) => names().position(|name| name == default.value),
            Some(default) => {
                let text = format!("there is no plan `{}`; {}", default.value, known(&default.value, names()));
                self.found.error(default.place.or(&place), text);
                None
            }
        };
        Some(CheckedPlans { by: by?, names: names().map(Into::into).collect(), default: default? })
    }

    fn doubled(&mut self, limits: &[SharedLimit], what: &str) {
        let mut seen = HashSet::new();
        for limit in limits {
            if !seen.insert(&*limit.name.value) {
                let text = format!("a second {what} called `{}`; give it another name", limit.name.value);
                self.found.error(&limit.name.place, text);
            }
        }
    }

    /// The limit called `name` under each plan.
    fn shared(&mut self, name: &Text, declared: &Declared, limits: &mut Limits) -> Shared {
        let find = |limits: &[SharedLimit]| limits.iter().position(|limit| limit.name.value == name.value);
        let base = find(&declared.limits).map(|at| &declared.limits[at]);
        let mut family: Option<Limit> = None;
        // Policies said already, so that two plans of the same policy share a limit.
        let mut known: Vec<u32> = Vec::new();
        let mut by_plan = Vec::new();
        if let Some(base) = base
            && declared.plans.is_some()
        {
            // Said to be wrong even if every plan says otherwise.
            self.member(base, &mut family);
        }
        let plans: Vec<Option<&SharedLimit>> = match &declared.plans {
            None => vec![base],
            Some(plans) => {
                plans.plans.iter().map(|plan| find(&plan.limits).map(|at| &plan.limits[at]).or(base)).collect()
            }
        };
        for (plan, said) in limits.plans.clone().into_iter().zip(plans) {
            let under = match said {
                None => Under::Unsaid,
                Some(said) if declared.plans.is_some() && is_unlimited(said) => Under::Unlimited,
                Some(said) => match self.member(said, &mut family) {
                    None => Under::Wrong,
                    Some(limit) => {
                        let code = said.code.as_ref().or(base.and_then(|base| base.code.as_ref()));
                        self.code(code, &said.name.place);
                        let same = known.iter().copied().find(|&number| {
                            let other = &limits.all[number as usize];
                            other.limit == limit && code.is_none_or(|code| *code.value == *other.code)
                        });
                        let number = same.unwrap_or_else(|| limits.push(limit, code, Vec::new()));
                        if declared.plans.is_some() {
                            limits.all[number as usize].plans.push(plan.into());
                        }
                        known.push(number);
                        Under::Limited(number)
                    }
                },
            };
            by_plan.push(under);
        }
        Shared { by_plan, used: false, place: name.place.clone() }
    }

    fn member(&mut self, said: &SharedLimit, family: &mut Option<Limit>) -> Option<Limit> {
        let policy = said.policy.as_ref()?;
        if is_unlimited(said) {
            let right = "`unlimited` is for plans; leave the limit out instead";
            self.found.error(policy.place.or(&said.name.place), right);
            return None;
        }
        let place = policy.place.or(&said.name.place);
        match family {
            Some(first) => match rebate_core::Policy::parse(&policy.value).and_then(|own| {
                // Told here, where it can be said what would be right.
                if own.continues(first.policy()) { first.variant(&policy.value).map(Some) } else { Ok(None) }
            }) {
                Ok(Some(limit)) => Some(limit),
                Ok(None) => {
                    let text = format!(
                        "`{}` is {} elsewhere and {} here: with another window, layout or algorithm a count starts \
                         afresh at each change of the plan, so that who alternates is never limited; take those of {} \
                         with a quota of this plan's own, or charge a limit of another name",
                        said.name.value,
                        first.policy(),
                        policy.value,
                        first.policy()
                    );
                    self.found.error(place, text);
                    None
                }
                Err(error) => {
                    self.found.error(&at_byte(place, &policy.value, error.position()), first_line(&error));
                    None
                }
            },
            None => {
                let limit = self.own_limit(&said.name, &said.name.place, policy, place)?;
                *family = Some(limit.clone());
                Some(limit)
            }
        }
    }

    /// A limit under a name of its own.
    fn own_limit(&mut self, name: &Text, name_place: &Where, policy: &Text, place: &Where) -> Option<Limit> {
        let parsed = rebate_core::Policy::parse(&policy.value).map_err(|error| {
            self.found.error(&at_byte(place, &policy.value, error.position()), first_line(&error));
        });
        // Both are looked at, so that both are told.
        let any = rebate_core::Policy::fixed(1, std::time::Duration::from_secs(1)).ok()?;
        if let Err(error) = Limit::of(&name.value, any) {
            let mut text = first_line(&error);
            if name.value.starts_with('/') {
                text.push_str("; the rule's own limit is called as its path is: give the rule a `name`");
            }
            self.found.error(&at_byte(name_place, &name.value, error.position()), text);
            return None;
        }
        Limit::of(&name.value, parsed.ok()?).ok()
    }

    fn code(&mut self, code: Option<&Text>, outer: &Where) {
        let Some(code) = code else { return };
        if !is_token(&code.value) || code.value.len() > 64 {
            let right = "a code has 1 to 64 letters, digits and `_`, such as `DAILY_QUOTA_EXCEEDED`";
            self.found.error(code.place.or(outer), format!("`{}`: {right}", code.value));
        }
    }

    /// The number of a rule's own limit.
    pub(super) fn rule_limit(
        &mut self,
        limits: &mut Limits,
        name: (&Text, &Where),
        policy: &Text,
        code: Option<&Text>,
        outer: &Where,
    ) -> Option<u32> {
        self.code(code, outer);
        if limits.shared.contains_key(&name.0.value) {
            let text = format!(
                "the rule's own limit would be called `{}` as one in `[limits]` is; give the rule another `name`, or charge that limit by `limits`",
                name.0.value
            );
            self.found.error(name.1, text);
            return None;
        }
        let limit = self.own_limit(name.0, name.1, policy, policy.place.or(outer))?;
        Some(limits.push(limit, code, Vec::new()))
    }

    /// The numbers of a shared limit, under each plan.
    pub(super) fn find_limit(&mut self, limits: &mut Limits, name: &Text, outer: &Where) -> Option<Box<[Option<u32>]>> {
        let place = name.place.or(outer);
        let plans = &limits.plans;
        let Some(shared) = limits.shared.get_mut(&name.value) else {
            let names = limits.shared.keys().map(|name| &**name);
            let known = if self.found.is_full() { String::new() } else { known(&name.value, names) };
            let mut text = format!("there is no limit `{}`; {known}", name.value);
            if rebate_core::Policy::parse(&name.value).is_ok() {
                text = format!(
                    "`{}` is a policy, not a limit's name; write `limit = \"{}\"` for a limit of the rule's own, or \
                     name one in `[limits]`",
                    name.value, name.value
                );
            }
            self.found.error(place, text);
            return None;
        };
        shared.used = true;
        {
            let unsaid = shared.by_plan.iter().zip(plans).find(|(under, _)| **under == Under::Unsaid);
            if let Some((_, plan)) = unsaid {
                let text = format!(
                    "the plan `{plan}` says nothing of `{}`; say its policy or `unlimited` there, or a policy for all \
                     in `[limits]`",
                    name.value
                );
                self.found.error(place, text);
            }
        }
        let number = |under: &Under| if let Under::Limited(number) = under { Some(*number) } else { None };
        Some(shared.by_plan.iter().map(number).collect())
    }

    /// Tells of each quota that a charge of `cost` units can never be admitted by.
    pub(super) fn possible(&mut self, limits: &Limits, rule: &str, by_plan: &[Option<u32>], cost: u64, place: &Where) {
        let mut numbers: Vec<u32> = by_plan.iter().copied().flatten().collect();
        numbers.sort_unstable();
        numbers.dedup();
        for limit in numbers.into_iter().map(|number| &limits.all[number as usize]) {
            let quota = limit.limit.policy().quota();
            if cost > quota {
                let under = match &limit.plans[..] {
                    [] => String::new(),
                    plans => format!(" under the plan `{}`", plans.join("`, `")),
                };
                let text = format!(
                    "rule `{rule}` charges {cost} of `{}`, whose quota{under} is {quota} ({}): that is never admitted; \
                     give a cost of at most {quota}, or a larger quota",
                    limit.limit.name(),
                    limit.policy
                );
                self.found.error(place, text);
            }
        }
    }

    /// The same limit under every plan.
    pub(super) fn of_every_plan(limits: &Limits, number: u32) -> Box<[Option<u32>]> {
        vec![Some(number); limits.plans.len().max(1)].into()
    }

    /// All limits, with a warning of those that nothing charges.
    pub(super) fn finish_limits(&mut self, limits: Limits) -> Vec<RuleLimit> {
        if self.found.has_errors() {
            // Who charges what is not known.
            return limits.all;
        }
        let mut unused: Vec<_> = limits.shared.iter().filter(|(_, shared)| !shared.used).collect();
        unused.sort_by_key(|(name, _)| *name);
        for (name, shared) in unused {
            self.found.warning(&shared.place, format!("no rule charges `{name}`"));
        }
        limits.all
    }
}

fn is_unlimited(limit: &SharedLimit) -> bool {
    limit.policy.as_ref().is_some_and(|policy| policy.value.trim() == "unlimited")
}

/// How many names are searched for one that was meant.
const SEARCHED: usize = 1000;

/// Tells which names there are.
pub(super) fn known<'n>(name: &str, names: impl Iterator<Item = &'n str>) -> String {
    let mut names: Vec<&str> = names.collect();
    names.sort_unstable();
    match nearest(name, names.iter().copied().take(SEARCHED)) {
        Some(near) => format!("did you mean `{near}`?"),
        None if names.is_empty() => "there is none".to_owned(),
        None => {
            let more = if names.len() > 8 { ", …" } else { "" };
            let shown: Vec<_> = names.iter().take(8).map(|name| format!("`{name}`")).collect();
            format!("there are {}{more}", shown.join(", "))
        }
    }
}

/// A code made of a limit's name: `DAILY_QUOTA_EXCEEDED`.
fn code_of(name: &str) -> String {
    let upper = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { ' ' };
    let words: String = name.chars().map(upper).collect();
    let words: Vec<&str> = words.split_whitespace().chain(["EXCEEDED"]).collect();
    words.join("_")
}
