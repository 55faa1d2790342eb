//! What is wrong with a rule file is told whole, with its places and what would be right.

use proptest::prelude::*;
use rebate_rules::{Chosen, OnMissingKey, OnTrouble, Rule, Rules};

/// Each problem as `line:column text`.
fn problems(text: &str) -> Vec<String> {
    match Rules::parse(text) {
        Ok(rules) => panic!("it is taken: {rules:?}"),
        Err(problems) => problems.iter().map(told).collect(),
    }
}

fn warnings(text: &str) -> Vec<String> {
    Rules::parse(text).unwrap_or_else(|problems| panic!("{problems}")).warnings().iter().map(told).collect()
}

fn told(problem: &rebate_rules::Problem) -> String {
    format!("{}:{} {}", problem.line().unwrap_or(0), problem.column().unwrap_or(0), problem.text())
}

const WHOLE: &str = r#"
base = "/api"

[client]
ipv6_prefix = 56

[defaults]
key = "user"
refund = [409, "5xx"]
refund_grpc = ["ABORTED"]
on_unavailable = "allow"
on_full = "deny"
on_missing_key = "ip"

[limits]
daily = "50/day"
burst = { policy = "10/second burst 20", code = "TOO_FAST" }

[plans]
by = "header:X-Plan"
default = "free"
[plans.free]
daily = "50/day"
[plans.pro]
daily = "1000/day"
[plans.staff]
daily = "unlimited"

[exempt]
paths = ["/health"]
prefixes = ["/auth"]
methods = ["OPTIONS"]
keys = ["user:admin", "tenant:7", "ip:2001:db8::/56"]
networks = ["10.0.0.0/8", "::1"]

[[rule]]
path = "/concepts/generate"
limit = "10/month"

[[rule]]
path = "/concepts/generate-with-palettes"
limits_of = ["/concepts/generate", "storage"]

[[rule]]
name = "storage"
prefix = "/storage"
methods = ["GET", "POST"]
limits = ["daily", { limit = "burst", cost = 2 }]
cost = 3
on_unavailable = "deny"
refund = []

[[rule]]
path = "/export/{id}"
limit = "50/hour"
code = "EXPORT_QUOTA_EXCEEDED"
key = "function:tenant"
group = "header:X-Org"
on_missing_key = "skip"
"#;

#[test]
fn everything_that_can_be_said_is_taken() {
    let rules = Rules::parse(WHOLE).unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(rules.warnings(), []);
    assert_eq!(rules.functions().collect::<Vec<_>>(), ["tenant"]);
    assert_eq!(rules.plans().collect::<Vec<_>>(), ["free", "pro", "staff"]);
    let limits: Vec<_> = rules
        .limits()
        .iter()
        .map(|limit| (limit.index(), limit.limit().name(), limit.policy(), limit.code(), limit.plans().count()))
        .collect();
    assert_eq!(
        limits,
        [
            (0, "daily", "50/day", "DAILY_EXCEEDED", 1),
            (1, "daily", "1000/day", "DAILY_EXCEEDED", 1),
            (2, "burst", "10/second burst 20", "TOO_FAST", 3),
            (3, "/concepts/generate", "10/month", "CONCEPTS_GENERATE_EXCEEDED", 0),
            (4, "/export/{id}", "50/hour", "EXPORT_QUOTA_EXCEEDED", 0),
        ]
    );
    let [generate, _, storage, export] = rules.rules() else { panic!("four rules") };
    assert_eq!(generate.path(), "/api/concepts/generate");
    assert_eq!(generate.refunds().to_string(), "409, 5xx, ABORTED");
    assert_eq!((generate.on_unavailable(), generate.on_full()), (OnTrouble::Allow, OnTrouble::Deny));
    assert!(matches!(generate.on_missing_key(), OnMissingKey::Take(source) if source.to_string() == "ip"));
    assert_eq!(storage.on_unavailable(), OnTrouble::Deny);
    assert_eq!(storage.refunds().to_string(), "ABORTED");
    assert!(storage.is_prefix() && storage.methods().eq(["GET", "POST"]));
    assert_eq!(
        (export.key().to_string(), export.group().map(ToString::to_string)),
        ("function:tenant".to_owned(), Some("header:x-org".to_owned()))
    );
    assert_eq!(export.on_missing_key(), &OnMissingKey::Skip);
    let Chosen::Charged(charge) = rules.choose("GET", "/api/storage/x") else { panic!("charged") };
    assert!(!charge.refunds(409) && charge.refunds_grpc(10) && !charge.refunds_grpc(0) && !charge.refunds_grpc(99));
}

#[test]
fn switched_off_nothing_is_limited_and_everything_is_checked() {
    let rules = Rules::parse("enabled = false\n[[rule]]\nprefix = \"/\"\nlimit = \"1/day\"").expect("sound rules");
    assert!(matches!(rules.choose("GET", "/"), Chosen::Off));
    assert_eq!(problems("enabled = false\n[[rule]]\nprefix = \"/\"\nlimit = \"0/day\"").len(), 1);
}

#[test]
fn every_error_is_told_at_once_with_its_place() {
    let told = problems(
        r#"bse = "/api"
[limits]
daily = "50/dya"
daily = "9/day"
[defaults]
on_unavailable = "maybe"
[[rule]]
path = "storage"
limits = ["dayly", 7]
[[rule]]
path = "/a/"
limit = "0/day"
[[rule]]
path = "/b"
cost = 0
"#,
    );
    let expected = [
        "1:1 unknown key `bse`; did you mean `base`?",
        "3:13 ",
        "4:1 duplicate key",
        "6:19 `maybe` is no answer; take `allow` or `deny`",
        "8:9 a path begins with `/`: write `/storage`",
        "9:12 there is no limit `dayly`; did you mean `daily`?",
        "9:20 this is a number; it should be a limit's name, or a table with `limit` and `cost`",
        "11:9 never matches: paths are compared without the slash at their end; write `/a`",
        "12:10 a quota of 0 admits nothing; give at least 1",
        "13:1 this rule charges nothing; say `limit`, `limits` or `limits_of`, or put its path in `[exempt]`",
        "15:8 a cost of 0 charges nothing; give at least 1, or put the path in `[exempt]`",
    ];
    assert_eq!(told.len(), expected.len(), "{told:#?}");
    for (told, expected) in told.iter().zip(expected) {
        assert!(told.starts_with(expected), "{told} is not {expected}");
    }
}

#[test]
fn a_problem_is_shown_with_its_line() {
    let text = "# ümlaut\n[[rule]]\npath = \"/a\"\nlimit = \"10/fortnight\"\n";
    let shown = Rules::parse(text).unwrap_err().to_string();
    let [first, line, mark] = shown.lines().collect::<Vec<_>>()[..] else { panic!("three lines: {shown}") };
    assert!(first.starts_with("error: line 4, column 13: "), "{first}");
    assert_eq!(line, " 4 | limit = \"10/fortnight\"");
    assert_eq!(mark.find('^'), line.find("fortnight"), "{shown}");
    assert!(Rules::parse("a = [").unwrap_err().is_syntax());
    assert!(!Rules::parse("a = 1").unwrap_err().is_syntax());
}

#[test]
fn a_rule_in_rust_charges_something_too() {
    let rule = Rule::path("/a").limits_of(Vec::<String>::new());
    let problems = Rules::builder().rule(rule).build().expect_err("it would limit nothing");
    assert!(problems.to_string().contains("this rule charges nothing"), "{problems}");
}

/// Each text is one rule file, wrong in one way, and a part of what is said of it.
#[test]
fn each_thing_that_can_be_wrong_is_told() {
    let rule = "[[rule]]\npath = '/a'\nlimit = '1/day'\n";
    let cases: &[(&str, &str)] = &[
        ("[[rule]]\npath = '/a'\nprefix = '/b'\nlimit = '1/day'", "not both"),
        ("[[rule]]\nlimit = '1/day'", "for no path"),
        ("[rule]\npath = '/a'", "in double brackets"),
        ("rule = [1]", "write `[[rule]]` above each"),
        ("[[rule]]\npath = '/a//b'\nlimit = '1/day'", "doubled slashes"),
        ("[[rule]]\npath = '/a/../b'\nlimit = '1/day'", "is resolved before"),
        ("[[rule]]\npath = '/a%2Fb'\nlimit = '1/day'", "encoded slash"),
        (
            "[[rule]]\npath = '/a%2e%2e'\nlimit = '1/day'\n[[rule]]\npath = '/%2e%2e'\nlimit = '1/day'",
            "is resolved before",
        ),
        ("[[rule]]\npath = '/%ff'\nlimit = '1/day'", "not UTF-8"),
        ("[[rule]]\npath = '/a?b=c'\nlimit = '1/day'", "a path ends where `?` begins"),
        ("[[rule]]\npath = '/{*rest}'\nlimit = '1/day'", "say `prefix`"),
        ("[[rule]]\npath = '/{}'\nlimit = '1/day'", "has a name"),
        ("[[rule]]\npath = '/a{id}'\nlimit = '1/day'", "is a whole one"),
        ("[[rule]]\npath = '/{id'\nlimit = '1/day'", "is a whole one"),
        ("base = '/api/'", "write `/api`"),
        ("base = 'api'", "write `/api`"),
        ("base = '/{tenant}'", "no dynamic segments"),
        ("[client]\nipv6_prefix = 0", "give 1 to 128"),
        ("[client]\nipv6_prefix = 129", "give 1 to 128"),
        ("[client]\nipv6_prefix = -1", "negative"),
        ("[client]\nprefix = 1", "[client] has ipv6_prefix"),
        ("[defaults]\nlimit = '1/day'", "unknown key `limit`"),
        ("[[rule]]\npath = '/a'\nlimit = '1/day'\nmethods = []", "for none"),
        ("[[rule]]\npath = '/a'\nlimit = '1/day'\nmethods = ['GET POST']", "no method's name"),
        ("[[rule]]\npath = '/a'\nlimit = '1/day'\nkey = 'usr'", "no source of a key"),
        ("[[rule]]\npath = '/a'\nlimit = '1/day'\nkey = 'header:'", "no header's name"),
        ("[[rule]]\npath = '/a'\nlimit = '1/day'\nkey = 'header:a b'", "no header's name"),
        ("[[rule]]\npath = '/a'\nlimit = '1/day'\nkey = 'function:user'", "cannot be called `user`"),
        ("[[rule]]\npath = '/a'\nlimit = '1/day'\nkey = 'function:A'", "no function's name"),
        ("[[rule]]\npath = '/a'\nlimit = '1/day'\ngroup = 'fixed:'", "1 to 255 bytes"),
        ("[[rule]]\npath = '/a'\nlimit = '1/day'\non_missing_key = 'no'", "`deny`, `skip`, or a source"),
        ("[[rule]]\npath = '/a'\nlimit = '1/day'\non_full = 'no'", "`allow` or `deny`"),
        ("[[rule]]\npath = '/a'\nlimit = '1/day'\nrefund = [99]", "from 100 to 599"),
        ("[[rule]]\npath = '/a'\nlimit = '1/day'\nrefund = ['6xx']", "from 100 to 599"),
        ("[[rule]]\npath = '/a'\nlimit = '1/day'\nrefund = 409", "a list of statuses"),
        ("[[rule]]\npath = '/a'\nlimit = '1/day'\nrefund_grpc = ['ABORT']", "no gRPC status"),
        ("[[rule]]\npath = '/a'\nlimit = '1/day'\nrefund_grpc = [17]", "no gRPC status"),
        ("[[rule]]\npath = '/a'\nlimit = '1/day'\ncode = 'a b'", "letters, digits"),
        ("[limits]\nd = '1/day'\n[[rule]]\npath = '/a'\nlimits = ['d']\ncode = 'A'", "of no limit of the rule's own"),
        ("[[rule]]\npath = '/a'\nlimits = []", "1:1 this rule charges nothing; say `limit`"),
        ("[[rule]]\npath = '/a'\nlimits_of = []", "1:1 this rule charges nothing; say `limit`"),
        ("[[rule]]\npath = '/a'\nlimits = ['10/day']", "is a policy, not a limit's name"),
        ("[limits]\nd = '1/day'\n[[rule]]\npath = '/a'\nlimits = ['d', 'd']", "charges `d` twice"),
        ("[limits]\nd = '1/day'\n[[rule]]\npath = '/a'\nlimits = [{ cost = 2 }]", "which limit?"),
        ("[limits]\nd = { code = 'A' }\n", "has no `policy`"),
        ("[limits]\nd = 5\n", "a policy such as"),
        ("[limits]\nd = 'unlimited'\n", "is for plans"),
        ("[limits]\nd = '99999999999999999999/day'\n", "number"),
        ("[limits]\n'a\"b' = '1/day'\n", "cannot hold"),
        ("[limits]\n'/a' = '1/day'\n[[rule]]\npath = '/a'\nlimit = '1/day'", "another `name`"),
        ("[[rule]]\npath = '/ü'\nlimit = '1/day'", "cannot hold"),
        ("[[rule]]\npath = '/a'\nlimits_of = ['/b']", "there is no rule `/b`"),
        ("[[rule]]\npath = '/a'\nlimits_of = ['/a']", "a cycle of `limits_of`: `/a` → `/a`"),
        ("[plans]\n", "there is no plan"),
        ("[plans]\nby = 'user'\ndefault = 'a'\n[plans.a]\n", "tells no plan"),
        ("[plans]\nby = 'header:p'\ndefault = 'b'\n[plans.a]\n", "there is no plan `b`; did you mean `a`?"),
        ("[plans]\nby = 'header:p'\n[plans.a]\n", "Say `default = \"a\"`"),
        ("[plans]\ndefault = 'a'\n[plans.a]\n", "what chooses a request's plan?"),
        ("[plans]\nby = 'header:p'\ndefault = 'a'\na = 1\n", "a plan is a table"),
        (
            "[plans]\nby = 'header:p'\ndefault = 'a'\n[plans.a]\nd = '1/day'\n[plans.b]\n[[rule]]\npath = '/a'\nlimits = ['d']",
            "the plan `b` says nothing of `d`",
        ),
        (
            "[plans]\nby = 'header:p'\ndefault = 'a'\n[plans.a]\nd = '1/day'\n[plans.b]\nd = '9/hour'",
            "7:6 `d` is 1/day elsewhere and 9/hour here",
        ),
        (
            "[limits]\nd = '1/day'\n[plans]\nby = 'header:p'\ndefault = 'a'\n[plans.a]\nd = '1/day burst 2'",
            "or charge a limit of another name",
        ),
        ("[exempt]\nkeys = ['admin']\n", "keys read `user:42`"),
        ("[[rule]]\npath = '/a'\nlimit = '1/day'\ncost = 99999999999999999999", "4:8 this number is too large"),
        ("[[rule]]\npath = '/ü'\nlimit = '1/day'", "give the rule a `name`"),
        ("[plans.default]\nd = '1/day'", "1:8 no plan can be called `default`"),
        ("[plans]\ndefault = 'a'\n[plans.by]\nd = '1/day'", "no plan can be called `by`"),
        ("[limits]\nd = '1/day'\n[[rule]]\nname = ''\npath = '/a'\nlimits = ['d']", "4:9 a name is not empty"),
        ("\"\\u001b[31m\\u202e\" = 1", "unknown key `\\u{1b}[31m\\u{202e}`"),
        (
            "[[rule]]\npath = '/a'\nlimit = '10/month'\ncost = 11",
            "4:8 rule `/a` charges 11 of `/a`, whose quota is 10 (10/month): that is never admitted",
        ),
        (
            "[limits]\nd = '1/day'\ne = '5/day'\n[[rule]]\npath = '/a'\nlimits = ['e', { limit = 'd', cost = 2 }]\ncost = 3",
            "6:38 rule `/a` charges 2 of `d`, whose quota is 1 (1/day)",
        ),
        ("[[rule]]\npath = '/a'\nlimit = '10/day burst 4'\ncost = 5", "whose quota is 4"),
        (
            "[plans]\nby = 'header:p'\ndefault = 'a'\n[plans.a]\nd = '1/day'\n[plans.b]\nd = '9/day'\n[plans.c]\nd = '1/day'\n             [[rule]]\npath = '/a'\nlimits = ['d']\ncost = 9",
            "rule `/a` charges 9 of `d`, whose quota under the plan `a`, `c` is 1 (1/day)",
        ),
        ("[exempt]\nkeys = ['ip:2001:db8::1']\n", "an address's key is `ip:2001:db8::/64`"),
        ("[exempt]\nkeys = ['ip:::ffff:10.0.0.1']\n", "an address's key is `ip:10.0.0.1`"),
        ("[exempt]\nkeys = ['header:X-A:b']\n", "`header:x-a:b`"),
        ("[exempt]\nkeys = ['tenant:7']\n", "keys read"),
        ("[exempt]\nnetworks = ['10.0.0.0/33']\n", "no network"),
        ("[exempt]\nnetworks = ['10.0.0.1/8']\n", "write `10.0.0.0/8`"),
        ("[exempt]\npaths = ['health']\n", "write `/health`"),
        ("[exempt]\nmethod = ['GET']\n", "did you mean `methods`?"),
        ("enabled = 'no'", "true or false"),
        ("[exempt]\npaths = ['/a']", "rule `/a` is for `/a` too"),
        ("[[rule]]\nname = 'b'\npath = '/a'\nlimit = '1/day'", "is for `/a` too"),
        (
            "[[rule]]\nname = 'b'\nmethods = ['GET']\npath = '/{x}'\nlimit = '1/day'\n[[rule]]\nname = 'c'\nmethods = ['GET', 'PUT']\npath = '/{y}'\nlimit = '1/day'",
            "rule `b` is for `/{y}` too",
        ),
        ("[[rule]]\npath = '/a'\nmethods = ['GET']\nlimit = '1/day'", "a second rule called `/a`"),
    ];
    for (text, part) in cases {
        // Those that are wrong only beside a rule for `/a`.
        let beside = ["rule `/a` is for `/a` too", "is for `/a` too", "a second rule called `/a`"].contains(part);
        let text = if beside { format!("{text}\n{rule}") } else { (*text).to_owned() };
        let told = problems(&text);
        assert!(told.iter().any(|told| told.contains(part)), "{text}\n{told:#?}");
        assert!(told.iter().all(|told| !told.starts_with("0:")), "{text}\n{told:#?}");
    }
}

#[test]
fn cycles_are_told_each_and_chains_are_followed() {
    let rule = |name: &str, of: &str| format!("[[rule]]\npath = '{name}'\nlimits_of = ['{of}']\n");
    let told =
        problems(&[rule("/a", "/b"), rule("/b", "/c"), rule("/c", "/a"), rule("/d", "/d"), rule("/e", "/a")].concat());
    assert_eq!(told.len(), 2, "{told:#?}");
    assert!(told[0].contains("`/a` → `/b` → `/c` → `/a`") && told[1].contains("`/d` → `/d`"), "{told:#?}");

    let long: String = (0..3000).map(|at| rule(&format!("/{at}"), &format!("/{}", at + 1))).collect();
    let rules = Rules::parse(&format!("{long}[[rule]]\npath = '/3000'\nlimit = '1/day'")).expect("sound rules");
    assert_eq!(rules.limits().len(), 1);
}

#[test]
fn what_only_looks_wrong_is_a_warning() {
    let cases: &[(&str, &str)] = &[
        ("", "no rules"),
        ("[limits]\nd = '1/day'\n[[rule]]\npath = '/a'\nlimit = '1/day'", "2:1 no rule charges `d`"),
        (
            "[exempt]\nmethods = ['GET']\n[[rule]]\npath = '/a'\nmethods = ['GET']\nlimit = '1/day'",
            "all its methods are exempt",
        ),
        ("[[rule]]\npath = '/a'\nmethods = ['get']\nlimit = '1/day'", "told apart by case"),
        ("base = '/api'\n[[rule]]\npath = '/api/a'\nlimit = '1/day'", "3:9 this is for `/api/api/a`"),
        (
            "[exempt]\nkeys = ['fixed:all']\n[[rule]]\npath = '/a'\nkey = 'fixed:all'\nlimit = '1/day'",
            "never charges anything",
        ),
        (
            "[[rule]]\npath = '/{x}/b'\nlimit = '1/day'\n[[rule]]\npath = '/a/{x}'\nlimit = '1/day'",
            "`/a/b` matches both, and goes to `/a/{x}`",
        ),
        (
            "[[rule]]\npath = '/{x}/b/c'\nlimit = '1/day'\n[[rule]]\nprefix = '/a'\nlimit = '1/day'",
            "`/a/b/c` matches both, and goes to `/a`",
        ),
        (
            "[[rule]]\npath = '/a'\nlimit = '1/day'\nkey = 'ip'\n[[rule]]\npath = '/b'\nlimits_of = ['/a']",
            "counted apart",
        ),
        (
            "[[rule]]\nprefix = '/x'\nlimit = '1/day'\n[[rule]]\npath = '/x'\nname = 'x'\nlimit = '1/day'\n\
             [[rule]]\nprefix = '/x/{id}'\nlimit = '1/day'",
            "1:1 `/x` is never chosen",
        ),
        (
            "[[rule]]\npath = '/x'\nname = 'all'\nlimit = '1/day'\nmethods = ['GET']\n\
             [[rule]]\nprefix = '/x'\nlimit = '1/day'\nmethods = ['GET']\n[exempt]\nprefixes = ['/x/{id}']",
            "6:1 `/x` is never chosen",
        ),
        (
            "[plans]\nby = 'header:p'\ndefault = 'a'\n[plans.a]\nd = 'unlimited'\n[[rule]]\npath = '/a'\nlimits = ['d']",
            "6:1 limits nothing",
        ),
        (
            "[exempt]\nnetworks = ['0.0.0.0/0']\n[[rule]]\npath = '/a'\nlimit = '1/day'",
            "2:14 `0.0.0.0/0` exempts every IPv4",
        ),
        ("[exempt]\nnetworks = ['::/0']\n[[rule]]\npath = '/a'\nlimit = '1/day'", "exempts every IPv6"),
        ("[exempt]\nnetworks = ['::/64']\n[[rule]]\npath = '/a'\nlimit = '1/day'", "compared as IPv4"),
        (
            "[[rule]]\npath = '/a'\nlimit = '1/day'\nkey = 'ip'\non_missing_key = 'ip'",
            "1:1 takes `ip` where `ip` is missing",
        ),
        (
            "[exempt]\nkeys = ['ip:192.0.2.1']\n[[rule]]\npath = '/a'\nlimit = '1/day'",
            "2:10 no rule charges a key such as",
        ),
        (
            "[exempt]\nkeys = ['header:x:1']\n[[rule]]\npath = '/a'\nkey = 'header:y'\nlimit = '1/day'",
            "none is by `header:x`",
        ),
    ];
    for (text, part) in cases {
        let told = warnings(text);
        assert!(told.iter().any(|told| told.contains(part)), "{text}\n{told:#?}");
    }
    // Not these: each is more specific throughout, or for other methods.
    for text in [
        "[[rule]]\npath = '/{x}'\nlimit = '1/day'\n[[rule]]\npath = '/a'\nlimit = '1/day'\n[[rule]]\nprefix = '/'\nlimit = '1/day'",
        // What is left of a prefix is one segment, or what lies below one.
        "[[rule]]\nprefix = '/x'\nlimit = '1/day'\n[[rule]]\npath = '/x'\nname = 'x'\nlimit = '1/day'\n[[rule]]\npath = '/x/{id}'\nlimit = '1/day'",
        "[exempt]\nkeys = ['ip:192.0.2.1']\nnetworks = ['::ffff:10.0.0.0/104', '2001:db8::/32']\n[[rule]]\npath = '/a'\non_missing_key = 'ip'\nlimit = '1/day'",
        "[[rule]]\npath = '/{x}/b'\nmethods = ['GET']\nlimit = '1/day'\n[[rule]]\npath = '/a/{x}'\nmethods = ['PUT']\nlimit = '1/day'",
    ] {
        assert_eq!(warnings(text), [""; 0], "{text}");
    }
}

#[test]
fn a_cost_of_the_whole_quota_is_no_error_nor_another_quota_or_rate_of_a_plan() {
    for text in [
        "[[rule]]\npath = '/a'\nlimit = '10/month'\ncost = 10",
        "[plans]\nby = 'header:p'\ndefault = 'a'\n[plans.a]\nd = '2/day'\n[plans.b]\nd = '9/day'\n         [[rule]]\npath = '/a'\nlimits = ['d']\ncost = 2",
        "[plans]\nby = 'header:p'\ndefault = 'a'\n[plans.a]\nd = '2/day burst 3'\n[plans.b]\nd = '9/day burst 20'\n         [[rule]]\npath = '/a'\nlimits = ['d']",
    ] {
        assert_eq!(warnings(text), [""; 0], "{text}");
    }
}

#[test]
fn plans_share_a_limits_name() {
    let rules = Rules::parse(WHOLE).expect("sound rules");
    let [free, pro] = [0, 1].map(|at| rules.limits()[at].limit());
    assert!(pro.is_variant_of(free));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    /// However a file is cut up, an answer is given, and each place lies in the file.
    #[test]
    fn no_text_is_too_broken(cuts in prop::collection::vec((0..WHOLE.len(), 0..12usize, "[\\[\\]='\"{}a\n/\u{e9}]{0,3}"), 0..4)) {
        let mut text = WHOLE.to_owned();
        for (at, length, put) in cuts {
            let at = at.min(text.len());
            let end = (at + length).min(text.len());
            if text.is_char_boundary(at) && text.is_char_boundary(end) {
                text.replace_range(at..end, &put);
            }
        }
        if let Err(problems) = Rules::parse(&text) {
            prop_assert!(problems.iter().any(|problem| !problem.is_warning()));
            // Beyond a hundred they are only counted.
            for problem in problems.iter().take(100) {
                let line = text.split('\n').nth(problem.line().expect("a file has lines") - 1);
                let line = line.expect("the line is there");
                prop_assert!(problem.column().expect("a column") <= line.chars().count() + 1);
            }
            prop_assert!(!problems.to_string().is_empty());
        }
    }
}
