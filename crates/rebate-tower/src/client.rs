//! Whose request it is: the client's address.

use std::net::{IpAddr, SocketAddr};

use http::header::FORWARDED;
use http::{HeaderMap, HeaderName};
use ipnet::IpNet;
use rebate_core::Error;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Where a client's address is read from.
///
/// The address at the other end of the socket cannot be forged; a header can be by anyone. So a header is believed
/// only of a trusted proxy, and only as far as the proxies reach: its addresses are counted from the right, where
/// each proxy adds the one it was called from, and the first one that is no trusted proxy is the client. What a client
/// wrote to the left of that is never looked at, however long it is.
///
/// ```
/// use rebate_tower::ClientAddress;
///
/// let direct = ClientAddress::socket();
/// let behind_nginx = ClientAddress::x_forwarded_for(["10.0.0.0/8", "fd00::/8", "192.0.2.7"])?;
/// # Ok::<(), rebate_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct ClientAddress {
    header: Option<HeaderName>,
    proxies: Box<[IpNet]>,
}

impl ClientAddress {
    /// The address at the other end of the socket.
    pub fn socket() -> Self {
        ClientAddress { header: None, proxies: Box::default() }
    }

    /// The socket's address, unless it is one of `proxies` (networks or single addresses); then the address that they
    /// tell in `X-Forwarded-For`. Have the outermost proxy set this header, not pass on another one that you trust here.
    ///
    /// # Errors
    /// [`Error::is_invalid`] when one of `proxies` is neither a network nor an address.
    pub fn x_forwarded_for<P: AsRef<str>>(proxies: impl IntoIterator<Item = P>) -> Result<Self, Error> {
        Self::behind(X_FORWARDED_FOR, proxies)
    }

    /// The same with the header `Forwarded` of RFC 7239.
    ///
    /// # Errors
    /// As [`ClientAddress::x_forwarded_for`].
    pub fn forwarded<P: AsRef<str>>(proxies: impl IntoIterator<Item = P>) -> Result<Self, Error> {
        Self::behind(FORWARDED, proxies)
    }

    fn behind<P: AsRef<str>>(header: HeaderName, proxies: impl IntoIterator<Item = P>) -> Result<Self, Error> {
        let proxies = proxies.into_iter().map(|proxy| network(proxy.as_ref())).collect::<Result<_, _>>()?;
        Ok(ClientAddress { header: Some(header), proxies })
    }

    /// The client's address, in one form whatever the socket's family; `None` where a proxy does not tell it.
    pub(crate) fn of(&self, socket: Option<IpAddr>, headers: &HeaderMap) -> Option<IpAddr> {
        let mut client = socket?.to_canonical();
        let Some(header) = &self.header else { return Some(client) };
        if !self.trusts(client) {
            return Some(client);
        }
        let element = if *header == FORWARDED { forwarded_for } else { address };
        for line in headers.get_all(header).iter().rev() {
            for text in FromRight(Some(line.as_bytes())) {
                client = element(text)?;
                if !self.trusts(client) {
                    return Some(client);
                }
            }
        }
        // Proxies all the way: the request began at the outermost one.
        Some(client)
    }

    fn trusts(&self, address: IpAddr) -> bool {
        self.proxies.iter().any(|network| network.contains(&address))
    }
}

impl Default for ClientAddress {
    fn default() -> Self {
        Self::socket()
    }
}

/// In the form that addresses are compared in: that of IPv4 where all of it is mapped IPv4.
fn network(text: &str) -> Result<IpNet, Error> {
    let parsed: Result<IpNet, _> =
        text.parse().or_else(|cause| text.parse::<IpAddr>().map(IpNet::from).map_err(|_| cause));
    parsed.map(canonical).map_err(|cause| {
        Error::invalid(format!("`{text}` is no proxy's address or network, as 192.0.2.7 or 10.0.0.0/8 is"))
            .with_source(cause)
    })
}

fn canonical(network: IpNet) -> IpNet {
    match (network.network().to_canonical(), network.prefix_len().checked_sub(96)) {
        (address @ IpAddr::V4(_), Some(prefix)) if network.addr().is_ipv6() => {
            IpNet::new(address, prefix).unwrap_or(network)
        }
        _ => network,
    }
}

/// The elements of a list, the last first; those that are empty do not count (RFC 9110, section 5.6.1).
struct FromRight<'a>(Option<&'a [u8]>);

impl<'a> Iterator for FromRight<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        loop {
            let (rest, last) = part_at_last(self.0?, b',');
            self.0 = rest;
            if !last.is_empty() {
                return Some(last);
            }
        }
    }
}

/// What lies behind the last `separator` that is in no quotes, and what lies before it. Seen from the right: what
/// the last proxy wrote there is well-formed, and quotes that a client left open do not reach it.
fn part_at_last(text: &[u8], separator: u8) -> (Option<&[u8]>, &[u8]) {
    let mut quoted = false;
    for (at, &byte) in text.iter().enumerate().rev() {
        if byte == b'"' && !is_escaped(&text[..at]) {
            quoted = !quoted;
        } else if byte == separator && !quoted {
            return (Some(&text[..at]), text[at + 1..].trim_ascii());
        }
    }
    (None, text.trim_ascii())
}

fn is_escaped(before: &[u8]) -> bool {
    before.iter().rev().take_while(|&&byte| byte == b'\\').count() % 2 == 1
}

/// The `for` of one element of `Forwarded`; of several, which RFC 7239 forbids, none.
fn forwarded_for(element: &[u8]) -> Option<IpAddr> {
    let mut rest = Some(element);
    let mut node = None;
    while let Some(text) = rest {
        let (before, pair) = part_at_last(text, b';');
        if let Some(at) = pair.iter().position(|&byte| byte == b'=')
            && pair[..at].trim_ascii().eq_ignore_ascii_case(b"for")
            && node.replace(pair[at + 1..].trim_ascii()).is_some()
        {
            return None;
        }
        rest = before;
    }
    let node = node?;
    let node = match node {
        [b'"', quoted @ .., b'"'] => quoted,
        token => token,
    };
    address(node)
}

/// `192.0.2.7`, `192.0.2.7:80`, `2001:db8::7`, `[2001:db8::7]` or `[2001:db8::7]:80`. No name, no `unknown`.
fn address(text: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(text).ok()?;
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let address = bare.parse().or_else(|_| text.parse::<SocketAddr>().map(|socket| socket.ip())).ok()?;
    Some(address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn headers(name: &'static str, lines: &[&[u8]]) -> HeaderMap {
        lines.iter().map(|line| (HeaderName::from_static(name), HeaderValue::from_bytes(line).unwrap())).collect()
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn seen(client: &ClientAddress, socket: &str, name: &'static str, lines: &[&[u8]]) -> Option<String> {
        client.of(Some(ip(socket)), &headers(name, lines)).map(|address| address.to_string())
    }

    fn behind(lines: &[&str]) -> Option<String> {
        let client = ClientAddress::x_forwarded_for(["10.0.0.0/8", "2001:db8:ffff::/48"]).unwrap();
        let lines: Vec<&[u8]> = lines.iter().map(|line| line.as_bytes()).collect();
        seen(&client, "10.0.0.1", "x-forwarded-for", &lines)
    }

    fn forwarded(line: &str) -> Option<String> {
        let client = ClientAddress::forwarded(["10.0.0.0/8"]).unwrap();
        seen(&client, "10.0.0.1", "forwarded", &[line.as_bytes()])
    }

    #[test]
    fn a_header_is_not_looked_at_unless_a_trusted_proxy_brings_it() {
        let forged: &[&[u8]] = &[b"198.51.100.9"];
        let client = ClientAddress::x_forwarded_for(["10.0.0.0/8"]).unwrap();
        assert_eq!(seen(&client, "203.0.113.5", "x-forwarded-for", forged).as_deref(), Some("203.0.113.5"));
        assert_eq!(seen(&ClientAddress::socket(), "10.0.0.1", "x-forwarded-for", forged).as_deref(), Some("10.0.0.1"));
        // A proxy that writes one header is not believed in the other, which it passes on as it came.
        assert_eq!(seen(&client, "10.0.0.1", "forwarded", &[b"for=198.51.100.9"]).as_deref(), Some("10.0.0.1"));
        assert_eq!(client.of(None, &headers("x-forwarded-for", forged)), None, "no socket, nobody to trust");
    }

    #[test]
    fn addresses_are_counted_from_the_right() {
        assert_eq!(behind(&["203.0.113.5"]).as_deref(), Some("203.0.113.5"));
        assert_eq!(behind(&["6.6.6.6, 203.0.113.5"]).as_deref(), Some("203.0.113.5"));
        assert_eq!(behind(&["6.6.6.6, 203.0.113.5, 10.0.0.2 ,10.0.0.3"]).as_deref(), Some("203.0.113.5"));
        assert_eq!(behind(&["6.6.6.6", "203.0.113.5", "10.0.0.2"]).as_deref(), Some("203.0.113.5"), "several lines");
        assert_eq!(behind(&["10.0.0.7, 10.0.0.2"]).as_deref(), Some("10.0.0.7"), "proxies all the way");
        assert_eq!(behind(&[]).as_deref(), Some("10.0.0.1"), "a proxy's own request");
        for lines in
            [&["203.0.113.5,"][..], &[",203.0.113.5, ,,\t, 10.0.0.2,"], &["203.0.113.5", ""], &["203.0.113.5", ","]]
        {
            assert_eq!(behind(lines).as_deref(), Some("203.0.113.5"), "empty elements do not count: {lines:?}");
        }
        assert_eq!(behind(&[""]).as_deref(), Some("10.0.0.1"), "an empty list");
    }

    #[test]
    fn forged_lists_change_nothing_however_long() {
        let mut forged = vec!["10.0.0.9"; 10_000].join(",");
        forged.push_str(", 203.0.113.5");
        assert_eq!(behind(&[&forged]).as_deref(), Some("203.0.113.5"));
        let open_quote = "\"6.6.6.6, 203.0.113.5";
        assert_eq!(behind(&[open_quote]).as_deref(), Some("203.0.113.5"));
        let lines = vec!["6.6.6.6"; 10_000];
        assert_eq!(behind(&[&lines[..], &["203.0.113.5"]].concat()).as_deref(), Some("203.0.113.5"));
    }

    #[test]
    fn what_a_proxy_does_not_tell_is_unknown_rather_than_the_proxy() {
        for line in
            ["unknown", "_hidden", "203.0.113.5, unknown", "203.0.113.5, unknown,", "1.2.3", "fe80::1%eth0", "a b"]
        {
            assert_eq!(behind(&[line]), None, "{line}");
        }
        let client = ClientAddress::x_forwarded_for(["10.0.0.0/8"]).unwrap();
        assert_eq!(seen(&client, "10.0.0.1", "x-forwarded-for", &[b"203.0.113.5, \xff\xfe"]), None);
        assert_eq!(
            seen(&client, "10.0.0.1", "x-forwarded-for", &[b"\xff\xfe, 203.0.113.5"]).as_deref(),
            Some("203.0.113.5"),
            "a client's own bytes hide nobody"
        );
    }

    #[test]
    fn every_form_of_an_address_is_read_as_one() {
        for (text, address) in [
            ("203.0.113.5:4711", "203.0.113.5"),
            ("2001:db8::5", "2001:db8::5"),
            ("[2001:db8::5]", "2001:db8::5"),
            ("[2001:db8::5]:4711", "2001:db8::5"),
            ("2001:DB8:0:0::5", "2001:db8::5"),
            ("::ffff:203.0.113.5", "203.0.113.5"),
            ("[::ffff:203.0.113.5]:80", "203.0.113.5"),
            ("203.0.113.5, 2001:db8:ffff::1", "203.0.113.5"),
        ] {
            assert_eq!(behind(&[text]).as_deref(), Some(address), "{text}");
        }
        // A dual-stack socket tells IPv4 peers as IPv6.
        let client = ClientAddress::x_forwarded_for(["10.0.0.0/8"]).unwrap();
        let mapped = seen(&client, "::ffff:10.0.0.1", "x-forwarded-for", &[b"203.0.113.5"]);
        assert_eq!(mapped.as_deref(), Some("203.0.113.5"));
    }

    #[test]
    fn forwarded_is_read_as_rfc_7239_writes_it() {
        for (line, address) in [
            ("for=203.0.113.5", Some("203.0.113.5")),
            ("For=\"[2001:db8::5]:4711\"", Some("2001:db8::5")),
            ("for=6.6.6.6, for=203.0.113.5;proto=http;by=10.0.0.1", Some("203.0.113.5")),
            ("proto=https ; FOR = 203.0.113.5", Some("203.0.113.5")),
            ("for=203.0.113.5;host=\"a,for=6.6.6.6,b\"", Some("203.0.113.5")),
            ("for=203.0.113.5;host=\"a\\\",for=6.6.6.6\"", Some("203.0.113.5")),
            // A host that the client chose.
            ("for=203.0.113.5;host=\"a;for=6.6.6.6;b\"", Some("203.0.113.5")),
            ("host=\"a;for=6.6.6.6;b\";for=203.0.113.5", Some("203.0.113.5")),
            ("for=\"6.6.6.6, for=203.0.113.5", Some("203.0.113.5")),
            ("for=203.0.113.5, for=10.0.0.2", Some("203.0.113.5")),
            ("for=203.0.113.5, proto=http", None),
            ("for=203.0.113.5;for=6.6.6.6", None),
            ("for=6.6.6.6;host=a;For=203.0.113.5", None),
            ("for=6.6.6.6;for=6.6.6.6, for=203.0.113.5,", Some("203.0.113.5")),
            ("for=203.0.113.5, for=unknown", None),
            ("for=_gazonk", None),
            ("for=\"", None),
            ("for=", None),
        ] {
            assert_eq!(forwarded(line).as_deref(), address, "{line}");
        }
    }

    #[test]
    fn proxies_may_be_named_as_mapped_addresses() {
        for proxy in
            ["::ffff:10.0.0.1", "::ffff:10.0.0.0/104", "::ffff:a00:0/104", "::ffff:10.9.9.9/104", "::ffff:0:0/96"]
        {
            let client = ClientAddress::x_forwarded_for([proxy]).unwrap();
            for socket in ["10.0.0.1", "::ffff:10.0.0.1"] {
                let seen = seen(&client, socket, "x-forwarded-for", &[b"203.0.113.5"]);
                // Of the whole of IPv4 there is no client that is no proxy; it is the outermost then.
                assert_eq!(seen.as_deref(), Some("203.0.113.5"), "{proxy}");
            }
        }
        let one = ClientAddress::x_forwarded_for(["::ffff:10.0.0.1"]).unwrap();
        let other = seen(&one, "10.0.0.2", "x-forwarded-for", &[b"203.0.113.5"]);
        assert_eq!(other.as_deref(), Some("10.0.0.2"), "nobody else is trusted");
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for text in ["10.0.0.0/33", "proxy.internal", "", "10.0.0", "::/129"] {
            assert!(ClientAddress::x_forwarded_for([text]).unwrap_err().is_invalid(), "{text}");
        }
    }
}
