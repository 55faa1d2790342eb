//! `rebate rules explain`: what becomes of one request, and why.

use std::fmt::Write;

use rebate::KeyRef;
use rebate::rules::{Charge, CheckedRule, Chosen, Exemption, KeyBuffer, OnTrouble, Precedence, Rules, Uncharged};

use super::check::{limit_text, methods, path};
use super::subject::{AskedKey, Told};
use super::{read, write};
use crate::arguments::ExplainArguments;
use crate::replay::read::printable;
use crate::show::shown_key;
use crate::trouble::Trouble;

pub(super) fn run(arguments: &ExplainArguments) -> Result<(), Trouble> {
    let rules = read(&arguments.file)?;
    let (mut headers, mut functions) = (arguments.headers.clone(), arguments.functions.clone());
    let (mut user, mut address) = (arguments.user.as_deref().map(str::as_bytes), arguments.address);
    match &arguments.key {
        None => {}
        Some(AskedKey::User(name)) => user = Some(name.as_bytes()),
        Some(AskedKey::Address(ip)) => address = Some(*ip),
        Some(AskedKey::Header(header)) => headers.push(header.clone()),
        Some(AskedKey::Function(function)) => functions.push(function.clone()),
        Some(AskedKey::Fixed) => {}
    }
    let told = Told { user, address, headers: &headers, functions: &functions };
    write(&explain(&rules, arguments, &told))
}

fn explain(rules: &Rules, arguments: &ExplainArguments, told: &Told<'_>) -> String {
    let mut out = String::new();
    // Writing to a string cannot fail.
    let _ = try_explain(&mut out, rules, arguments, told);
    out
}

fn try_explain(out: &mut String, rules: &Rules, arguments: &ExplainArguments, told: &Told<'_>) -> std::fmt::Result {
    let (method, target) = (&*arguments.method, &*arguments.path);
    let asked = target_path(target);
    writeln!(out, "{} {}", printable(method), printable(asked))?;
    if asked != target {
        writeln!(out, "  (rules look at the path alone, without host and query)")?;
    }
    let readings = rules.readings(method, asked);
    if let [(reading, _)] = &readings[..] {
        if **reading != *asked {
            let how = if asked.ends_with('/') { ", without the slash at its end" } else { "" };
            writeln!(out, "Compared as {}{how}.", printable(reading))?;
        }
    } else {
        writeln!(
            out,
            "Servers may read this path in several ways; its normal form is {}:",
            printable(&Rules::normal_form(asked))
        )?;
        for (reading, chosen) in &readings {
            writeln!(out, "  {:<40} {}", printable(reading), briefly(chosen))?;
        }
    }
    let chosen = rules.choose(method, asked);
    let charged_by: Vec<&CheckedRule> = match &chosen {
        Chosen::Charged(charge) => charge.rules().collect(),
        _ => Vec::new(),
    };
    match chosen {
        Chosen::Off => writeln!(out, "Not limited: the file says `enabled = false`."),
        Chosen::Outside => writeln!(out, "Not limited: the path lies outside the base."),
        Chosen::NoRule => writeln!(out, "Not limited: no rule is for this path and method."),
        Chosen::Exempt(exemption) => writeln!(out, "Not limited: {}.", exempted(exemption)),
        Chosen::Refused => {
            writeln!(
                out,
                "Refused with 400: it can be read in more ways than are looked at, and none of these is charged."
            )
        }
        Chosen::Charged(charge) => charged(out, rules, &charge, told, readings.len() > 1),
    }?;
    let beaten = readings.iter().flat_map(|(reading, _)| rules.beaten(method, reading));
    also_for_it(out, beaten, &charged_by)
}

/// The rules that a more specific one beats, each once.
fn also_for_it<'a>(
    out: &mut String,
    beaten: impl Iterator<Item = (&'a CheckedRule, Precedence)>,
    charged_by: &[&CheckedRule],
) -> std::fmt::Result {
    let mut told: Vec<usize> = charged_by.iter().map(|rule| rule.index()).collect();
    for (rule, why) in beaten {
        if told.contains(&rule.index()) {
            continue;
        }
        if told.len() == charged_by.len() {
            writeln!(out, "Also for it, but beaten by what is more specific:")?;
        }
        told.push(rule.index());
        let why = match why {
            Precedence::Segment(number) => {
                match rule.path().split('/').nth(number).filter(|segment| !segment.is_empty()) {
                    Some(segment) => format!("its segment {number} is any ({segment})"),
                    None => format!("it is a prefix, without a segment {number} of its own"),
                }
            }
            Precedence::Path => "a path comes before a prefix".to_owned(),
            Precedence::Method => "a method that is named comes before one that is not".to_owned(),
        };
        writeln!(out, "  rule {}: {why}", rule_line(rule))?;
    }
    Ok(())
}

/// A rule, its pattern and its methods.
fn rule_line(rule: &CheckedRule) -> String {
    let which = if methods(rule) == "all" { "all methods".to_owned() } else { methods(rule) };
    let pattern = path(rule).lines().next().unwrap_or_default().to_owned();
    format!("`{}`: {pattern} for {which}", rule.name())
}

/// The path of a request's target, which may be a whole URI.
pub(crate) fn target_path(target: &str) -> &str {
    let path = match target.split_once("://") {
        Some((scheme, rest)) if scheme.bytes().all(|byte| byte.is_ascii_alphanumeric()) && !scheme.is_empty() => {
            rest.find(['/', '?', '#']).map_or("/", |at| &rest[at..])
        }
        _ => target,
    };
    path.split(['?', '#']).next().unwrap_or_default()
}

fn briefly(chosen: &Chosen<'_>) -> String {
    match chosen {
        Chosen::Off => "not limited".to_owned(),
        Chosen::Outside => "outside the base".to_owned(),
        Chosen::NoRule => "no rule".to_owned(),
        Chosen::Refused => "refused".to_owned(),
        Chosen::Exempt(exemption) => format!("exempt: {}", exempted(*exemption)),
        Chosen::Charged(charge) => format!("rule `{}`", charge.rule().name()),
    }
}

fn exempted(exemption: Exemption<'_>) -> String {
    match exemption {
        Exemption::Method => "its method is exempt".to_owned(),
        Exemption::Path(path) => format!("the path {path} is exempt"),
        Exemption::Key => "its key is exempt".to_owned(),
        Exemption::Network => "its client's network is exempt".to_owned(),
    }
}

fn charged(out: &mut String, rules: &Rules, charge: &Charge<'_>, told: &Told<'_>, odd: bool) -> std::fmt::Result {
    for rule in charge.rules() {
        let why = if odd { "the most specific one for a reading of the path" } else { "the most specific one" };
        writeln!(out, "Rule {}, {why}.", rule_line(rule))?;
    }
    if charge.rules().count() > 1 {
        writeln!(out, "Charged by each of them, since somebody may read the path as each is written.")?;
    }
    if let Some(plan) = charge.plan(told) {
        writeln!(out, "Plan `{plan}`.")?;
    }
    let mut keys = KeyBuffer::new();
    match charge.items(told, &mut keys) {
        Ok(items) => {
            writeln!(out, "Charged, all or nothing:")?;
            for (item, limit) in items.iter().zip(items.limits()) {
                let key: KeyRef<'_> = item.key;
                writeln!(out, "  {}, key {}", limit_text(rules, limit, item.cost), shown_key(key))?;
                writeln!(out, "    when it denies: 429, code {}", limit.code())?;
            }
        }
        Err(Uncharged::Exempt(exemption)) => return writeln!(out, "Not limited: {}.", exempted(exemption)),
        Err(Uncharged::NoKey) => {
            return writeln!(out, "Passes uncharged: it lacks its key, and the rule skips such requests.");
        }
        Err(Uncharged::Unlimited) => return writeln!(out, "Not limited: its plan limits nothing here."),
        Err(Uncharged::Denied(missing)) => {
            let why = if missing.is_too_long() { "is longer than 64 KiB" } else { "is missing" };
            let source = missing.source();
            writeln!(
                out,
                "Denied with {}: the key `{source}` of rule `{}` {why}.",
                missing.status(),
                missing.rule().name()
            )?;
            return writeln!(
                out,
                "  (say who asks: --key, --user, --address, --header NAME=VALUE or --function NAME=VALUE)"
            );
        }
    }
    let refunds: Vec<String> = charge.rules().map(|rule| rule.refunds().to_string()).collect();
    let all = if refunds.len() > 1 { ", where all of these agree" } else { "" };
    writeln!(out, "Given back on: {}{all}.", refunds.join(" / "))?;
    let word = |answer| if answer == OnTrouble::Allow { "passes unchecked" } else { "denied with 503" };
    writeln!(
        out,
        "While the store is away: {}; while it is full: {}.",
        word(charge.on_unavailable()),
        word(charge.on_full())
    )
}
