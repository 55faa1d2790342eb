//! `rebate rules check`: whether a file is right, and what it says.

use std::fmt::Write;
use std::io::{self, Write as _};

use comfy_table::{ContentArrangement, Table, presets};
use rebate::rules::{CheckedRule, OnMissingKey, OnTrouble, RuleLimit, Rules};

use crate::arguments::CheckArguments;

use super::{read, write};
use crate::trouble::Trouble;

pub(super) fn run(arguments: &CheckArguments) -> Result<(), Trouble> {
    let rules = read(&arguments.file)?;
    let mut errors = io::stderr().lock();
    for warning in rules.warnings() {
        // Nobody to tell is no reason to stop.
        let _ = writeln!(errors, "{warning}\n");
    }
    write(&table(&rules))
}

/// The rules, and what is never limited.
fn table(rules: &Rules) -> String {
    let mut table = Table::new();
    table.load_style(presets::UTF8_BORDERS_ONLY).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(["Methods", "Path", "Limits", "Key", "Refunds", "Otherwise"]);
    for rule in rules.rules() {
        table.add_row([
            methods(rule),
            path(rule),
            limits(rules, rule),
            key(rule),
            rule.refunds().to_string(),
            otherwise(rule),
        ]);
    }
    let mut out = String::new();
    // Writing to a string cannot fail.
    if !rules.rules().is_empty() {
        let _ = writeln!(out, "{table}");
    }
    let plans: Vec<_> = rules.plans().collect();
    if !plans.is_empty() {
        let _ = writeln!(out, "Plans: {}. A limit that names none holds for all.", plans.join(", "));
        if let Some(header) = rules.plans_by().map(ToString::to_string).filter(|by| by.starts_with("header:")) {
            let _ = writeln!(
                out,
                "Plans are chosen by `{header}`: let a gateway set it, or clients take the plan they like."
            );
        }
    }
    let exemptions: Vec<_> = rules.exemptions().collect();
    if !exemptions.is_empty() {
        let _ = writeln!(out, "Never limited: {}.", exemptions.join("; "));
    }
    let functions: Vec<_> = rules.functions().collect();
    if !functions.is_empty() {
        let _ = writeln!(out, "Functions that the service must bring: {}.", functions.join(", "));
    }
    let (rule, limit) = (rules.rules().len(), rules.limits().len());
    let warnings = rules.warnings().len();
    let plural = |number: usize| if number == 1 { "" } else { "s" };
    let _ = writeln!(
        out,
        "{rule} rule{}, {limit} limit{}, {warnings} warning{}.",
        plural(rule),
        plural(limit),
        plural(warnings)
    );
    out
}

pub(super) fn methods(rule: &CheckedRule) -> String {
    let methods: Vec<_> = rule.methods().collect();
    if methods.is_empty() { "all".to_owned() } else { methods.join(", ") }
}

/// A rule's path, with its name where that is another.
pub(super) fn path(rule: &CheckedRule) -> String {
    let below = match (rule.is_prefix(), rule.path().ends_with('/')) {
        (false, _) => "",
        (true, true) => "…",
        (true, false) => "[/…]",
    };
    let path = format!("{}{below}", rule.path());
    if rule.path().ends_with(rule.name()) { path } else { format!("{path}\n({})", rule.name()) }
}

fn limits(rules: &Rules, rule: &CheckedRule) -> String {
    let lines: Vec<_> = rules.charges(rule).map(|(limit, cost)| limit_text(rules, limit, cost)).collect();
    lines.join("\n")
}

/// A limit as a rule charges it.
pub(crate) fn limit_text(rules: &Rules, limit: &RuleLimit, cost: u64) -> String {
    let mut text = format!("{}: {}", limit.limit().name(), limit.policy());
    if cost != 1 {
        let _ = write!(text, " ×{cost}");
    }
    let plans: Vec<_> = limit.plans().collect();
    if !plans.is_empty() && plans.len() < rules.plans().count() {
        let _ = write!(text, " ({})", plans.join(", "));
    }
    text
}

fn key(rule: &CheckedRule) -> String {
    match rule.group() {
        Some(group) => format!("{}\nin {group}", rule.key()),
        None => rule.key().to_string(),
    }
}

/// What becomes of a request that cannot be charged.
fn otherwise(rule: &CheckedRule) -> String {
    let missing = match rule.on_missing_key() {
        OnMissingKey::Deny => "no key: denied".to_owned(),
        OnMissingKey::Skip => "no key: passes".to_owned(),
        OnMissingKey::Take(other) => format!("no key: {other}"),
    };
    let word = |answer| if answer == OnTrouble::Allow { "passes" } else { "denied" };
    format!("{missing}\nstore away: {}\nstore full: {}", word(rule.on_unavailable()), word(rule.on_full()))
}
