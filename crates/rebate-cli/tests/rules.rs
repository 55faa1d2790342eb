//! Rule files on the command line: checked, explained, and tried on a log.

mod support {
    pub(crate) mod line;
    pub(crate) mod program;
    pub(crate) mod run;
}

use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;

use rebate_cli::{LineParser, Shape};
use serde_json::Value;
use support::line::line;
use support::run::run;

const RULES: &str = r#"
base = "/api"

[limits]
daily = "50/day"

[plans]
by = "header:x-plan"
default = "free"
[plans.free]
daily = "50/day"
[plans.pro]
daily = "1000/day"

[exempt]
paths = ["/health"]
methods = ["OPTIONS"]
keys = ["user:admin"]
networks = ["10.0.0.0/8"]

[[rule]]
path = "/concepts/generate"
limit = "10/month"
refund = [409]

[[rule]]
prefix = "/storage"
methods = ["GET"]
limits = [{ limit = "daily", cost = 2 }]
on_missing_key = "ip"
on_unavailable = "deny"
"#;

/// A file that is removed at the end.
struct Temporary(PathBuf);

impl Temporary {
    fn new(name: &str, text: impl AsRef<[u8]>) -> Self {
        let path = std::env::temp_dir().join(format!("rebate-{}-{name}", std::process::id()));
        fs::write(&path, text).expect("a file can be written");
        Temporary(path)
    }

    fn path(&self) -> &str {
        self.0.to_str().expect("a plain path")
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// Exit status, standard output and standard error.
fn told(arguments: &[&str], input: &str) -> (Option<i32>, String, String) {
    let output = run(arguments, input.as_bytes());
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn check_prints_the_table_of_a_file_that_is_right() {
    let (code, out, errors) = told(&["rules", "check", "-"], RULES);
    assert_eq!((code, &*errors), (Some(0), ""));
    for part in [
        "/api/concepts/generate",
        "/concepts/generate: 10/month",
        "GET",
        "/api/storage[/…]",
        "daily: 50/day ×2 (free)",
        "daily: 1000/day ×2 (pro)",
        "409",
        "no key: ip",
        "store away: denied",
        "Plans: free, pro.",
        "Never limited: path /api/health; method OPTIONS; key user:admin; network 10.0.0.0/8.",
        "2 rules, 3 limits, 0 warnings.",
    ] {
        assert!(out.contains(part), "{part} is not in\n{out}");
    }
}

#[test]
fn check_tells_all_errors_and_fails_and_warnings_do_not_fail() {
    let (code, out, errors) = told(&["rules", "check", "-"], "bse = 1\n[[rule]]\npath = '/a/'\nlimit = '0/day'\n");
    assert_eq!((code, &*out), (Some(1), ""));
    for part in ["line 1, column 1:", "line 3, column 9:", "line 4, column 10:", "standard input: 3 errors"] {
        assert!(errors.contains(part), "{part} is not in\n{errors}");
    }
    let (code, out, errors) =
        told(&["rules", "check", "-"], "[limits]\nd = '1/day'\n[[rule]]\npath = '/a'\nlimit = '1/day'");
    assert!(code == Some(0) && out.contains("1 warning.") && errors.contains("warning: line 2, column 1: no rule"));
    let broken = Temporary::new("latin1.toml", b"# a\n# \xe9\n");
    let (code, _, errors) = told(&["rules", "check", broken.path()], "");
    assert!(code == Some(1) && errors.contains("line 2 is not UTF-8"), "{errors}");
    let (code, _, errors) = told(&["rules", "check", "/nowhere/rules.toml"], "");
    assert!(code == Some(1) && errors.contains("cannot read /nowhere/rules.toml"), "{errors}");
}

#[test]
fn explain_says_which_rule_limits_and_key_and_why() {
    let explain = |arguments: &[&str]| {
        let arguments: Vec<&str> = ["rules", "explain", "-"].iter().chain(arguments).copied().collect();
        let (code, out, errors) = told(&arguments, RULES);
        assert_eq!((code, &*errors), (Some(0), ""));
        out
    };
    let deep = format!("/api/%{}2e", "25".repeat(200));
    let cases: &[(&[&str], &[&str])] = &[
        (
            &["POST", "http://example.org/api/concepts/generate?x=1", "--user", "42"],
            &[
                "Rule `/concepts/generate`",
                "10/month, key user:42",
                "CONCEPTS_GENERATE_EXCEEDED",
                "Given back on: 409.",
                "without host and query",
            ],
        ),
        (&["POST", "/api/concepts/generate"], &["Denied with 401: the key `user`"]),
        (&["POST", "/api/concepts/generate", "--user", "admin"], &["Not limited: its key is exempt."]),
        (&["POST", "/api/concepts/generate", "--address", "10.1.2.3"], &["its client's network is exempt"]),
        (
            &["GET", "/api/storage/a", "--address", "203.0.113.9"],
            &["daily: 50/day ×2 (free), key ip:203.0.113.9", "denied with 503"],
        ),
        (
            &["GET", "/api/storage", "--user", "42", "--header", "X-Plan=pro"],
            &["Plan `pro`", "daily: 1000/day ×2 (pro), key user:42"],
        ),
        (&["PUT", "/api/storage"], &["no rule is for this path and method"]),
        (&["OPTIONS", "/api/storage"], &["its method is exempt"]),
        (&["GET", "/api/health/"], &["without the slash at its end", "the path /api/health is exempt"]),
        (&["GET", "/docs"], &["outside the base"]),
        (&["GET", "*"], &["Compared as /*.\n"]),
        (&["POST", "/api/concepts/generate", "--key", "user:7"], &["10/month, key user:7", "the most specific one."]),
        (&["POST", "/api/concepts/generate", "--key", "user:admin"], &["Not limited: its key is exempt."]),
        (&["GET", "/api/storage/a", "--key", "ip:203.0.113.9"], &["key ip:203.0.113.9"]),
        (&["POST", "/api/\u{202e}x\u{1b}"], &["POST /api/\\u{202e}x\\u{1b}"]),
        (&["GET", &deep], &["Refused with 400"]),
        (
            &["GET", "/api/health/..%2fstorage", "--user", "42"],
            &["normal form is /api/storage:", "rule `/storage`", "key user:42"],
        ),
        (
            &["GET", "/api/storage/../concepts/generate", "--user", "42"],
            &["Rule `/storage`", "Rule `/concepts/generate`", "Charged by each of them"],
        ),
    ];
    for (arguments, parts) in cases {
        let out = explain(arguments);
        for part in *parts {
            assert!(out.contains(part), "{arguments:?}: {part} is not in\n{out}");
        }
    }
    let (code, _, errors) = told(&["rules", "explain", "-", "GET", "/", "--header", "x"], "");
    assert!(code == Some(2) && errors.contains("NAME=VALUE"), "{errors}");
    // A terminal is not commanded.
    assert!(!explain(&["GET", "/api/\u{1b}[2J"]).contains('\u{1b}'));
}

#[test]
fn explain_lists_the_rules_that_are_beaten_and_why() {
    const RULES: &str = r#"
        defaults = { key = "ip" }
        rule = [
            { path = "/concepts/generate", limit = "10/month" },
            { path = "/concepts/{id}", limit = "20/month" },
            { path = "/concepts/generate", name = "posts", methods = ["POST"], limit = "5/month" },
            { prefix = "/concepts", limit = "30/month" },
            { prefix = "/", name = "all", limit = "40/month" },
            { prefix = "/storage", limit = "50/month" },
        ]
        exempt = { paths = ["/concepts/health"] }
    "#;
    let explain = |method, path| {
        let (code, out, errors) = told(&["rules", "explain", "-", method, path, "--address", "203.0.113.9"], RULES);
        assert_eq!((code, &*errors), (Some(0), ""));
        let (_, beaten) = out.split_once("Also for it, but beaten by what is more specific:\n").unwrap_or((&out, ""));
        beaten.to_owned()
    };
    let any = "  rule `/concepts/{id}`: /concepts/{id} for all methods: its segment 2 is any ({id})\n";
    let below = "  rule `/concepts`: /concepts[/…] for all methods: it is a prefix, without a segment 2 of its own\n";
    let all = |number: u8| {
        format!("  rule `all`: /… for all methods: it is a prefix, without a segment {number} of its own\n")
    };
    let path = "  rule `/concepts/generate`: /concepts/generate for all methods: \
                a method that is named comes before one that is not\n";
    assert_eq!(explain("POST", "/concepts/generate"), [path, any, below, &all(1)].concat());
    assert_eq!(explain("GET", "/concepts/generate"), [any, below, &all(1)].concat());
    assert_eq!(explain("GET", "/concepts/health"), [any, below, &all(1)].concat(), "exempt");
    assert_eq!(explain("GET", "/elsewhere"), "");
    // One that another reading chooses is not beaten; of each reading the most specific comes first.
    assert_eq!(explain("GET", "/storage/../concepts/7"), [&all(1), below].concat());
}

fn replayed(rules: &Temporary, log: &str, input: &str) -> Value {
    let (code, out, errors) = told(&["replay", "--rules", rules.path(), "--json", log], input);
    assert_eq!(code, Some(0), "{errors}");
    serde_json::from_str(&out).expect("one JSON object")
}

#[test]
fn a_replay_charges_by_rule_and_gives_back_by_status() {
    let rules = Temporary::new(
        "replay.toml",
        "[defaults]\nkey = 'ip'\n[exempt]\nkeys = ['ip:192.0.2.9']\n[[rule]]\npath = '/a'\nlimit = '2/minute'\nrefund = [409]\n\
         [[rule]]\nprefix = '/u'\nkey = 'user'\nlimit = '1/day'\n[[rule]]\npath = '/both'\nlimits_of = ['/a', '/u']\n",
    );
    let log = [
        // In the order of time the refund comes before the last, which is admitted.
        line("192.0.2.1", "10:00:09", 200),
        line("192.0.2.1", "10:00:00", 200),
        line("192.0.2.1", "10:00:01", 409),
        line("192.0.2.1", "10:00:02", 200),
        line("192.0.2.2", "10:00:00", 200),
        line("192.0.2.9", "10:00:00", 200),
        "192.0.2.3 - ada [17/May/2015:10:00:00 +0000] \"GET /u/x HTTP/1.1\" 200 1\n".to_owned(),
        "192.0.2.3 - ada [17/May/2015:10:00:00 +0000] \"GET //%75/x HTTP/1.1\" 200 1\n".to_owned(),
        "192.0.2.3 - - [17/May/2015:10:00:00 +0000] \"GET /u HTTP/1.1\" 200 1\n".to_owned(),
        "192.0.2.4 - - [17/May/2015:10:00:00 +0000] \"POST http://h/both?x HTTP/1.1\" 200 1\n".to_owned(),
        "192.0.2.4 - - [17/May/2015:10:00:00 +0000] \"GET /nothing HTTP/1.1\" 200 1\n".to_owned(),
        "192.0.2.4 - - [17/May/2015:10:00:00 +0000] \"-\" 408 1\n".to_owned(),
        "no line\n".to_owned(),
    ];
    let told = replayed(&rules, "-", &log.concat());
    let number = |name: &str| told[name].as_u64().expect(name);
    let names = ["requests", "allowed", "denied", "refunded", "exempt", "no_rule", "denied_without_key", "bad_lines"];
    assert_eq!(names.map(number), [12, 6, 2, 1, 1, 2, 1, 1], "{told:#}");
    let rule = |at: usize| {
        ["allowed", "denied", "refunded", "denied_without_key"].map(|name| told["rules"][at][name].as_u64())
    };
    assert_eq!(rule(0), [4, 1, 1, 0].map(Some));
    assert_eq!(rule(1), [1, 1, 0, 1].map(Some));
    assert_eq!(rule(2), [1, 0, 0, 0].map(Some));
    let limit = |at: usize| ["charged", "denied", "refunded"].map(|name| told["limits"][at][name].as_u64());
    assert_eq!(limit(0), [5, 1, 1].map(Some));
    assert_eq!(limit(1), [2, 1, 0].map(Some));
    assert_eq!(told["most_denied"].as_array().map(Vec::len), Some(2));

    let json = "{\"time\":0,\"ip\":\"192.0.2.1\",\"method\":\"GET\",\"path\":\"/a\"}\n".repeat(3)
        + "{\"time\":1,\"user\":\"ada\",\"method\":\"GET\",\"path\":\"/u?x\"}\n";
    let told = replayed(&rules, "-", &json);
    assert_eq!((&told["allowed"], &told["denied"]), (&3.into(), &1.into()), "{told:#}");
}

#[test]
fn the_real_logs_counts_are_those_of_a_recount() {
    let rules = Temporary::new(
        "apache.toml",
        "[defaults]\nkey = 'ip'\n[exempt]\npaths = ['/robots.txt']\n[[rule]]\nprefix = '/presentations'\nlimit = '20/minute'\n\
         [[rule]]\nname = 'all'\nprefix = '/'\nmethods = ['GET']\nlimit = '30/hour'\n",
    );
    let log = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/apache_access.log");
    let told = replayed(&rules, log.to_str().expect("a plain path"), "");

    let bytes = fs::read(&log).expect("the log is there");
    let mut parser = LineParser::new(Shape::default());
    let mut requests: Vec<(u64, String, String, String)> = Vec::new();
    for line in bytes.split(|&byte| byte == b'\n') {
        if let Some(request) = parser.request(line).expect("every line is right") {
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            let target = text(&request.target);
            let path = target.split('?').next().unwrap_or_default().to_owned();
            let address = text(&request.address.expect("an address"));
            requests.push((request.micros, address, text(&request.method), path));
        }
    }
    requests.sort_by_key(|request| request.0);
    let mut used: HashMap<(usize, String, u64), u64> = HashMap::new();
    let (mut allowed, mut denied, mut exempt, mut no_rule) = ([0u64; 2], [0u64; 2], 0, 0);
    for (micros, address, method, path) in requests {
        let collapsed = path.replace("//", "/");
        let (rule, quota, window) = match &*collapsed {
            "/robots.txt" => {
                exempt += 1;
                continue;
            }
            path if path == "/presentations" || path.starts_with("/presentations/") => (0, 20, 60_000_000),
            _ if method == "GET" || method == "HEAD" => (1, 30, 3_600_000_000),
            _ => {
                no_rule += 1;
                continue;
            }
        };
        let used = used.entry((rule, address, micros / window)).or_default();
        if *used < quota {
            *used += 1;
            allowed[rule] += 1;
        } else {
            denied[rule] += 1;
        }
    }
    assert!(allowed.iter().chain(&denied).all(|&number| number > 0), "{allowed:?} {denied:?}");
    for rule in 0..2 {
        assert_eq!(told["rules"][rule]["allowed"], allowed[rule], "{told:#}");
        assert_eq!(told["rules"][rule]["denied"], denied[rule]);
        assert_eq!(told["limits"][rule]["denied"], denied[rule]);
    }
    assert_eq!((&told["exempt"], &told["no_rule"]), (&exempt.into(), &Value::from(no_rule)));
    let (code, out, _) = self::told(&["replay", "--rules", rules.path(), log.to_str().expect("a plain path")], "");
    assert!(code == Some(0) && out.contains("/presentations: 20/minute") && out.contains("Most denied"), "{out}");
}

#[test]
fn a_replay_by_rules_takes_no_limits_beside_them_and_fails_with_the_file() {
    let (code, _, errors) = told(&["replay", "--rules", "x.toml", "--limit", "1/day", "-"], "");
    assert!(code == Some(2) && errors.contains("cannot be used with"), "{errors}");
    let (code, _, errors) = told(&["replay", "-"], "");
    assert!(code == Some(2) && errors.contains("--limit"), "{errors}");
    let (code, _, errors) = told(&["replay", "--rules", "-", "-"], "");
    assert!(code == Some(2) && errors.contains("both be standard input"), "{errors}");
    let broken = Temporary::new("broken.toml", "rule = 1");
    let (code, _, errors) = told(&["replay", "--rules", broken.path(), "-"], "");
    assert!(code == Some(1) && errors.contains("1 error"), "{errors}");
    let rules = Temporary::new("strict.toml", "[[rule]]\nprefix = '/'\nkey = 'ip'\nlimit = '1/day'");
    let (code, _, errors) = told(&["replay", "--strict", "--rules", rules.path(), "-"], "no line\n");
    assert!(code == Some(1) && errors.contains("line 1"), "{errors}");
}

#[test]
fn explain_refuses_what_is_no_method_and_no_key() {
    for (arguments, part) in [
        (&["rules", "explain", "-", "P OST", "/a"][..], "no method's name"),
        (&["rules", "explain", "-", "GET", "/a", "--key", "42"], "a whole key reads"),
        (&["rules", "explain", "-", "GET", "/a", "--key", "ip:x"], "a whole key reads"),
    ] {
        let (code, _, errors) = told(arguments, RULES);
        assert!(code != Some(0) && errors.contains(part), "{errors}");
    }
}

#[test]
fn check_says_who_may_set_the_header_that_chooses_plans() {
    let (_, out, _) = told(&["rules", "check", "-"], RULES);
    assert!(out.contains("Plans are chosen by `header:x-plan`: let a gateway set it"), "{out}");
}
