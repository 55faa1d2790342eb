//! Checks declarations whole and makes rules of them.

mod bounds;
mod exempt;
mod idle;
mod limits;
mod routes;
mod rule;

use std::sync::Arc;

use crate::declare::{Declared, Text};
use crate::path::{Segment, parse_base};
use crate::problem::{Found, Problems, Where};
use crate::rules::{CheckedRule, Inner, Rules};
use crate::source::Source;
use limits::Limits;

/// The rules that `declared` says, when nothing is wrong with it nor was `found` to be before.
///
/// # Errors
/// All that is wrong.
pub(crate) fn check(mut declared: Declared, source: &str, found: Found) -> Result<Rules, Problems> {
    let mut check = Check { found, functions: Vec::new(), base: Vec::new(), base_text: String::new() };
    check.bounds(&mut declared);
    check.base(declared.base.as_ref());
    let ipv6_prefix = match &declared.ipv6_prefix {
        None => 64,
        Some(bits) if (1..=128).contains(&bits.value) => bits.value as u8,
        Some(bits) => {
            check.found.error(bits.place.or(&part("ipv6_prefix")), format!("{} bits; give 1 to 128", bits.value));
            64
        }
    };
    let mut limits = Limits::default();
    let plans = check.shared_limits(&declared, &mut limits);
    let rules = check.rules(&declared, &mut limits);
    let (exempt_keys, exempt_networks) = check.exempt_keys(&declared.exempt, &rules, ipv6_prefix);
    let (methods, targets) = check.routes(&declared, &rules);
    if !check.found.has_errors() {
        check.idle_rules(&rules);
        check.idle_keys(&declared.exempt, &rules);
        check.wide_networks(&declared.exempt, &exempt_networks);
    }
    let limits = check.finish_limits(limits);
    if declared.rules.is_empty() && !check.found.has_errors() {
        check.found.warning(&Where::Here, "there are no rules, so nothing is ever limited");
    }
    let Check { found, functions, base, base_text } = check;
    // Nothing that is made from here on can be wrong.
    let warnings = found.finish(source)?;
    let base =
        base.iter().map(|segment| if let Segment::Static(text) = segment { format!("/{text}") } else { String::new() });
    Ok(Rules {
        inner: Arc::new(Inner {
            off: declared.off,
            base: base.collect::<String>().into(),
            ipv6_prefix,
            methods,
            targets,
            rules: (0..).zip(rules).map(|(index, made)| CheckedRule { index, ..made.rule }).collect(),
            limits,
            plans,
            exempt_keys,
            exempt_networks,
            functions,
            exemptions: in_words(&declared, &base_text),
            warnings,
        }),
    })
}

struct Check {
    found: Found,
    functions: Vec<Box<str>>,
    base: Vec<Segment>,
    /// As it is written; empty for none.
    base_text: String,
}

impl Check {
    fn base(&mut self, base: Option<&Text>) {
        let Some(base) = base else { return };
        match parse_base(&base.value) {
            Ok(segments) => {
                self.base_text = if segments.is_empty() { String::new() } else { base.value.clone() };
                self.base = segments;
            }
            Err(text) => self.found.error(base.place.or(&part("base")), text),
        }
    }

    /// Reads a source, and notes the function that it asks for.
    fn source(&mut self, text: &Text, outer: &Where) -> Option<Source> {
        match Source::parse(&text.value) {
            Ok(source) => {
                if let Some(function) = source.function()
                    && !self.functions.iter().any(|known| **known == *function)
                {
                    self.functions.push(function.into());
                }
                Some(source)
            }
            Err(problem) => {
                self.found.error(text.place.or(outer), problem);
                None
            }
        }
    }
}

/// What is never limited.
fn in_words(declared: &Declared, base: &str) -> Vec<Box<str>> {
    let exempt = &declared.exempt;
    let lists = [
        ("path", base, &exempt.paths),
        ("prefix", base, &exempt.prefixes),
        ("method", "", &exempt.methods),
        ("key", "", &exempt.keys),
        ("network", "", &exempt.networks),
    ];
    let words = lists
        .into_iter()
        .flat_map(|(what, base, texts)| texts.iter().map(move |text| format!("{what} {base}{}", text.value).into()));
    words.collect()
}

/// A part of rules built in code.
fn part(name: &str) -> Where {
    Where::Part(name.into())
}

/// The place of the byte `position` of `text`, or of all of it.
fn at_byte(place: &Where, text: &str, position: Option<usize>) -> Where {
    match (place, position) {
        // A text that was not written in the file as it is has quotes or escapes before the byte.
        (Where::Span(span), Some(position)) if span.len() == text.len() => {
            let length = text.get(position..).and_then(|rest| rest.chars().next()).map_or(0, char::len_utf8);
            Where::Span(span.start + position..span.start + position + length)
        }
        _ => place.clone(),
    }
}

/// The first line of a core error: those below point into a text that is shown here anyway.
fn first_line(error: &rebate_core::Error) -> String {
    error.to_string().lines().next().unwrap_or_default().to_owned()
}
