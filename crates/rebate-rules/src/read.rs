//! Rule files: TOML, read whole.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::check::check;
use crate::declare::{Declared, Exempt, Plan, Plans, RuleDeclared, Said, Settings, SharedLimit, Text, Use};
use crate::nearest::nearest;
use crate::problem::{Found, Problems, Where};
use crate::rules::Rules;

type Value<'t> = Spanned<DeValue<'t>>;

/// Reads a rule file.
///
/// # Errors
/// All that is wrong.
pub(crate) fn read(text: &str) -> Result<Rules, Problems> {
    // An editor's mark at the beginning is no part of what is said, nor of its columns.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if text.len() > MAX_FILE {
        let mut found = Found::default();
        let is = format!("the file has {} bytes; at most {MAX_FILE} are taken", text.len());
        found.error(&Where::Span(0..0), is);
        return check(Declared::default(), "", found);
    }
    let (document, errors) = DeTable::parse_recoverable(text);
    let mut reader = Reader { found: Found::default(), text };
    for error in errors {
        reader.found.syntax(Where::Span(error.span().unwrap_or_default()), error.message());
    }
    let declared = reader.document(document.get_ref());
    check(declared, text, reader.found)
}

/// The largest rule file, in bytes.
const MAX_FILE: usize = 1 << 20;

struct Reader<'t> {
    found: Found,
    text: &'t str,
}

const DOCUMENT: &[&str] = &["enabled", "base", "client", "defaults", "limits", "plans", "exempt", "rule"];
const CLIENT: &[&str] = &["ipv6_prefix"];
const EXEMPT: &[&str] = &["paths", "prefixes", "methods", "keys", "networks"];
const LIMIT: &[&str] = &["policy", "code"];
const SETTINGS: &[&str] = &["key", "group", "refund", "refund_grpc", "on_unavailable", "on_full", "on_missing_key"];
const RULE: &[&str] = &[
    "path",
    "prefix",
    "name",
    "methods",
    "limit",
    "limits",
    "limits_of",
    "cost",
    "code",
    "key",
    "group",
    "refund",
    "refund_grpc",
    "on_unavailable",
    "on_full",
    "on_missing_key",
];
const USE: &[&str] = &["limit", "cost"];

impl Reader<'_> {
    fn document(&mut self, table: &DeTable<'_>) -> Declared {
        let mut declared = Declared::default();
        for (key, value) in table {
            match &**key.get_ref() {
                "enabled" => declared.off = self.boolean(value) == Some(false),
                "base" => declared.base = self.text(value),
                "client" => {
                    for (key, value) in self.entries(value, "client") {
                        match &**key.get_ref() {
                            "ipv6_prefix" => declared.ipv6_prefix = self.number(value),
                            _ => self.unknown(key, CLIENT, "[client]"),
                        }
                    }
                }
                "defaults" => {
                    for (key, value) in self.entries(value, "defaults") {
                        if !self.setting(key.get_ref(), value, &mut declared.defaults) {
                            self.unknown(key, SETTINGS, "[defaults]");
                        }
                    }
                }
                "limits" => {
                    let entries: Vec<_> = self.entries(value, "limits").collect();
                    declared.limits = entries.into_iter().map(|(key, value)| self.limit(key, value)).collect();
                }
                "plans" => declared.plans = Some(self.plans(key, value)),
                "exempt" => declared.exempt = self.exempt(value),
                "rule" => declared.rules = self.rules(value),
                _ => self.unknown(key, DOCUMENT, "a rule file"),
            }
        }
        declared
    }

    fn limit(&mut self, key: &Spanned<std::borrow::Cow<'_, str>>, value: &Value<'_>) -> SharedLimit {
        let name = Said { value: key.get_ref().to_string(), place: span(key) };
        let mut limit = SharedLimit { name, policy: None, code: None };
        if let DeValue::Table(table) = value.get_ref() {
            for (key, value) in table {
                match &**key.get_ref() {
                    "policy" => limit.policy = self.text(value),
                    "code" => limit.code = self.text(value),
                    _ => self.unknown(key, LIMIT, "a limit"),
                }
            }
            if !table.contains_key("policy") {
                self.found.error(&span(key), "this limit has no `policy`, such as `policy = \"50/day\"`");
            }
        } else {
            limit.policy = self.text_as(value, "a policy such as \"50/day\", or a table with `policy` and `code`");
        }
        limit
    }

    fn plans(&mut self, key: &Spanned<std::borrow::Cow<'_, str>>, value: &Value<'_>) -> Plans {
        let mut plans = Plans { place: span(key), ..Plans::default() };
        for (key, value) in self.entries(value, "plans") {
            match (&**key.get_ref(), value.get_ref()) {
                (reserved @ ("by" | "default"), DeValue::Table(_)) => {
                    let text = format!(
                        "no plan can be called `{reserved}`, which says how a plan is chosen; take another name"
                    );
                    self.found.error(&span(key), text);
                }
                ("by", _) => plans.by = self.text(value),
                ("default", _) => plans.default = self.text(value),
                (name, DeValue::Table(table)) => {
                    let name = Said { value: name.to_owned(), place: span(key) };
                    let limits = table.iter().map(|(key, value)| self.limit(key, value)).collect();
                    plans.plans.push(Plan { name, limits });
                }
                _ => self.found.error(
                    &span(key),
                    "a plan is a table of limits, such as `[plans.free]` with `daily = \"50/day\"` below it",
                ),
            }
        }
        plans
    }

    fn exempt(&mut self, value: &Value<'_>) -> Exempt {
        let mut exempt = Exempt::default();
        for (key, value) in self.entries(value, "exempt") {
            let list = match &**key.get_ref() {
                "paths" => &mut exempt.paths,
                "prefixes" => &mut exempt.prefixes,
                "methods" => &mut exempt.methods,
                "keys" => &mut exempt.keys,
                "networks" => &mut exempt.networks,
                _ => {
                    self.unknown(key, EXEMPT, "[exempt]");
                    continue;
                }
            };
            *list = self.texts(value);
        }
        exempt
    }

    fn rules(&mut self, value: &Value<'_>) -> Vec<RuleDeclared> {
        let DeValue::Array(rules) = value.get_ref() else {
            self.wrong(value, "a list of rules: write `[[rule]]` above each, in double brackets");
            return Vec::new();
        };
        let mut declared = Vec::new();
        for rule in rules {
            match rule.get_ref() {
                DeValue::Table(table) => declared.push(self.rule(span(rule), table)),
                _ => self.wrong(rule, "a rule: write `[[rule]]` above each"),
            }
        }
        declared
    }

    fn rule(&mut self, place: Where, table: &DeTable<'_>) -> RuleDeclared {
        let mut rule = RuleDeclared { place, ..RuleDeclared::default() };
        for (key, value) in table {
            match &**key.get_ref() {
                "path" => {
                    rule.placed = true;
                    rule.path = self.text(value);
                }
                "prefix" => {
                    rule.placed = true;
                    rule.prefix = self.text(value);
                }
                "name" => rule.name = self.text(value),
                "methods" => rule.methods = Some(self.texts(value)),
                "limit" => {
                    rule.charges = true;
                    rule.limit = self.text_as(value, "a policy such as \"10/month\"");
                }
                "code" => rule.code = self.text(value),
                "cost" => rule.cost = self.number(value),
                "limits" => {
                    rule.charges |= !is_empty(value);
                    rule.limits = self.uses(value);
                }
                "limits_of" => {
                    rule.charges |= !is_empty(value);
                    rule.limits_of = self.texts(value);
                }
                name => {
                    if !self.setting(name, value, &mut rule.settings) {
                        self.unknown(key, RULE, "a rule");
                        // What was meant is not missed as well.
                        let meant = nearest(name, RULE.iter().copied()).unwrap_or_default();
                        rule.placed |= matches!(meant, "path" | "prefix");
                        rule.charges |= meant.starts_with("limit");
                    }
                }
            }
        }
        rule
    }

    /// Takes one of the settings; answers whether it is one.
    fn setting(&mut self, name: &str, value: &Value<'_>, settings: &mut Settings) -> bool {
        match name {
            "key" => settings.key = self.text(value),
            "group" => settings.group = self.text(value),
            "refund" => settings.refund = Some(self.statuses(value)),
            "refund_grpc" => settings.refund_grpc = Some(self.statuses(value)),
            "on_unavailable" => settings.on_unavailable = self.text(value),
            "on_full" => settings.on_full = self.text(value),
            "on_missing_key" => settings.on_missing_key = self.text(value),
            _ => return false,
        }
        true
    }

    fn uses(&mut self, value: &Value<'_>) -> Vec<Use> {
        let mut uses = Vec::new();
        for value in self.items(value, "a list of limits' names, such as [\"daily\"]") {
            let DeValue::Table(table) = value.get_ref() else {
                let limit = self.text_as(value, "a limit's name, or a table with `limit` and `cost`");
                uses.extend(limit.map(|limit| Use { limit, cost: None }));
                continue;
            };
            let (mut limit, mut cost) = (None, None);
            for (key, value) in table {
                match &**key.get_ref() {
                    "limit" => limit = self.text(value),
                    "cost" => cost = self.number(value),
                    _ => self.unknown(key, USE, "a limit to charge"),
                }
            }
            if !table.contains_key("limit") {
                self.found.error(&span(value), "which limit? Write `{ limit = \"daily\", cost = 2 }`");
            }
            uses.extend(limit.map(|limit| Use { limit, cost }));
        }
        uses
    }

    /// Statuses: texts, or numbers.
    fn statuses(&mut self, value: &Value<'_>) -> Vec<Text> {
        let mut statuses = Vec::new();
        for value in self.items(value, "a list of statuses, such as [409, \"5xx\"]") {
            match value.get_ref() {
                DeValue::Integer(number) => {
                    statuses.push(Said { value: number.to_string(), place: span(value) });
                }
                _ => statuses.extend(self.text_as(value, "a status, such as 409 or \"5xx\"")),
            }
        }
        statuses
    }

    fn text(&mut self, value: &Value<'_>) -> Option<Text> {
        self.text_as(value, "a text, in quotes")
    }

    fn text_as(&mut self, value: &Value<'_>, wanted: &str) -> Option<Text> {
        match value.get_ref() {
            DeValue::String(text) => Some(Said { value: text.to_string(), place: self.inside(value.span(), text) }),
            _ => {
                self.wrong(value, wanted);
                None
            }
        }
    }

    fn texts(&mut self, value: &Value<'_>) -> Vec<Text> {
        let items = self.items(value, "a list of texts, such as [\"…\", \"…\"]");
        items.iter().filter_map(|value| self.text(value)).collect()
    }

    fn number(&mut self, value: &Value<'_>) -> Option<Said<u64>> {
        let number = match value.get_ref() {
            DeValue::Integer(number) => u64::from_str_radix(number.as_str(), number.radix()).ok(),
            _ => None,
        };
        if let (None, DeValue::Integer(whole)) = (number, value.get_ref())
            && !whole.as_str().starts_with('-')
        {
            self.found.error(&span(value), format!("this number is too large; at most {} can be said", u64::MAX));
        } else if number.is_none() {
            self.wrong(value, "a whole number, not negative");
        }
        Some(Said { value: number?, place: span(value) })
    }

    fn boolean(&mut self, value: &Value<'_>) -> Option<bool> {
        match value.get_ref() {
            DeValue::Boolean(boolean) => Some(*boolean),
            _ => {
                self.wrong(value, "true or false");
                None
            }
        }
    }

    fn items<'v, 't>(&mut self, value: &'v Value<'t>, wanted: &str) -> &'v [Value<'t>] {
        match value.get_ref() {
            DeValue::Array(items) => items,
            _ => {
                self.wrong(value, wanted);
                &[]
            }
        }
    }

    fn entries<'v, 't>(
        &mut self,
        value: &'v Value<'t>,
        name: &str,
    ) -> impl Iterator<Item = (&'v Spanned<std::borrow::Cow<'t, str>>, &'v Value<'t>)> + use<'v, 't> {
        let table = match value.get_ref() {
            DeValue::Table(table) => Some(table),
            _ => {
                self.wrong(value, &format!("a table: write `[{name}]`"));
                None
            }
        };
        table.into_iter().flatten()
    }

    fn wrong(&mut self, value: &Value<'_>, wanted: &str) {
        let is = match value.get_ref() {
            DeValue::String(_) => "a text",
            DeValue::Integer(number) if number.as_str().starts_with('-') => "negative",
            DeValue::Integer(_) => "a number",
            DeValue::Float(_) => "a fraction",
            DeValue::Boolean(_) => "true or false",
            DeValue::Datetime(_) => "a date or time",
            DeValue::Array(_) => "a list",
            DeValue::Table(_) => "a table",
        };
        self.found.error(&span(value), format!("this is {is}; it should be {wanted}"));
    }

    fn unknown(&mut self, key: &Spanned<std::borrow::Cow<'_, str>>, known: &[&str], of: &str) {
        let name = key.get_ref();
        let right = match nearest(name, known.iter().copied()) {
            _ if self.found.is_full() => String::new(),
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("{of} has {}", known.join(", ")),
        };
        self.found.error(&span(key), format!("unknown key `{name}`; {right}"));
    }

    /// The place of a text without its quotes, where it is written in the file as it is.
    fn inside(&self, span: Range<usize>, text: &str) -> Where {
        let inner = span.start + 1..span.end.saturating_sub(1);
        Where::Span(if self.text.get(inner.clone()) == Some(text) { inner } else { span })
    }
}

/// Whether it is a list that says nothing.
fn is_empty(value: &Value<'_>) -> bool {
    matches!(value.get_ref(), DeValue::Array(items) if items.is_empty())
}

fn span<T>(spanned: &Spanned<T>) -> Where {
    Where::Span(spanned.span())
}
