//! Rules that are for a request too, and are beaten by a more specific one: for those who explain.

use std::cmp::Ordering;

use crate::methods::Class;
use crate::path::{Pattern, Segment};
use crate::rules::{Aim, CheckedRule, Inner, Rules};

/// Why one of two that are for the same path and method is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precedence {
    /// In this segment, counted from 1, they differ first: what is written out there comes before `{name}`, and that
    /// before what lies below a prefix.
    Segment(usize),
    /// They are for the same path: one of itself, the other as a prefix.
    Path,
    /// They are for the same path: what names the method comes first, then `HEAD` by `GET`, then all methods.
    Method,
}

impl Rules {
    /// The rules that are for a [reading](Rules::readings) of a request's path too, the most specific first, and why what
    /// is chosen for it (a rule or an exempt path) beats each. Looks at every rule.
    pub fn beaten(&self, method: &str, reading: &str) -> Vec<(&CheckedRule, Precedence)> {
        let inner = &*self.inner;
        let (false, Class::Router(router)) = (inner.off, inner.methods.class(method)) else { return Vec::new() };
        let Some(target) = inner.methods.router(router).at(reading) else { return Vec::new() };
        let segments: Vec<&str> = match reading.strip_prefix('/').unwrap_or(reading) {
            "" => Vec::new(),
            rest => rest.split('/').collect(),
        };
        let best = match &inner.targets[target as usize] {
            Aim::Rule(rule) => inner.claim(&inner.rules[*rule], method, &segments),
            Aim::Exempt(pattern) => Claim::of(pattern, 0, &segments),
        };
        let Some(best) = best else { return Vec::new() };
        let mut beaten: Vec<(&CheckedRule, Claim)> =
            inner.rules.iter().filter_map(|rule| Some((rule, inner.claim(rule, method, &segments)?))).collect();
        beaten.sort_by(|(_, one), (_, other)| one.order(other));
        beaten.into_iter().filter_map(|(rule, claim)| Some((rule, best.precedence(&claim)?))).collect()
    }
}

impl Inner {
    /// How well a rule is meant for a method and path, if it is.
    fn claim(&self, rule: &CheckedRule, method: &str, path: &[&str]) -> Option<Claim> {
        let named = |name: &str| rule.methods.iter().any(|method| **method == *name);
        let rank = match method {
            _ if rule.methods.is_empty() => 0,
            method if named(method) => 2,
            "HEAD" if named("GET") => 1,
            _ => return None,
        };
        // It was parsed before, base included.
        Claim::of(&Pattern::parse(&[], "", &rule.pattern, rule.prefix).ok()?, rank, path)
    }
}

/// How well a pattern is meant for a path and method.
struct Claim {
    route: Vec<Segment>,
    exact: bool,
    /// As in the routes' own claims.
    method: u8,
}

impl Claim {
    fn of(pattern: &Pattern, method: u8, path: &[&str]) -> Option<Self> {
        let fits = |route: &[Segment]| {
            let below = route.last() == Some(&Segment::Rest);
            let long_enough = if below { path.len() >= route.len() } else { path.len() == route.len() };
            let each = |(segment, piece): (&Segment, &&str)| match segment {
                Segment::Static(text) => **text == **piece,
                Segment::Dynamic => !piece.is_empty(),
                Segment::Rest => true,
            };
            long_enough && route.iter().zip(path).all(each)
        };
        let (at, route) = pattern.routes().enumerate().find(|(_, route)| fits(route))?;
        Some(Claim { route, exact: at == 0 && !pattern.prefix, method })
    }

    /// The more specific first.
    fn order(&self, other: &Claim) -> Ordering {
        self.route.cmp(&other.route).then(other.exact.cmp(&self.exact)).then(other.method.cmp(&self.method))
    }

    /// Why this one beats another, if it does.
    fn precedence(&self, other: &Claim) -> Option<Precedence> {
        if let Some(at) = self.route.iter().zip(&other.route).position(|(own, others)| own != others) {
            return Some(Precedence::Segment(at + 1));
        }
        match (self.exact, other.exact) {
            (true, false) => Some(Precedence::Path),
            _ => (self.method > other.method).then_some(Precedence::Method),
        }
    }
}
