//! Each rule by itself, and what it takes from others.

use std::collections::{HashMap, HashSet};

use super::bounds::MAX_USES;
use super::limits::{Limits, known};
use super::{Check, part};
use crate::declare::{Declared, RuleDeclared, Said, Settings, Text};
use crate::path::{Pattern, Segment};
use crate::problem::Where;
use crate::refunds::Statuses;
use crate::rules::{CheckedRule, Line, OnMissingKey, OnTrouble};
use crate::source::{Source, is_token};

/// How many rules of a cycle are named.
const CYCLE_SHOWN: usize = 8;

/// A rule and what its routes are made of.
pub(super) struct Made {
    pub(super) rule: CheckedRule,
    pub(super) pattern: Option<Pattern>,
    pub(super) place: Where,
}

impl Check {
    pub(super) fn rules(&mut self, declared: &Declared, limits: &mut Limits) -> Vec<Made> {
        let names: Vec<Said<String>> = declared.rules.iter().map(name_of).collect();
        let mut by_name: HashMap<&str, usize> = HashMap::new();
        for (at, name) in names.iter().enumerate() {
            if name.value.is_empty() {
                // It has neither name nor path, which is told where those are looked at.
            } else if by_name.contains_key(&*name.value) {
                let text = format!("a second rule called `{}`; give one of them another `name`", name.value);
                self.found.error(&name.place, text);
            } else {
                by_name.insert(&name.value, at);
            }
        }
        let defaults = self.defaults(&declared.defaults);
        let mut made: Vec<Made> =
            declared.rules.iter().zip(&names).map(|(rule, name)| self.rule(rule, name, &defaults, limits)).collect();
        self.limits_of(declared, &names, &by_name, &mut made);
        made
    }

    fn rule(&mut self, declared: &RuleDeclared, name: &Text, defaults: &CheckedSettings, limits: &mut Limits) -> Made {
        let place = outer(declared, name);
        let pattern = self.pattern(declared, &place);
        let methods = self.methods(declared, &place);
        if !declared.charges {
            let right = "say `limit`, `limits` or `limits_of`, or put its path in `[exempt]`";
            self.found.error(&place, format!("this rule charges nothing; {right}"));
        }
        if let (Some(cost), None, []) = (&declared.cost, &declared.limit, &declared.limits[..])
            && !declared.limits_of.is_empty()
        {
            let right = "limits of other rules are charged at the costs they have there; leave it out";
            self.found.error(cost.place.or(&place), format!("this cost is of nothing: {right}"));
        }
        if let (Some(code), None) = (&declared.code, &declared.limit) {
            let right = "give each limit's code in `[limits]`, as `{ policy = \"…\", code = \"…\" }`";
            self.found.error(code.place.or(&place), format!("this code is of no limit of the rule's own; {right}"));
        }
        if let (Some(empty), None) = (declared.name.as_ref().filter(|name| name.value.is_empty()), &declared.limit) {
            self.found
                .error(empty.place.or(&place), "a name is not empty; leave it out to call the rule as its path is");
        }
        let cost = self.cost(declared.cost.as_ref(), &place);
        let mut lines = Vec::new();
        // One without a name has no path either, which is told; its policy is looked at all the same.
        let nameless = Said::here("rule".to_owned());
        let called = if name.value.is_empty() && declared.name.is_none() { &nameless } else { name };
        if let Some(policy) = &declared.limit
            && let Some(number) = self.rule_limit(limits, (called, &name.place), policy, declared.code.as_ref(), &place)
        {
            let by_plan = Self::of_every_plan(limits, number);
            self.possible(limits, &name.value, &by_plan, cost, place_of(declared.cost.as_ref(), &place));
            lines.push(Line { cost, by_plan });
        }
        let mut seen = HashSet::new();
        for usage in &declared.limits {
            if !seen.insert(&*usage.limit.value) {
                let right = "name it once, with the `cost` of both";
                let text = format!("charges `{}` twice; {right}", usage.limit.value);
                self.found.error(usage.limit.place.or(&place), text);
                continue;
            }
            let cost = if usage.cost.is_some() { self.cost(usage.cost.as_ref(), &place) } else { cost };
            if let Some(by_plan) = self.find_limit(limits, &usage.limit, &place) {
                let said = usage.cost.as_ref().or(declared.cost.as_ref());
                self.possible(limits, &name.value, &by_plan, cost, place_of(said, &place));
                lines.push(Line { cost, by_plan });
            }
        }
        let settings = self.settings(&declared.settings, &place);
        let refunds = settings.refunds_over(defaults);
        let rule = CheckedRule {
            // Given out when all are there.
            index: 0,
            name: name.value.as_str().into(),
            pattern: pattern.as_ref().map(|pattern| pattern.text.clone()).unwrap_or_default(),
            prefix: declared.prefix.is_some(),
            methods,
            key: settings.key.or(defaults.key.clone()).unwrap_or_else(Source::user),
            group: settings.group.or(defaults.group.clone()),
            on_missing_key: settings.on_missing_key.or(defaults.on_missing_key.clone()).unwrap_or(OnMissingKey::Deny),
            on_unavailable: settings.on_unavailable.or(defaults.on_unavailable).unwrap_or(OnTrouble::Allow),
            on_full: settings.on_full.or(defaults.on_full).unwrap_or(OnTrouble::Allow),
            refunds,
            lines,
        };
        Made { rule, pattern, place }
    }

    fn pattern(&mut self, declared: &RuleDeclared, place: &Where) -> Option<Pattern> {
        let (text, prefix) = match (&declared.path, &declared.prefix) {
            (Some(path), None) => (path, false),
            (None, Some(prefix)) => (prefix, true),
            (None, None) if declared.placed => return None,
            (None, None) => {
                self.found.error(place, "this rule is for no path; say `path` (that one) or `prefix` (all below it)");
                return None;
            }
            (Some(_), Some(prefix)) => {
                self.found.error(prefix.place.or(place), "a rule has a `path` or a `prefix`, not both; make two rules");
                return None;
            }
        };
        self.parse_pattern(text, prefix, place)
    }

    /// A pattern below the base.
    pub(super) fn parse_pattern(&mut self, text: &Text, prefix: bool, outer: &Where) -> Option<Pattern> {
        match Pattern::parse(&self.base, &self.base_text, &text.value, prefix) {
            Ok(pattern) => {
                self.twice_below_base(text, outer);
                Some(pattern)
            }
            Err(problem) => {
                self.found.error(text.place.or(outer), problem);
                None
            }
        }
    }

    fn twice_below_base(&mut self, text: &Text, outer: &Where) {
        let rest = text.value.strip_prefix(&self.base_text).filter(|_| !self.base_text.is_empty());
        if rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/')) {
            let (base, path) = (&self.base_text, &text.value);
            let problem = format!("this is for `{base}{path}`: paths are said below the base; leave out `{base}`");
            self.found.warning(text.place.or(outer), problem);
        }
    }

    fn methods(&mut self, declared: &RuleDeclared, place: &Where) -> Vec<Box<str>> {
        let Some(methods) = &declared.methods else { return Vec::new() };
        if methods.is_empty() {
            self.found.error(place, "`methods` is empty, so the rule would be for none; leave it out for all methods");
        }
        methods.iter().filter_map(|method| self.method(method, place)).collect()
    }

    pub(super) fn method(&mut self, method: &Text, outer: &Where) -> Option<Box<str>> {
        if !is_token(&method.value) {
            self.found.error(method.place.or(outer), format!("`{}` is no method's name", method.value));
            return None;
        }
        let upper = method.value.to_ascii_uppercase();
        if upper != method.value {
            let text = format!("methods are told apart by case: `{}` is not `{upper}`", method.value);
            self.found.warning(method.place.or(outer), text);
        }
        Some(method.value.as_str().into())
    }

    fn cost(&mut self, cost: Option<&Said<u64>>, outer: &Where) -> u64 {
        match cost {
            None => 1,
            Some(cost) if cost.value == 0 => {
                let right = "give at least 1, or put the path in `[exempt]`";
                self.found.error(cost.place.or(outer), format!("a cost of 0 charges nothing; {right}"));
                1
            }
            Some(cost) => cost.value,
        }
    }

    fn defaults(&mut self, settings: &Settings) -> CheckedSettings {
        self.settings(settings, &part("defaults"))
    }

    fn settings(&mut self, settings: &Settings, outer: &Where) -> CheckedSettings {
        CheckedSettings {
            key: settings.key.as_ref().and_then(|key| self.source(key, outer)),
            group: settings.group.as_ref().and_then(|group| self.source(group, outer)),
            refund: settings.refund.as_ref().map(|texts| self.statuses(texts, outer, Statuses::add)),
            refund_grpc: settings.refund_grpc.as_ref().map(|texts| self.statuses(texts, outer, Statuses::add_grpc)),
            on_unavailable: settings.on_unavailable.as_ref().and_then(|text| self.on_trouble(text, outer)),
            on_full: settings.on_full.as_ref().and_then(|text| self.on_trouble(text, outer)),
            on_missing_key: settings.on_missing_key.as_ref().and_then(|text| match &*text.value {
                "deny" => Some(OnMissingKey::Deny),
                "skip" => Some(OnMissingKey::Skip),
                _ => match Source::parse(&text.value) {
                    Ok(_) => self.source(text, outer).map(OnMissingKey::Take),
                    Err(_) => {
                        let right = "take `deny`, `skip`, or a source to charge instead, such as `ip`";
                        self.found.error(text.place.or(outer), format!("`{}` is no answer; {right}", text.value));
                        None
                    }
                },
            }),
        }
    }

    fn statuses(
        &mut self,
        texts: &[Text],
        outer: &Where,
        add: fn(&mut Statuses, &str) -> Result<(), String>,
    ) -> Statuses {
        let mut statuses = Statuses::default();
        for text in texts {
            if let Err(problem) = add(&mut statuses, &text.value) {
                self.found.error(text.place.or(outer), problem);
            }
        }
        statuses
    }

    fn on_trouble(&mut self, text: &Text, outer: &Where) -> Option<OnTrouble> {
        match &*text.value {
            "allow" => Some(OnTrouble::Allow),
            "deny" => Some(OnTrouble::Deny),
            other => {
                self.found.error(text.place.or(outer), format!("`{other}` is no answer; take `allow` or `deny`"));
                None
            }
        }
    }

    /// Gives rules the limits of others.
    fn limits_of(&mut self, declared: &Declared, names: &[Text], by_name: &HashMap<&str, usize>, made: &mut [Made]) {
        let mut others: Vec<Vec<usize>> = Vec::with_capacity(made.len());
        for (rule, made) in declared.rules.iter().zip(made.iter()) {
            let mut found = Vec::new();
            for other in &rule.limits_of {
                match by_name.get(&*other.value) {
                    Some(&at) if found.contains(&at) => {
                        self.found.error(other.place.or(&made.place), format!("`{}` is named twice", other.value));
                    }
                    Some(&at) => found.push(at),
                    None => {
                        let names = names.iter().map(|name| &*name.value);
                        let known = if self.found.is_full() { String::new() } else { known(&other.value, names) };
                        let text = format!("there is no rule `{}`; {known}", other.value);
                        self.found.error(other.place.or(&made.place), text);
                    }
                }
            }
            others.push(found);
        }
        let order = match in_order(&others) {
            Ok(order) => order,
            Err(cycles) => {
                for cycle in cycles {
                    let name = |&at: &usize| format!("`{}`", names[at].value);
                    let mut shown: Vec<_> = cycle.iter().take(CYCLE_SHOWN).map(name).collect();
                    if cycle.len() > CYCLE_SHOWN {
                        shown.push(format!("… ({} rules in all)", cycle.len()));
                    }
                    shown.extend(cycle.first().map(name));
                    let text = format!("a cycle of `limits_of`: {}; give one of them a limit", shown.join(" → "));
                    self.found.error(&made[cycle[0]].place, text);
                }
                return;
            }
        };
        for at in order {
            for &other in &others[at] {
                let (key, group) = (made[at].rule.key.clone(), made[at].rule.group.clone());
                if made[other].rule.key != key || made[other].rule.group != group {
                    let text = format!(
                        "charges the limits of `{}` to another key than that rule does, so they are counted apart",
                        names[other].value
                    );
                    let place = made[at].place.clone();
                    self.found.warning(&place, text);
                }
                let lines: Vec<Line> = made[other]
                    .rule
                    .lines
                    .iter()
                    .map(|line| Line { cost: line.cost, by_plan: line.by_plan.clone() })
                    .collect();
                for line in lines {
                    let own = &mut made[at].rule.lines;
                    // A request takes of a limit once, however many ways lead to it.
                    match own.iter_mut().find(|known| known.by_plan == line.by_plan) {
                        Some(known) => known.cost = known.cost.max(line.cost),
                        None => own.push(line),
                    }
                }
                if made[at].rule.lines.len() > MAX_USES {
                    let text = format!("charges more than {MAX_USES} limits, with those of other rules; take fewer");
                    self.found.error(&made[at].place, text);
                    // Those that take from this one would have too many too.
                    return;
                }
            }
        }
    }
}

/// What settings say that were said.
#[derive(Default)]
struct CheckedSettings {
    key: Option<Source>,
    group: Option<Source>,
    refund: Option<Statuses>,
    refund_grpc: Option<Statuses>,
    on_unavailable: Option<OnTrouble>,
    on_full: Option<OnTrouble>,
    on_missing_key: Option<OnMissingKey>,
}

impl CheckedSettings {
    fn refunds_over(&self, defaults: &CheckedSettings) -> Statuses {
        let http = self.refund.as_ref().or(defaults.refund.as_ref());
        let grpc = self.refund_grpc.as_ref().or(defaults.refund_grpc.as_ref());
        Statuses::of(http, grpc)
    }
}

/// The name of a rule: as said, else its path; empty where it has neither.
fn name_of(rule: &RuleDeclared) -> Text {
    let text = rule.name.as_ref().or(rule.path.as_ref()).or(rule.prefix.as_ref());
    let value = text.map(|text| text.value.clone()).unwrap_or_default();
    let place = match text.map(|text| &text.place) {
        Some(Where::Here) | None => outer(rule, &Said::here(value.clone())),
        Some(place) => place.clone(),
    };
    Said { value, place }
}

fn place_of<'a>(cost: Option<&'a Said<u64>>, outer: &'a Where) -> &'a Where {
    cost.map_or(outer, |cost| cost.place.or(outer))
}

/// The place of a rule as a whole.
fn outer(rule: &RuleDeclared, name: &Text) -> Where {
    match &rule.place {
        Where::Here => Where::Part(format!("rule `{}`", name.value).into()),
        place => place.clone(),
    }
}

/// The rules in an order in which each comes after those it takes from.
///
/// # Errors
/// Cycles, no two of which share a rule.
fn in_order(others: &[Vec<usize>]) -> Result<Vec<usize>, Vec<Vec<usize>>> {
    #[derive(Clone, Copy, PartialEq)]
    enum State {
        New,
        Open,
        Done,
    }
    let mut states = vec![State::New; others.len()];
    let (mut order, mut cycles): (Vec<usize>, Vec<Vec<usize>>) = (Vec::new(), Vec::new());
    let mut told = vec![false; others.len()];
    for start in 0..others.len() {
        // By hand, since a file may hold a chain of any length.
        let mut open: Vec<(usize, usize)> = Vec::new();
        if states[start] == State::New {
            states[start] = State::Open;
            open.push((start, 0));
        }
        while let Some((at, next)) = open.last_mut() {
            let Some(&other) = others[*at].get(*next) else {
                states[*at] = State::Done;
                order.push(*at);
                open.pop();
                continue;
            };
            *next += 1;
            match states[other] {
                State::New => {
                    states[other] = State::Open;
                    open.push((other, 0));
                }
                // Rules that are in a cycle which was told are often in many more.
                State::Open if told[other] => {}
                State::Open => {
                    let from = open.iter().position(|&(at, _)| at == other).unwrap_or(0);
                    let cycle: Vec<usize> = open[from..].iter().map(|&(at, _)| at).collect();
                    if !cycle.iter().any(|&at| told[at]) {
                        cycle.iter().for_each(|&at| told[at] = true);
                        cycles.push(cycle);
                    }
                }
                State::Done => {}
            }
        }
    }
    if cycles.is_empty() { Ok(order) } else { Err(cycles) }
}

/// Whether two patterns can be such as [`overlap`] tells of, by a look that costs little.
pub(super) fn crosswise(one: &[Segment], other: &[Segment]) -> bool {
    let differ = |(a, b): &(&Segment, &Segment)| matches!((a, b), (Segment::Static(a), Segment::Static(b)) if a != b);
    let same_length =
        one.len() == other.len() || one.last() == Some(&Segment::Rest) || other.last() == Some(&Segment::Rest);
    same_length && !one.iter().zip(other).any(|pair| differ(&pair))
}

/// Two patterns that match a path together, neither of which is more specific throughout: such a path.
pub(super) fn overlap(one: &[Segment], other: &[Segment]) -> Option<String> {
    let (mut one_wins, mut other_wins) = (false, false);
    let mut path = String::new();
    let mut at = 0;
    loop {
        let (here, there) = (one.get(at), other.get(at));
        match (here, there) {
            (None, None) => break,
            (Some(Segment::Rest), Some(Segment::Rest)) => {
                path.push_str("/x");
                break;
            }
            (Some(Segment::Rest), Some(_)) => {
                other_wins = true;
                other[at..].iter().for_each(|segment| push(&mut path, segment));
                break;
            }
            (Some(_), Some(Segment::Rest)) => {
                one_wins = true;
                one[at..].iter().for_each(|segment| push(&mut path, segment));
                break;
            }
            (None, Some(_)) | (Some(_), None) => return None,
            (Some(Segment::Static(a)), Some(Segment::Static(b))) if a != b => return None,
            (Some(Segment::Static(text)), Some(Segment::Dynamic)) => {
                one_wins = true;
                path.extend(["/", text]);
            }
            (Some(Segment::Dynamic), Some(Segment::Static(text))) => {
                other_wins = true;
                path.extend(["/", text]);
            }
            (Some(segment), Some(_)) => push(&mut path, segment),
        }
        at += 1;
    }
    (one_wins && other_wins).then_some(path)
}

fn push(path: &mut String, segment: &Segment) {
    path.push('/');
    path.push_str(if let Segment::Static(text) = segment { text } else { "x" });
}
