//! What is said to no effect: warnings, once all is known to be right.

use std::collections::{BTreeMap, HashSet};
use std::net::Ipv6Addr;

use ipnet::IpNet;

use super::rule::Made;
use super::{Check, part};
use crate::declare::Exempt;
use crate::path::Segment;
use crate::router::Target;
use crate::rules::OnMissingKey;
use crate::source::Source;

impl Check {
    /// Rules that charge nothing, or whose answers say nothing.
    pub(super) fn idle_rules(&mut self, rules: &[Made]) {
        for Made { rule, place, .. } in rules {
            if !rule.lines.is_empty() && rule.lines.iter().all(|line| line.by_plan.iter().all(Option::is_none)) {
                self.found.warning(place, "limits nothing: its limits are unlimited under every plan");
            }
            if matches!(&rule.on_missing_key, OnMissingKey::Take(other) if *other == rule.key) {
                let text = format!(
                    "takes `{0}` where `{0}` is missing, which is the same: such requests are denied",
                    rule.key
                );
                self.found.warning(place, text);
            }
        }
    }

    /// Exempt keys that no rule charges.
    pub(super) fn idle_keys(&mut self, exempt: &Exempt, rules: &[Made]) {
        let mut charged: HashSet<String> = HashSet::new();
        for Made { rule, .. } in rules {
            charged.insert(rule.key.to_string());
            if let OnMissingKey::Take(other) = &rule.on_missing_key {
                charged.insert(other.to_string());
            }
        }
        for key in &exempt.keys {
            let source = source_of(&key.value);
            if !charged.contains(&source) {
                let text = format!("no rule charges a key such as `{}`: none is by `{source}`", key.value);
                self.found.warning(key.place.or(&part("exempt keys")), text);
            }
        }
    }

    /// Exempt networks that are larger, or smaller, than they may be meant.
    pub(super) fn wide_networks(&mut self, exempt: &Exempt, networks: &[IpNet]) {
        for (text, network) in exempt.networks.iter().zip(networks) {
            let place = text.place.or(&part("exempt networks")).clone();
            if network.prefix_len() == 0 {
                let version = if network.addr().is_ipv4() { "IPv4" } else { "IPv6" };
                self.found.warning(&place, format!("`{}` exempts every {version} client", text.value));
            }
            let mapped = Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0, 0);
            if let IpNet::V6(v6) = network
                && v6.contains(&mapped)
            {
                let text = format!(
                    "`{}` holds no IPv4 client, though it covers `::ffff:0:0/96`: those are compared as IPv4; name their \
                     networks too",
                    text.value
                );
                self.found.warning(&place, text);
            }
        }
    }
}

/// The source of an exempt key, as rules write it.
fn source_of(key: &str) -> String {
    match key.split_once(':') {
        Some(("user" | "ip", _)) => key.split(':').next().unwrap_or_default().to_owned(),
        Some(("header", rest)) => format!("header:{}", rest.split(':').next().unwrap_or_default()),
        Some(("fixed", _)) => Source::parse(key).map(|source| source.to_string()).unwrap_or_default(),
        Some((function, _)) => format!("function:{function}"),
        None => String::new(),
    }
}

/// The targets that some path leads to: all but those below a prefix of which others take each segment, and all
/// below it.
pub(super) fn live(class: &BTreeMap<Vec<Segment>, Target>) -> impl Iterator<Item = Target> {
    let covered = |route: &[Segment]| match route {
        [before @ .., Segment::Rest] => {
            let one = [before, &[Segment::Dynamic]].concat();
            let more = [before, &[Segment::Dynamic, Segment::Rest]].concat();
            class.contains_key(&one) && class.contains_key(&more)
        }
        _ => false,
    };
    class.iter().filter(move |(route, _)| !covered(route)).map(|(_, &target)| target)
}
