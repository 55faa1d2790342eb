//! Rules in plain Rust: the same declarations as a rule file's.

use crate::check::check;
use crate::declare::{Declared, Plan, Plans, RuleDeclared, Said, Settings, SharedLimit, Text, Use};
use crate::problem::{Problems, Where};
use crate::rules::Rules;

/// Rules as they are declared in code. Made by [`Rules::builder`].
///
/// Every text is as a rule file has it; nothing is checked before [`build`](RulesBuilder::build), which
/// tells all that is wrong at once.
#[derive(Clone, Debug, Default)]
#[must_use = "rules take hold when they are built"]
pub struct RulesBuilder {
    declared: Declared,
}

/// One rule as it is declared in code.
///
/// ```
/// use rebate_rules::{Rule, Rules};
///
/// let rules = Rules::builder()
///     .base("/api")
///     .shared_limit("daily", "50/day")
///     .rule(Rule::path("/concepts/generate").limit("10/month").refund(["409"]))
///     .rule(Rule::prefix("/storage").methods(["GET"]).charge("daily").charge_cost("daily", 2))
///     .build();
/// assert!(rules.unwrap_err().to_string().contains("rule `/storage`: charges `daily` twice"));
/// ```
#[derive(Clone, Debug)]
#[must_use = "a rule takes hold as part of rules"]
pub struct Rule {
    declared: RuleDeclared,
}

fn texts<T: Into<String>>(texts: impl IntoIterator<Item = T>) -> Vec<Text> {
    texts.into_iter().map(|text| Said::here(text.into())).collect()
}

fn text(text: impl Into<String>) -> Option<Text> {
    Some(Said::here(text.into()))
}

fn shared(name: impl Into<String>, policy: impl Into<String>, place: &str) -> SharedLimit {
    let name = name.into();
    let place = Where::Part(format!("{place} `{name}`").into());
    let said = |value| Said { value, place: place.clone() };
    SharedLimit { policy: Some(said(policy.into())), name: said(name), code: None }
}

impl RulesBuilder {
    /// Limits nothing at all while `off`; the rules are checked all the same.
    pub fn off(mut self, off: bool) -> Self {
        self.declared.off = off;
        self
    }

    /// What every path begins with. Requests outside it are never limited.
    pub fn base(mut self, base: impl Into<String>) -> Self {
        self.declared.base = text(base);
        self
    }

    /// How much of an IPv6 address makes a key, in bits; 64 unless said.
    pub fn ipv6_prefix(mut self, bits: u8) -> Self {
        self.declared.ipv6_prefix = Some(Said::here(bits.into()));
        self
    }

    /// What every rule says that does not say otherwise: only the settings of `rule` are looked at, not its path
    /// nor its limits.
    pub fn defaults(mut self, rule: Rule) -> Self {
        self.declared.defaults = rule.declared.settings;
        self
    }

    /// A limit that rules charge by its name.
    pub fn shared_limit(mut self, name: impl Into<String>, policy: impl Into<String>) -> Self {
        self.declared.limits.push(shared(name, policy, "limit"));
        self
    }

    /// The same with a code of its own in what a denied client is told.
    pub fn shared_limit_with_code(
        mut self,
        name: impl Into<String>,
        policy: impl Into<String>,
        code: impl Into<String>,
    ) -> Self {
        self.declared.limits.push(SharedLimit { code: text(code), ..shared(name, policy, "limit") });
        self
    }

    /// Lets `by` (`header:NAME` or `function:NAME`) choose a request's plan: the one with that name, else
    /// `default`. A header is the client's word: rely on one only where a gateway sets it.
    pub fn plans_by(mut self, by: impl Into<String>, default: impl Into<String>) -> Self {
        let plans = self.declared.plans.get_or_insert_default();
        plans.place = Where::Part("plans".into());
        (plans.by, plans.default) = (text(by), text(default));
        self
    }

    /// Under the plan `plan` the shared limit `limit` is of this policy, or `unlimited`.
    pub fn plan(mut self, plan: impl Into<String>, limit: impl Into<String>, policy: impl Into<String>) -> Self {
        let plan = plan.into();
        let limit = shared(limit, policy, &format!("plan `{plan}`, limit"));
        let plans = &mut self.declared.plans.get_or_insert_default().plans;
        match plans.iter_mut().find(|known| known.name.value == plan) {
            Some(known) => known.limits.push(limit),
            None => plans.push(Plan {
                name: Said { place: Where::Part(format!("plan `{plan}`").into()), value: plan },
                limits: vec![limit],
            }),
        }
        self
    }

    /// Never limits this path (below the base), unless a rule for it names the method.
    pub fn exempt_path(mut self, path: impl Into<String>) -> Self {
        self.declared.exempt.paths.extend(text(path));
        self
    }

    /// Never limits this path nor what lies below, but where a rule is more specific.
    pub fn exempt_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.declared.exempt.prefixes.extend(text(prefix));
        self
    }

    /// Never limits requests of this method.
    pub fn exempt_method(mut self, method: impl Into<String>) -> Self {
        self.declared.exempt.methods.extend(text(method));
        self
    }

    /// Never limits this key, in full: `user:admin`.
    pub fn exempt_key(mut self, key: impl Into<String>) -> Self {
        self.declared.exempt.keys.extend(text(key));
        self
    }

    /// Never limits clients whose address is in this network: `10.0.0.0/8`.
    pub fn exempt_network(mut self, network: impl Into<String>) -> Self {
        self.declared.exempt.networks.extend(text(network));
        self
    }

    /// Adds a rule. The order of rules says nothing: the most specific one is chosen.
    pub fn rule(mut self, rule: Rule) -> Self {
        self.declared.rules.push(rule.declared);
        self
    }

    /// The rules, when nothing is wrong with them.
    ///
    /// # Errors
    /// All that is wrong, at once.
    pub fn build(self) -> Result<Rules, Problems> {
        check(self.declared, "", Default::default())
    }
}

impl Rule {
    /// A rule for one path; `{id}` stands for one segment, whatever it is.
    pub fn path(path: impl Into<String>) -> Self {
        Rule { declared: RuleDeclared { path: text(path), ..RuleDeclared::default() } }
    }

    /// A rule for a path and all that lies below it, in whole segments.
    pub fn prefix(prefix: impl Into<String>) -> Self {
        Rule { declared: RuleDeclared { prefix: text(prefix), ..RuleDeclared::default() } }
    }

    /// No rule, but what rules have in common, for [`RulesBuilder::defaults`].
    pub fn settings() -> Self {
        Rule { declared: RuleDeclared::default() }
    }

    /// Its name, which its own limit bears too; the path's text unless said.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.declared.name = text(name);
        self
    }

    /// Only these methods. `GET` is `HEAD` too, unless another rule for the path names that.
    pub fn methods<T: Into<String>>(mut self, methods: impl IntoIterator<Item = T>) -> Self {
        self.declared.methods = Some(texts(methods));
        self
    }

    /// Charges a limit of its own, called as the rule is.
    pub fn limit(mut self, policy: impl Into<String>) -> Self {
        self.declared.charges = true;
        self.declared.limit = text(policy);
        self
    }

    /// What a client is told whom the rule's own limit denies; made from its name unless said.
    pub fn code(mut self, code: impl Into<String>) -> Self {
        self.declared.code = text(code);
        self
    }

    /// Charges a shared limit.
    pub fn charge(mut self, limit: impl Into<String>) -> Self {
        self.declared.charges = true;
        self.declared.limits.push(Use { limit: Said::here(limit.into()), cost: None });
        self
    }

    /// Charges `cost` units of a shared limit.
    pub fn charge_cost(mut self, limit: impl Into<String>, cost: u64) -> Self {
        self.declared.charges = true;
        self.declared.limits.push(Use { limit: Said::here(limit.into()), cost: Some(Said::here(cost)) });
        self
    }

    /// Charges the limits of these other rules, by their names, at the costs they have there.
    pub fn limits_of<T: Into<String>>(mut self, rules: impl IntoIterator<Item = T>) -> Self {
        self.declared.limits_of = texts(rules);
        self.declared.charges |= !self.declared.limits_of.is_empty();
        self
    }

    /// How many units a request takes of the rule's limits; 1 unless said.
    pub fn cost(mut self, cost: u64) -> Self {
        self.declared.cost = Some(Said::here(cost));
        self
    }

    /// Who is charged: `user`, `ip`, `header:NAME`, `fixed:TEXT` or `function:NAME`.
    pub fn key(self, source: impl Into<String>) -> Self {
        self.set(|settings| settings.key = text(source))
    }

    /// What group the key belongs to, from the same sources.
    pub fn group(self, source: impl Into<String>) -> Self {
        self.set(|settings| settings.group = text(source))
    }

    /// Which statuses of the response give the charge back: `409`, or `5xx` for a class.
    pub fn refund<T: Into<String>>(self, statuses: impl IntoIterator<Item = T>) -> Self {
        self.set(|settings| settings.refund = Some(texts(statuses)))
    }

    /// Which gRPC statuses give the charge back, by name: `ABORTED`.
    pub fn refund_grpc<T: Into<String>>(self, statuses: impl IntoIterator<Item = T>) -> Self {
        self.set(|settings| settings.refund_grpc = Some(texts(statuses)))
    }

    /// What becomes of a request while the store cannot be reached: `allow` (unless said) or `deny`.
    pub fn on_unavailable(self, answer: impl Into<String>) -> Self {
        self.set(|settings| settings.on_unavailable = text(answer))
    }

    /// What becomes of a request while the store is full: `allow` (unless said) or `deny`.
    pub fn on_full(self, answer: impl Into<String>) -> Self {
        self.set(|settings| settings.on_full = text(answer))
    }

    /// What becomes of a request that lacks the key: `deny` (unless said), `skip`, or another source to take.
    pub fn on_missing_key(self, answer: impl Into<String>) -> Self {
        self.set(|settings| settings.on_missing_key = text(answer))
    }

    fn set(mut self, set: impl FnOnce(&mut Settings)) -> Self {
        set(&mut self.declared.settings);
        self
    }
}

impl Plans {
    /// Whether a plan with this name was said.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.plans.iter().any(|plan| plan.name.value == name)
    }
}
