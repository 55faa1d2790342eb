//! Who is charged: keys, groups, plans, and what is said of a request that lacks one.

use std::borrow::Cow;
use std::net::IpAddr;

use proptest::prelude::*;
use rebate_core::MAX_KEY_BYTES;
use rebate_rules::{Chosen, Exemption, Items, KeyBuffer, Rule, Rules, RulesBuilder, Subject, Uncharged};

#[derive(Clone, Default)]
struct Request {
    user: Option<Vec<u8>>,
    address: Option<IpAddr>,
    headers: Vec<(&'static str, Vec<u8>)>,
    tenant: Option<Vec<u8>>,
}

impl Subject for Request {
    fn user(&self) -> Option<Cow<'_, [u8]>> {
        self.user.as_deref().map(Into::into)
    }

    fn address(&self) -> Option<IpAddr> {
        self.address
    }

    fn header(&self, name: &str) -> Option<Cow<'_, [u8]>> {
        self.headers.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_slice().into())
    }

    fn function(&self, name: &str) -> Option<Cow<'_, [u8]>> {
        self.tenant.as_deref().filter(|_| name == "tenant").map(Into::into)
    }
}

impl Request {
    fn user(name: &str) -> Self {
        Request { user: Some(name.into()), ..Request::default() }
    }

    fn at(address: &str) -> Self {
        Request { address: Some(address.parse().expect("an address")), ..Request::default() }
    }

    fn with(mut self, header: &'static str, value: &str) -> Self {
        self.headers.push((header, value.into()));
        self
    }
}

fn one(rule: Rule) -> Rules {
    Rules::builder().rule(rule.limit("10/day")).build().expect("sound rules")
}

/// What is charged at `/a`, as `limit key group cost`; or why nothing is.
fn asked(rules: &Rules, path: &str, request: &Request) -> Result<Vec<String>, String> {
    let Chosen::Charged(charge) = rules.choose("GET", path) else { panic!("{path} is charged") };
    let mut keys = KeyBuffer::new();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let told = |items: Items<'_>| {
        let items = items.iter().map(|item| {
            let group = item.key.group().map(|group| format!(" in {}", text(group))).unwrap_or_default();
            format!("{} {}{group} x{}", item.limit, text(item.key.bytes()), item.cost)
        });
        items.collect()
    };
    charge.items(request, &mut keys).map(told).map_err(|why| match why {
        Uncharged::Denied(missing) => format!("{} {}", missing.status(), missing.source()),
        Uncharged::Exempt(exemption) => format!("{exemption:?}"),
        other => format!("{other:?}"),
    })
}

#[test]
fn keys_are_told_apart_by_their_source() {
    let cases = [
        ("user", Request::user("42"), "user:42"),
        ("ip", Request::at("203.0.113.9"), "ip:203.0.113.9"),
        ("ip", Request::at("255.100.10.0"), "ip:255.100.10.0"),
        ("ip", Request::at("2001:db8:1:2:3:4:5:6"), "ip:2001:db8:1:2::/64"),
        ("ip", Request::at("::ffff:203.0.113.9"), "ip:203.0.113.9"),
        ("header:X-Tenant", Request::default().with("x-tenant", "acme"), "header:x-tenant:acme"),
        ("fixed:all", Request::default(), "fixed:all"),
        ("function:tenant", Request { tenant: Some(b"7".to_vec()), ..Request::default() }, "tenant:7"),
    ];
    for (source, request, key) in cases {
        let rules = one(Rule::path("/a").key(source));
        assert_eq!(asked(&rules, "/a", &request), Ok(vec![format!("/a: 10/day {key} x1")]));
    }
    let rules = Rules::builder().ipv6_prefix(128).rule(Rule::path("/a").key("ip").limit("1/day"));
    let told = asked(&rules.build().expect("sound rules"), "/a", &Request::at("2001:db8::1"));
    assert_eq!(told, Ok(vec!["/a: 1/day ip:2001:db8::1 x1".to_owned()]));
    let rules = Rules::builder().ipv6_prefix(1).rule(Rule::path("/a").key("ip").limit("1/day"));
    let told = asked(&rules.build().expect("sound rules"), "/a", &Request::at("ffff::1"));
    assert_eq!(told, Ok(vec!["/a: 1/day ip:8000::/1 x1".to_owned()]));
}

#[test]
fn a_missing_key_gets_the_rules_answer_and_never_a_shared_count() {
    let nobody = Request::default();
    let empty = Request::user("").with("x-tenant", "");
    for request in [&nobody, &empty] {
        assert_eq!(asked(&one(Rule::path("/a")), "/a", request), Err("401 user".to_owned()));
        assert_eq!(asked(&one(Rule::path("/a").key("ip")), "/a", request), Err("400 ip".to_owned()));
        let header = Rule::path("/a").key("header:x-tenant");
        assert_eq!(asked(&one(header.clone()), "/a", request), Err("400 header:x-tenant".to_owned()));
        assert_eq!(asked(&one(header.on_missing_key("skip")), "/a", request), Err("NoKey".to_owned()));
        // The other source is missing too.
        assert_eq!(asked(&one(Rule::path("/a").on_missing_key("ip")), "/a", request), Err("401 user".to_owned()));
        let grouped = Rule::path("/a").key("fixed:all").group("header:x-tenant");
        assert_eq!(asked(&one(grouped.clone()), "/a", request), Err("400 header:x-tenant".to_owned()));
        assert_eq!(
            asked(&one(grouped.clone().on_missing_key("ip")), "/a", request),
            Err("400 header:x-tenant".to_owned())
        );
        assert_eq!(asked(&one(grouped.on_missing_key("skip")), "/a", request), Err("NoKey".to_owned()));
    }
    let rules = one(Rule::path("/a").on_missing_key("ip"));
    assert_eq!(asked(&rules, "/a", &Request::at("192.0.2.1")), Ok(vec!["/a: 10/day ip:192.0.2.1 x1".to_owned()]));
}

#[test]
fn a_key_that_is_too_long_is_denied_whatever_the_rule_says_of_missing_ones() {
    let request = Request::user(&"x".repeat(MAX_KEY_BYTES));
    for answer in ["deny", "skip", "fixed:all"] {
        let rules = one(Rule::path("/a").on_missing_key(answer));
        let Chosen::Charged(charge) = rules.choose("GET", "/a") else { panic!("charged") };
        let mut keys = KeyBuffer::new();
        match charge.items(&request, &mut keys) {
            Err(Uncharged::Denied(missing)) => assert!(missing.is_too_long() && missing.status() == 400),
            other => panic!("{answer}: {other:?}"),
        };
    }
    let request = Request::user(&"x".repeat(MAX_KEY_BYTES - "user:".len()));
    assert!(asked(&one(Rule::path("/a")), "/a", &request).is_ok());
}

#[test]
fn groups_have_keys_of_their_own() {
    let rules = one(Rule::path("/a").group("header:x-org"));
    let request = Request::user("42").with("x-org", "acme");
    assert_eq!(asked(&rules, "/a", &request), Ok(vec!["/a: 10/day user:42 in header:x-org:acme x1".to_owned()]));
}

#[test]
fn exempt_keys_and_networks_are_never_limited() {
    let rules = Rules::builder()
        .exempt_key("user:admin")
        .exempt_network("10.0.0.0/8")
        .exempt_network("2001:db8::/32")
        .exempt_network("::ffff:198.51.100.0/120")
        .rule(Rule::path("/a").limit("1/day"))
        .build()
        .expect("sound rules");
    let exempt = |request: &Request| asked(&rules, "/a", request);
    assert_eq!(exempt(&Request::user("admin")), Err(format!("{:?}", Exemption::Key)));
    for inside in ["10.1.2.3", "2001:db8::1", "::ffff:10.1.2.3", "198.51.100.7", "::ffff:198.51.100.7"] {
        assert_eq!(exempt(&Request::at(inside)), Err(format!("{:?}", Exemption::Network)), "{inside}");
    }
    for (user, outside) in
        [("admi", "11.0.0.1"), ("admin ", "::10.1.2.3"), ("Admin", "2001:db9::1"), ("admin\0", "::a00:1")]
    {
        let request = Request { user: Some(user.into()), ..Request::at(outside) };
        assert!(exempt(&request).is_ok(), "{user} at {outside}");
    }
}

fn plans() -> RulesBuilder {
    Rules::builder()
        .shared_limit("daily", "50/day")
        .plans_by("header:x-plan", "free")
        .plan("free", "burst", "5/second")
        .plan("pro", "daily", "1000/day")
        .plan("pro", "burst", "unlimited")
        .plan("staff", "daily", "unlimited")
        .plan("staff", "burst", "unlimited")
        .rule(Rule::path("/a").charge("daily").charge_cost("burst", 2))
}

#[test]
fn a_plan_chooses_the_limits() {
    let rules = plans().build().expect("sound rules");
    let under = |plan: &str| asked(&rules, "/a", &Request::user("42").with("x-plan", plan));
    let free = Ok(vec!["daily: 50/day user:42 x1".to_owned(), "burst: 5/second user:42 x2".to_owned()]);
    assert_eq!(under("free"), free);
    assert_eq!(under("pro"), Ok(vec!["daily: 1000/day user:42 x1".to_owned()]));
    assert_eq!(under("staff"), Err("Unlimited".to_owned()));
    // What is no plan is none better than the default.
    for unknown in ["", "PRO", "gold", "pro, free", "staff\0"] {
        assert_eq!(under(unknown), free, "{unknown}");
    }
    assert_eq!(asked(&rules, "/a", &Request::user("42")), free);
}

#[test]
fn several_rules_of_one_path_charge_each_limit_once() {
    let rules = Rules::builder()
        .shared_limit("daily", "50/day")
        .rule(Rule::path("/a").name("a").limit("10/day").charge_cost("daily", 3))
        .rule(Rule::path("/b").name("b").limit("5/day").charge("daily").cost(2).refund(["409"]))
        .rule(Rule::path("/both").limits_of(["a", "b"]))
        .build()
        .expect("sound rules");
    let all = ["a: 10/day user:42 x1", "daily: 50/day user:42 x3", "b: 5/day user:42 x2"].map(str::to_owned).to_vec();
    assert_eq!(asked(&rules, "/both", &Request::user("42")), Ok(all.clone()));
    // A path that some read as one, some as the other; what only one of them gives back is kept.
    let mut told = asked(&rules, "/a/%2e%2e/b/%2e%2e/a/..;/b", &Request::user("42")).expect("charged");
    told.sort();
    assert!(told.contains(&"daily: 50/day user:42 x2".to_owned()), "{told:?}");
    let Chosen::Charged(charge) = rules.choose("GET", "/b%3f/../a") else { panic!("charged") };
    assert_eq!(charge.rules().count(), 2);
    assert!(!charge.refunds(409));
    let Chosen::Charged(charge) = rules.choose("GET", "/b/") else { panic!("charged") };
    assert!(charge.refunds(409));
}

proptest! {
    /// No two requests that differ in what a rule asks for are charged to one key, whatever their bytes.
    #[test]
    fn keys_of_different_requests_do_not_meet(one in keyed(), other in keyed()) {
        prop_assume!(one != other);
        prop_assert_ne!(key_of(&one), key_of(&other));
    }
}

fn keyed() -> impl Strategy<Value = (&'static str, Vec<u8>)> {
    let sources = ["user", "header:a", "header:b", "header:user", "function:tenant"];
    let bytes = prop::collection::vec(prop::sample::select(b":ab\0/userha{}\n".to_vec()), 1..8);
    (prop::sample::select(sources.to_vec()), bytes)
}

fn key_of((source, value): &(&'static str, Vec<u8>)) -> Vec<u8> {
    let request = Request {
        user: Some(value.clone()),
        tenant: Some(value.clone()),
        headers: vec![("a", value.clone()), ("b", value.clone()), ("user", value.clone())],
        address: None,
    };
    let rules = self::one(Rule::path("/a").key(*source));
    let Chosen::Charged(charge) = rules.choose("GET", "/a") else { panic!("charged") };
    let mut keys = KeyBuffer::new();
    let items = charge.items(&request, &mut keys).expect("a key");
    items[0].key.bytes().to_vec()
}
