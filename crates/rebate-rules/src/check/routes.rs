//! Routes: which rule or exemption each method and path leads to.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashSet};

use super::idle::live;
use super::rule::{Made, crosswise, overlap};
use super::{Check, part};
use crate::declare::{Declared, Text};
use crate::methods::{Class, Methods};
use crate::path::{Pattern, Segment};
use crate::problem::Where;
use crate::router::{Router, Target};
use crate::rules::Aim;

/// How many overlaps are told.
const OVERLAPS_TOLD: usize = 100;

/// One rule's or exemption's routes.
struct Routes<'a> {
    target: Target,
    pattern: &'a Pattern,
    /// Empty for all.
    methods: &'a [Box<str>],
    place: &'a Where,
    what: String,
}

/// How well a route is meant for a path and method that others are for too; the greater is chosen.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Claim {
    exact: bool,
    /// 2: the method is named; 1: `HEAD`, where `GET` is named; 0: all are meant.
    method: u8,
}

impl Check {
    pub(super) fn routes(&mut self, declared: &Declared, rules: &[Made]) -> (Methods, Vec<Aim>) {
        let exempt_paths = self.exempt_paths(declared);
        let exempt_methods: Vec<Box<str>> = {
            let place = part("exempt methods");
            declared.exempt.methods.iter().filter_map(|method| self.method(method, &place)).collect()
        };
        let mut targets = Vec::new();
        let mut routes = Vec::new();
        for (number, made) in rules.iter().enumerate() {
            let Some(pattern) = &made.pattern else { continue };
            let what = format!("rule `{}`", made.rule.name);
            let target = targets.len() as Target;
            targets.push(Aim::Rule(number));
            routes.push(Routes { target, pattern, methods: &made.rule.methods, place: &made.place, what });
            let methods = &made.rule.methods;
            if !methods.is_empty() && methods.iter().all(|method| exempt_methods.contains(method)) {
                self.found.warning(&made.place, "is never chosen: all its methods are exempt");
            }
        }
        for (pattern, place) in &exempt_paths {
            let target = targets.len() as Target;
            targets.push(Aim::Exempt(pattern.clone()));
            routes.push(Routes { target, pattern, methods: &[], place, what: "an exempt path".to_owned() });
        }
        self.overlapping(&routes);
        (self.methods_of(&routes, &exempt_methods), targets)
    }

    fn exempt_paths(&mut self, declared: &Declared) -> Vec<(Pattern, Where)> {
        let mut patterns = Vec::new();
        let exempt = &declared.exempt;
        let lists: [(&[Text], bool, Where); 2] =
            [(&exempt.paths, false, part("exempt paths")), (&exempt.prefixes, true, part("exempt prefixes"))];
        for (texts, prefix, outer) in lists {
            for text in texts {
                let place = text.place.or(&outer).clone();
                patterns.extend(self.parse_pattern(text, prefix, &outer).map(|pattern| (pattern, place)));
            }
        }
        patterns
    }

    /// A router for each method that is named, and for all others.
    fn methods_of(&mut self, routes: &[Routes<'_>], exempt: &[Box<str>]) -> Methods {
        let mut methods = Methods::all(Class::Router(0));
        let rest = self.class_of(routes, None);
        let mut chosen: HashSet<Target> = live(&rest).collect();
        methods.routers.push(Router::new(&rest));
        let mut known = vec![rest];
        let mut named: Vec<&str> = routes.iter().flat_map(|routes| routes.methods).map(|method| &**method).collect();
        if named.contains(&"GET") {
            named.push("HEAD");
        }
        named.sort_unstable();
        named.dedup();
        for method in named {
            let class = self.class_of(routes, Some(method));
            if !exempt.iter().any(|exempt| **exempt == *method) {
                chosen.extend(live(&class));
            }
            let number = known.iter().position(|known| *known == class).unwrap_or_else(|| {
                methods.routers.push(Router::new(&class));
                known.push(class);
                known.len() - 1
            });
            methods.set(method, Class::Router(number));
        }
        for one in routes.iter().filter(|one| !chosen.contains(&one.target)) {
            let exempt = !one.methods.is_empty() && one.methods.iter().all(|method| exempt.contains(method));
            if !exempt && !self.found.has_errors() {
                let text = format!("`{}` is never chosen: others are for all that it is for", one.pattern.text);
                self.found.warning(one.place, text);
            }
        }
        exempt.iter().for_each(|method| methods.set(method, Class::Exempt));
        methods
    }

    /// The routes of one method, or of all that nobody names.
    fn class_of(&mut self, routes: &[Routes<'_>], method: Option<&str>) -> BTreeMap<Vec<Segment>, Target> {
        let mut chosen: BTreeMap<Vec<Segment>, (Claim, usize)> = BTreeMap::new();
        for (number, one) in routes.iter().enumerate() {
            let named = |name: &str| one.methods.iter().any(|method| **method == *name);
            let rank = match method {
                _ if one.methods.is_empty() => 0,
                Some(method) if named(method) => 2,
                Some("HEAD") if named("GET") => 1,
                _ => continue,
            };
            for (at, route) in one.pattern.routes().enumerate() {
                let claim = Claim { exact: at == 0 && !one.pattern.prefix, method: rank };
                match chosen.entry(route) {
                    Entry::Vacant(free) => {
                        free.insert((claim, number));
                    }
                    Entry::Occupied(mut taken) => {
                        let (best, other) = *taken.get();
                        if claim > best {
                            taken.insert((claim, number));
                        } else if claim == best && at == 0 {
                            self.same_path(one, &routes[other]);
                        }
                    }
                }
            }
        }
        chosen.into_iter().map(|(route, (_, number))| (route, routes[number].target)).collect()
    }

    fn same_path(&mut self, one: &Routes<'_>, other: &Routes<'_>) {
        let (path, what) = (&one.pattern.text, &other.what);
        let text = format!("{what} is for `{path}` too; make one of them, or let them name different methods");
        self.found.error(one.place, text);
    }

    /// Warns of patterns that match a path together though neither is more specific.
    fn overlapping(&mut self, routes: &[Routes<'_>]) {
        let routes_of = |(number, one): (usize, &Routes<'_>)| {
            let dynamic = one.pattern.segments.contains(&Segment::Dynamic);
            one.pattern.routes().map(move |route| (number, dynamic, route)).collect::<Vec<_>>()
        };
        let all: Vec<(usize, bool, Vec<Segment>)> = routes.iter().enumerate().flat_map(routes_of).collect();
        let mut told = HashSet::new();
        for (at, (number, dynamic, one)) in all.iter().enumerate() {
            for (other_number, other_dynamic, other) in &all[..at] {
                // Two without a dynamic segment are never of the same rank.
                if !dynamic && !other_dynamic {
                    continue;
                }
                let (here, there) = (&routes[*number], &routes[*other_number]);
                let apart = |a: &[Box<str>], b: &[Box<str>]| {
                    !a.is_empty() && !b.is_empty() && !a.iter().any(|method| b.contains(method))
                };
                if number == other_number || !crosswise(one, other) || told.contains(&(number, other_number)) {
                    continue;
                }
                if let (Some(path), false) = (overlap(one, other), apart(here.methods, there.methods)) {
                    let winner = if one < other { here } else { there };
                    let text = format!(
                        "overlaps `{}` ({}): `{path}` matches both, and goes to `{}`, whose first segment that differs \
                         is the more specific",
                        there.pattern.text, there.what, winner.pattern.text
                    );
                    self.found.warning(here.place, text);
                    told.insert((number, other_number));
                    if told.len() > OVERLAPS_TOLD {
                        return;
                    }
                }
            }
        }
    }
}
