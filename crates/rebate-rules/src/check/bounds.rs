//! How much a rule file may say, so that looking at one takes no time worth telling.

use std::collections::HashSet;

use super::{Check, part};
use crate::declare::{Declared, RuleDeclared, Text};
use crate::problem::Where;

/// Of rules, of exempt paths and of exempt prefixes.
pub(super) const MAX_RULES: usize = 4096;
/// In `[limits]` and in all plans together.
pub(super) const MAX_LIMITS: usize = 4096;
pub(super) const MAX_PLANS: usize = 64;
/// Different ones, in all rules together.
pub(super) const MAX_METHODS: usize = 64;
/// What one rule charges, and of how many others it takes the limits.
pub(super) const MAX_USES: usize = 32;

impl Check {
    /// Tells what is too much, and drops it, so that all that follows is bounded.
    pub(super) fn bounds(&mut self, declared: &mut Declared) {
        self.bound(&mut declared.rules, MAX_RULES, "rules");
        self.bound(&mut declared.limits, MAX_LIMITS, "limits");
        if let Some(plans) = &mut declared.plans {
            self.bound(&mut plans.plans, MAX_PLANS, "plans");
            let mut room = MAX_LIMITS;
            for plan in &mut plans.plans {
                if plan.limits.len() > room {
                    self.too_many(&plan.name.place, MAX_LIMITS, "limits in all plans together");
                    plan.limits.truncate(room);
                }
                room -= plan.limits.len();
            }
        }
        self.bound(&mut declared.exempt.paths, MAX_RULES, "exempt paths");
        self.bound(&mut declared.exempt.prefixes, MAX_RULES, "exempt prefixes");
        let mut methods = HashSet::new();
        self.bound_methods(&mut declared.exempt.methods, &mut methods);
        for RuleDeclared { methods: own, limits, limits_of, .. } in &mut declared.rules {
            self.bound(limits, MAX_USES, "limits that a rule charges");
            self.bound(limits_of, MAX_USES, "rules whose limits one takes");
            if let Some(own) = own {
                self.bound_methods(own, &mut methods);
            }
        }
    }

    fn bound_methods(&mut self, own: &mut Vec<Text>, all: &mut HashSet<String>) {
        self.bound(own, MAX_METHODS, "methods in one list");
        let before = all.len();
        all.extend(own.iter().map(|method| method.value.clone()));
        if before <= MAX_METHODS && all.len() > MAX_METHODS {
            let place = own.first().map(|method| method.place.clone()).unwrap_or_default();
            self.too_many(&place, MAX_METHODS, "different methods");
        }
        if all.len() > MAX_METHODS {
            own.clear();
        }
    }

    pub(super) fn bound<T: Placed>(&mut self, list: &mut Vec<T>, most: usize, what: &str) {
        if let Some(first) = list.get(most) {
            self.too_many(&first.place(), most, what);
            list.truncate(most);
        }
    }

    fn too_many(&mut self, place: &Where, most: usize, what: &str) {
        let place = place.or(&part(what)).clone();
        self.found.error(&place, format!("too many {what}: at most {most} are taken"));
    }
}

/// What has a place to be told of.
pub(super) trait Placed {
    fn place(&self) -> Where;
}

impl Placed for Text {
    fn place(&self) -> Where {
        self.place.clone()
    }
}

impl Placed for RuleDeclared {
    fn place(&self) -> Where {
        self.place.clone()
    }
}

impl Placed for crate::declare::SharedLimit {
    fn place(&self) -> Where {
        self.name.place.clone()
    }
}

impl Placed for crate::declare::Plan {
    fn place(&self) -> Where {
        self.name.place.clone()
    }
}

impl Placed for crate::declare::Use {
    fn place(&self) -> Where {
        self.limit.place.clone()
    }
}
