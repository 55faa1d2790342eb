//! `rebate status` on a real server that other processes charge.

mod support {
    pub(crate) mod program;
    pub(crate) mod run;
    pub(crate) mod service;
}

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};

use rebate::{Item, KeyRef, Limiter, RedisStore};
use rebate_servers::Cluster;
use serde_json::Value;
use support::program::program;
use support::run::run_command;
use support::service::{Service, failure, server, text};

fn keys(report: &Value) -> Vec<&str> {
    let counts = report["counts"].as_array().expect("a list");
    counts.iter().map(|count| count["key"].as_str().expect("text")).collect()
}

/// The lines of the table behind its header, as words.
fn rows(table: &str) -> Vec<Vec<&str>> {
    let rows = table.lines().skip_while(|line| !line.trim_start().starts_with("Used")).skip(1);
    rows.map(|line| line.split_whitespace().collect()).collect()
}

#[test]
fn a_table_of_who_used_how_much() {
    let service = Service::new();
    let hour = service.limit("hour", "1000/day from first");
    for (key, cost) in [("user:1", 2), ("user:2", 700), ("user:3", 40)] {
        drop(service.charge(&hour, key, cost));
    }
    service.await_written_down(1);
    let table = service.told("status", &[]);
    assert!(table.contains("3 counts") && table.contains("hour: 1000/day from first: 3 keys"), "{table}");
    let rows = rows(&table);
    assert_eq!(rows.len(), 3, "{table}");
    assert_eq!((&rows[0][..3], rows[0].last()), (&["700", "300", "1,000"][..], Some(&"user:2")), "{table}");
    assert_eq!((&rows[1][..3], rows[1].last()), (&["40", "960", "1,000"][..], Some(&"user:3")), "{table}");
    assert_eq!((&rows[2][..3], rows[2].last()), (&["2", "998", "1,000"][..], Some(&"user:1")), "{table}");
    let top = service.told("status", &["--top", "1", "--sort", "remaining"]);
    assert!(top.contains("user:2") && !top.contains("user:3") && top.contains("and 2 more"), "{top}");
}

#[test]
fn no_key_breaks_the_table() {
    let service = Service::new();
    let limit = service.limit("day", "10/day from first");
    let long = "long".repeat(16_000);
    let keys: [&[u8]; 6] = [b"plain", b"two\nlines", b"\x1b[2J\x1b[31mred", b"\xff\xfe", b"", long.as_bytes()];
    for key in keys {
        drop(service.charge(&limit, key, 1));
    }
    drop(service.charge(&limit, KeyRef::in_group("ac\tme", "of a group"), 2));
    service.await_written_down(1);
    let table = service.told("status", &["--sort=key"]);
    assert!(!table.chars().any(|c| c.is_control() && c != '\n'), "{table:?}");
    let shown: Vec<_> = rows(&table).into_iter().map(|row| row[row.len() - 1].to_owned()).collect();
    let expected =
        ["\"\"", r#""\u{1b}[2J\u{1b}[31mred""#, &long, "plain", r#""two\nlines""#, r#""\xff\xfe""#, "group\""];
    assert_eq!(shown, expected);
    let grouped = table.lines().last().expect("rows");
    assert!(grouped.ends_with(r#"  "ac\tme"  "of a group""#), "{grouped}");
    // For programs nothing is lost.
    let report = service.json("status", &["--sort=key"]);
    let counts = report["counts"].as_array().expect("a list");
    assert_eq!((&counts[1]["key"], &counts[2]["key"]), (&"\u{1b}[2J\u{1b}[31mred".into(), &long.into()));
    assert_eq!((&counts[5]["key_hex"], &counts[4]["key_hex"]), (&"fffe".into(), &Value::Null));
    assert_eq!((&counts[6]["group"], &counts[6]["key"]), (&"ac\tme".into(), &"of a group".into()));
    assert_eq!(counts[0]["group"], Value::Null);
}

#[test]
fn several_limits_in_one_listing_or_those_that_are_named() {
    let service = Service::new();
    let [day, log, bucket, leases] = [
        service.limit("day", "1000/day from first"),
        service.limit("log", "10/day sliding log"),
        service.limit("per second", "1/day burst 20"),
        service.limit("leases", "3 at once for 24h"),
    ];
    let items = [Item::new(&day, "a").cost(5), Item::new(&log, "a").cost(2), Item::new(&bucket, "a").cost(7)];
    assert!(service.charge_all(&items).may_proceed());
    drop(service.charge(&day, "b", 1));
    drop(service.charge(&leases, "b", 1));
    service.await_written_down(4);
    let report = service.json("status", &[]);
    assert_eq!(report["store"], "redis");
    let limits = report["limits"].as_array().expect("a list");
    let told: Vec<_> = limits.iter().map(|limit| (&limit["limit"], &limit["quota"], &limit["keys"])).collect();
    let told = serde_json::to_value(told).expect("JSON");
    assert_eq!(told, serde_json::json!([["day", 1000, 2], ["leases", 3, 1], ["log", 10, 1], ["per second", 20, 1]]));
    let used = |report: &Value| -> BTreeSet<(String, String, u64, u64)> {
        let counts = report["counts"].as_array().expect("a list").iter();
        let text = |value: &Value| value.as_str().expect("text").to_owned();
        let number = |value: &Value| value.as_u64().expect("a number");
        let row = |count: &Value| {
            assert_eq!(number(&count["used"]) + number(&count["remaining"]), number(&count["quota"]));
            assert!((1..=20 * 86_400_000_000).contains(&number(&count["reset_micros"])), "{count}");
            (text(&count["limit"]), text(&count["key"]), number(&count["used"]), number(&count["quota"]))
        };
        counts.map(row).collect()
    };
    let row = |limit: &str, key: &str, used, quota| (limit.to_owned(), key.to_owned(), used, quota);
    let all = [
        row("day", "a", 5, 1000),
        row("day", "b", 1, 1000),
        row("leases", "b", 1, 3),
        row("log", "a", 2, 10),
        row("per second", "a", 7, 20),
    ];
    assert_eq!(used(&report), BTreeSet::from(all.clone()));
    let some = service.json("status", &["--limit", "day", "--limit", "log"]);
    assert_eq!(used(&some), [&all[..2], &all[3..4]].concat().into_iter().collect());
    let given = service.json("status", &["--limit", "day=50/day from first"]);
    assert_eq!(used(&given), BTreeSet::from([row("day", "a", 5, 50), row("day", "b", 1, 50)]), "its policy is given");
    for (limits, says) in [
        (&["--limit=dya"][..], "no limit called `dya` is written down, only `day`, `leases`, `log`, `per second`"),
        (&["--limit=day", "--limit=day=1/day"], "--limit names `day` twice"),
    ] {
        let (status, errors) = failure(&service.run("status", limits));
        assert!(status == Some(2) && errors.contains(says), "{errors}");
    }
}

#[test]
fn every_key_once_at_any_pace_and_in_every_order() {
    let service = Service::new();
    let limit = service.limit("day", "1000/day from first");
    for key in 0..600 {
        drop(service.charge(&limit, &format!("key-{key:03}"), 1 + key % 7));
    }
    service.await_written_down(1);
    let expected: Vec<String> = (0..600).map(|key| format!("key-{key:03}")).collect();
    for pace in ["0", "100000", "4000000000"] {
        let report = service.json("status", &["--sort=key", "--pace", pace]);
        assert_eq!(keys(&report), expected, "pace {pace}");
    }
    for (sort, field, downwards) in
        [("used", "used", true), ("remaining", "remaining", false), ("resets", "reset_micros", false)]
    {
        let report = service.json("status", &["--sort", sort]);
        let numbers: Vec<_> =
            report["counts"].as_array().expect("a list").iter().map(|count| count[field].as_u64()).collect();
        let in_order = if downwards { numbers.is_sorted_by(|a, b| a >= b) } else { numbers.is_sorted() };
        assert!(numbers.len() == 600 && in_order, "{sort}: {numbers:?}");
    }
}

#[test]
fn a_store_where_nothing_is_written_down_says_so() {
    let service = Service::new();
    let told = service.told("status", &[]);
    assert!(told.starts_with("No limit is written down under the prefix `t"), "{told}");
    let report = service.json("status", &[]);
    assert_eq!((&report["limits"], &report["counts"]), (&Value::Array(vec![]), &Value::Array(vec![])));
    let given = service.told("status", &["--limit=day=3/day"]);
    assert!(given.contains("day: 3/day: 0 keys") && given.contains("Nobody has used any"), "{given}");
    let (status, errors) = failure(&service.run("status", &["--limit=day"]));
    assert!(status == Some(2) && errors.contains("the policy of `day` is unknown"), "{errors}");
}

#[test]
fn all_masters_of_a_cluster_are_listed() {
    let cluster = Cluster::start(3, 0);
    let url = format!("redis+cluster://{}", cluster.node(0).address());
    let service = Service::with(url.clone(), RedisStore::builder(url), Limiter::new);
    let limit = service.limit("day", "10/day from first");
    let expected: Vec<String> = (0..40).map(|key| format!("key-{key:02}")).collect();
    expected.iter().for_each(|key| drop(service.charge(&limit, key, 1)));
    service.await_written_down(1);
    assert_eq!(keys(&service.json("status", &["--sort=key"])), expected);
}

fn watch(service: &Service, more: &[&str]) -> Child {
    let mut command = program(&service.line("status", more));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program starts")
}

fn errors_of(child: &mut Child) -> String {
    let mut errors = String::new();
    child.stderr.take().expect("piped").read_to_string(&mut errors).expect("text");
    errors
}

#[test]
fn watching_lists_again_and_again_until_it_is_interrupted() {
    let service = Service::new();
    let limit = service.limit("day", "10/day from first");
    drop(service.charge(&limit, "a", 1));
    service.await_written_down(1);
    let mut child = watch(&service, &["--watch=0", "--json"]);
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let mut next = || -> Value {
        serde_json::from_str(&lines.next().expect("a line").expect("text")).expect("each line is an object")
    };
    assert_eq!(next()["counts"][0]["used"], 1);
    drop(service.charge(&limit, "a", 4));
    while next()["counts"][0]["used"] != 5 {}
    let signal = Command::new("kill").args(["-s", "INT", &child.id().to_string()]).status().expect("kill starts");
    assert!(signal.success());
    lines.for_each(drop);
    assert_eq!((errors_of(&mut child).as_str(), child.wait().expect("it ends").code()), ("", Some(0)));
}

#[test]
fn a_reader_that_goes_away_is_no_trouble() {
    let service = Service::new();
    let limit = service.limit("day", "10/day from first");
    drop(service.charge(&limit, "a", 1));
    service.await_written_down(1);
    let mut child = watch(&service, &["--watch=0"]);
    drop(child.stdout.take());
    assert_eq!((errors_of(&mut child).as_str(), child.wait().expect("it ends").code()), ("", Some(0)));
}

#[test]
fn where_the_store_is() {
    let url = server().url();
    let mut command = program(&["status", "--prefix=nobody"]);
    let output = run_command(command.env("REBATE_STORE", &url), b"");
    assert!(output.status.success() && text(&output.stdout).contains("No limit"), "{}", text(&output.stderr));
    for (line, status, says) in [
        (&["status"][..], 2, "--store <URL>"),
        (&["status", "--store", "memory"], 2, "live in the process that charges them"),
        (&["status", "--store", "http://:hushhush@one"], 2, "redis://user:password@host:6379/0"),
        (&["status", "--store", "redis://:hushhush@127.0.0.1:1"], 1, "127.0.0.1:1: cannot connect"),
        (&["status", "--store", "redis://:hushhush@127.0.0.1:1", "--watch"], 1, "127.0.0.1:1: cannot connect"),
        (
            &["status", "--store", "redis://:hushhush@127.0.0.1:1", "--prefix", "a{b"],
            2,
            "cannot begin the names of keys",
        ),
        (&["peek", "--store", "redis://127.0.0.1:1", "--limit=a=1/day", "key"], 1, "127.0.0.1:1: cannot connect"),
        (&["reset", "--store", "redis://127.0.0.1:1", "--limit=a", "key"], 1, "127.0.0.1:1: cannot connect"),
        (&["status", "--store", &url, "--limit", "a=1/fortnight"], 2, "a unit of time"),
    ] {
        let (code, errors) = failure(&run_command(&mut program(line), b""));
        assert_eq!(code, Some(status), "{line:?}: {errors}");
        assert!(errors.contains(says) && !errors.contains("hushhush"), "{line:?}: {errors}");
    }
}
