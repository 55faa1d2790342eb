//! What is reported of a rule file's replay.

use std::cmp::Reverse;
use std::fmt::Write;
use std::path::Path;
use std::time::Duration;

use rebate::Key;
use rebate::rules::Rules;
use serde::Serialize;

use super::by_rules::Tally;
use super::read::printable;
use super::report::moment;
use super::table::{align, counted, grouped, share, shortened, table};
use crate::arguments::ReplayArguments;
use crate::rules::check::limit_text;
use crate::show::as_text;

/// The report. Its JSON form is a promise to those who read it by program.
#[derive(Serialize)]
pub(super) struct RulesReport {
    source: String,
    rules_file: String,
    lines: u64,
    bad_lines: u64,
    /// All that could be read, limited or not.
    requests: u64,
    /// Of those charged: admitted, whether or not refunded.
    allowed: u64,
    /// Of those charged: denied by a limit.
    denied: u64,
    denied_keys: u64,
    refunded: u64,
    exempt: u64,
    /// Whose plan limits nothing.
    unlimited: u64,
    no_rule: u64,
    outside: u64,
    /// Refused, because their paths can be read in too many ways.
    unclear: u64,
    /// That lacked their key: denied for it.
    denied_without_key: u64,
    /// That lacked their key: passed all the same.
    passed_without_key: u64,
    first: Option<String>,
    last: Option<String>,
    rules: Vec<RuleReport>,
    limits: Vec<LimitReport>,
    most_denied: Vec<KeyReport>,
}

#[derive(Serialize)]
struct RuleReport {
    rule: String,
    path: String,
    prefix: bool,
    methods: Vec<String>,
    allowed: u64,
    denied: u64,
    refunded: u64,
    denied_without_key: u64,
    passed_without_key: u64,
}

#[derive(Serialize)]
struct LimitReport {
    limit: String,
    policy: String,
    /// Under which it is this policy; none where plans say nothing of it.
    plans: Vec<String>,
    code: String,
    /// Units, whether or not refunded.
    charged: u64,
    /// Requests that this limit would not admit.
    denied: u64,
    /// Units.
    refunded: u64,
    #[serde(skip)]
    label: String,
}

#[derive(Serialize)]
struct KeyReport {
    key: String,
    /// Where its bytes are no text.
    #[serde(skip_serializing_if = "Option::is_none")]
    key_hex: Option<String>,
    denied: u64,
    first: String,
    last: String,
}

impl RulesReport {
    pub(super) fn new(
        rules: &Rules,
        arguments: &ReplayArguments,
        source: &str,
        file: &Path,
        tally: Tally,
        keys: &[Key],
    ) -> Self {
        let rule = |rule: &rebate::rules::CheckedRule| {
            let told = &tally.rules[rule.index()];
            RuleReport {
                rule: rule.name().to_owned(),
                path: rule.path().to_owned(),
                prefix: rule.is_prefix(),
                methods: rule.methods().map(str::to_owned).collect(),
                allowed: told.allowed,
                denied: told.denied,
                refunded: told.refunded,
                denied_without_key: told.denied_without_key,
                passed_without_key: told.passed_without_key,
            }
        };
        let limit = |limit: &rebate::rules::RuleLimit| {
            let told = &tally.limits[limit.index()];
            LimitReport {
                limit: limit.limit().name().to_owned(),
                policy: limit.policy().to_owned(),
                plans: limit.plans().map(str::to_owned).collect(),
                code: limit.code().to_owned(),
                charged: told.charged,
                denied: told.denied,
                refunded: told.refunded,
                label: limit_text(rules, limit, 1),
            }
        };
        let rule_reports: Vec<RuleReport> = rules.rules().iter().map(rule).collect();
        let denied_without_key = rule_reports.iter().map(|rule| rule.denied_without_key).sum::<u64>();
        let passed_without_key = rule_reports.iter().map(|rule| rule.passed_without_key).sum::<u64>();
        let charged = tally.allowed + tally.denied;
        let uncharged = tally.exempt + tally.unlimited + tally.no_rule + tally.outside + tally.unclear;
        let mut most_denied: Vec<_> = tally.denied_keys.iter().collect();
        most_denied.sort_by_key(|(key, denied)| (Reverse(denied.denied), denied.first, **key));
        most_denied.truncate(arguments.top);
        let named = most_denied.into_iter().map(|(&key, denied)| {
            let (key, key_hex) = as_text(keys[key as usize].as_ref().bytes());
            KeyReport { key, key_hex, denied: denied.denied, first: moment(denied.first), last: moment(denied.last) }
        });
        RulesReport {
            source: source.to_owned(),
            rules_file: file.to_string_lossy().into_owned(),
            lines: tally.lines,
            bad_lines: tally.bad_lines,
            requests: charged + uncharged + denied_without_key + passed_without_key,
            allowed: tally.allowed,
            denied: tally.denied,
            denied_keys: tally.denied_keys.len() as u64,
            refunded: tally.refunded,
            exempt: tally.exempt,
            unlimited: tally.unlimited,
            no_rule: tally.no_rule,
            outside: tally.outside,
            unclear: tally.unclear,
            denied_without_key,
            passed_without_key,
            first: tally.span.map(|(first, _)| moment(first)),
            last: tally.span.map(|(_, last)| moment(last)),
            rules: rule_reports,
            limits: rules.limits().iter().map(limit).collect(),
            most_denied: named.collect(),
        }
    }

    /// One object, on lines that people can read too.
    pub(super) fn json(&self) -> String {
        // Nothing in it can fail: no maps, no numbers that are not finite.
        serde_json::to_string_pretty(self).unwrap_or_default() + "\n"
    }
}

/// The report as tables, as wide as the terminal at most.
pub(super) fn print(report: &RulesReport, took: Duration) -> String {
    let mut out = String::new();
    // Writing to a string cannot fail.
    let _ = summary(&mut out, report, took);
    let mut rules = table(&["Rule", "Allowed", "Denied", "Refunded", "No key: denied", "No key: passed"], 1);
    for rule in &report.rules {
        let numbers = [rule.allowed, rule.denied, rule.refunded, rule.denied_without_key, rule.passed_without_key];
        rules.add_row([printable(&rule.rule)].into_iter().chain(numbers.map(grouped)));
    }
    let mut limits = table(&["Limit", "Units charged", "Requests denied", "Units refunded"], 1);
    for limit in &report.limits {
        let numbers = [limit.charged, limit.denied, limit.refunded];
        limits.add_row([limit.label.clone()].into_iter().chain(numbers.map(grouped)));
    }
    let _ = write!(out, "\n{rules}\n{limits}\n");
    if !report.most_denied.is_empty() {
        let mut keys = table(&["Key", "Denied", "First denied", "Last denied"], 1);
        for key in &report.most_denied {
            keys.add_row([shortened(&key.key), grouped(key.denied), key.first.clone(), key.last.clone()]);
        }
        [2, 3].into_iter().for_each(|column| align(&mut keys, column, comfy_table::CellAlignment::Left));
        let _ = write!(out, "\nMost denied\n{keys}\n");
    }
    out
}

fn summary(out: &mut String, report: &RulesReport, took: Duration) -> std::fmt::Result {
    write!(out, "{}: {}", printable(&report.source), counted(report.requests, "request"))?;
    if let (Some(first), Some(last)) = (&report.first, &report.last) {
        write!(out, ", {first} to {last}")?;
    }
    writeln!(out, " ({:.2} s)\n", took.as_secs_f64())?;
    let of_all = |number| share(number, report.requests);
    let rows = [
        ("allowed", report.allowed, of_all(report.allowed)),
        ("denied", report.denied, format!("{}, {}", of_all(report.denied), counted(report.denied_keys, "key"))),
        ("refunded", report.refunded, "of those allowed".to_owned()),
        ("exempt", report.exempt, of_all(report.exempt)),
        ("unlimited", report.unlimited, "by their plan".to_owned()),
        ("no rule", report.no_rule, of_all(report.no_rule)),
        ("outside", report.outside, "the base".to_owned()),
        ("unclear", report.unclear, "paths, refused".to_owned()),
        ("no key", report.denied_without_key, "denied for it".to_owned()),
        ("no key", report.passed_without_key, "passed all the same".to_owned()),
        ("bad lines", report.bad_lines, format!("of {}", grouped(report.lines))),
    ];
    for (what, number, remark) in rows {
        if number > 0 || matches!(what, "allowed" | "denied") {
            writeln!(out, "  {what:<13} {:>12}  {remark}", grouped(number))?;
        }
    }
    Ok(())
}
