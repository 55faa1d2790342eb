//! Keys and networks that are never limited.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net};

use super::rule::Made;
use super::{Check, part};
use crate::declare::{Exempt, Text};
use crate::source::{KeyBuffer, Source};

impl Check {
    pub(super) fn exempt_keys(
        &mut self,
        exempt: &Exempt,
        rules: &[Made],
        ipv6_prefix: u8,
    ) -> (Vec<Box<[u8]>>, Vec<IpNet>) {
        let place = part("exempt keys");
        for key in &exempt.keys {
            if let Err(problem) = self.exempt_key(key, ipv6_prefix) {
                self.found.error(key.place.or(&place), problem);
            }
        }
        let mut keys: Vec<Box<[u8]>> = exempt.keys.iter().map(|key| key.value.as_bytes().into()).collect();
        keys.sort_unstable();
        keys.dedup();
        for rule in rules {
            let fixed = rule.rule.key.to_string();
            if fixed.starts_with("fixed:") && keys.binary_search_by(|key| (**key).cmp(fixed.as_bytes())).is_ok() {
                self.found.warning(&rule.place, format!("never charges anything: its key `{fixed}` is exempt"));
            }
        }
        let place = part("exempt networks");
        let mut networks = Vec::new();
        for network in &exempt.networks {
            match parse_network(&network.value) {
                Ok(network) => networks.push(network),
                Err(problem) => self.found.error(network.place.or(&place), problem),
            }
        }
        (keys, networks)
    }

    fn exempt_key(&self, key: &Text, ipv6_prefix: u8) -> Result<(), String> {
        let forms = "keys read `user:42`, `ip:203.0.113.9`, `header:x-tenant:acme`, `fixed:all`, or a function's name \
                     and what it answers";
        let never = |why: &str| Err(format!("no key is ever `{}`: {why}", key.value));
        match key.value.split_once(':') {
            None | Some((_, "")) => never(forms),
            Some(("user" | "fixed", _)) => Ok(()),
            Some(("header", rest)) => match rest.split_once(':') {
                Some((name, value)) if !value.is_empty() => match Source::parse(&format!("header:{name}")) {
                    Ok(source) if source.to_string() == format!("header:{name}") => Ok(()),
                    Ok(source) => never(&format!("headers' names are written small: `{source}:{value}`")),
                    Err(problem) => never(&problem),
                },
                _ => never(forms),
            },
            Some(("ip", text)) => {
                let address = text.split_once('/').map_or(text, |(address, _)| address);
                let Ok(address) = address.parse::<IpAddr>() else { return never(forms) };
                let mut right = KeyBuffer::new();
                right.address(address, ipv6_prefix);
                let right = String::from_utf8_lossy(&right.bytes).into_owned();
                if right == key.value { Ok(()) } else { never(&format!("an address's key is `{right}`")) }
            }
            Some((function, _)) if self.functions.iter().any(|known| **known == *function) => Ok(()),
            Some(_) => never(forms),
        }
    }
}

/// A network, or one address.
///
/// # Errors
/// What is wrong with it, and what would be right.
fn parse_network(text: &str) -> Result<IpNet, String> {
    let network = match (text.parse::<IpNet>(), text.parse::<IpAddr>()) {
        (Ok(network), _) => network,
        (_, Ok(address)) => IpNet::from(address),
        _ => return Err(format!("`{text}` is no network; write one such as `10.0.0.0/8` or `2001:db8::/32`")),
    };
    if network.trunc() != network {
        return Err(format!("`{text}` has bits beyond its prefix; write `{}`", network.trunc()));
    }
    // IPv4 within IPv6 is looked at as IPv4.
    match network {
        IpNet::V6(v6) if v6.prefix_len() >= 96 => match v6.addr().to_ipv4_mapped() {
            Some(v4) => Ipv4Net::new(v4, v6.prefix_len() - 96).map(IpNet::V4).map_err(|error| error.to_string()),
            None => Ok(network),
        },
        _ => Ok(network),
    }
}
