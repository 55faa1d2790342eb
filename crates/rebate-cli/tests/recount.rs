//! The replay of a real log against a count made by other means: naive, of this file alone, one history in
//! the order of time, for every algorithm.

mod support {
    pub(crate) mod program;
    pub(crate) mod replay;
    pub(crate) mod run;
}

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use jiff::tz::TimeZone;
use serde_json::Value;

/// The log that lies in this repository.
fn sample() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/apache_access.log")
}

/// The whole log, where the checkout has it beside it.
fn whole_log() -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/apache_access.log");
    if path.exists() {
        return Some(path);
    }
    println!("not tried on the whole log: {} is not there", path.display());
    None
}

/// A request: microseconds since the epoch, key, status.
type Request = (i128, String, u16);

/// How one key's units stop counting, told as naively as can be.
#[derive(Clone, Copy, Debug)]
enum Rule {
    /// Units of the same window, named by a number.
    Window(fn(i128) -> i128),
    FromFirst(i128),
    Counter(i128),
    /// Also leases.
    Log(i128),
    Bucket {
        rate: i128,
        period: i128,
    },
}

/// What one key has used of one limit.
#[derive(Clone, Debug, Default)]
struct Count {
    /// Times of units that were not refunded.
    units: Vec<i128>,
    opened: Option<i128>,
    /// Tokens times the period, and when that was.
    tokens: Option<(i128, i128)>,
}

impl Count {
    fn fits(&mut self, rule: Rule, quota: i128, now: i128) -> bool {
        let units = |counts: &dyn Fn(i128) -> bool| self.units.iter().filter(|time| counts(**time)).count() as i128;
        match rule {
            Rule::Window(number) => units(&|time| number(time) == number(now)) < quota,
            Rule::FromFirst(window) => {
                if self.opened.is_none_or(|opened| now >= opened + window) {
                    self.opened = None;
                    self.units.clear();
                }
                (self.units.len() as i128) < quota
            }
            Rule::Counter(window) => {
                let bucket = now / window;
                let (previous, current) =
                    (units(&|time| time / window == bucket - 1), units(&|time| time / window == bucket));
                previous * (window - now % window) + (current + 1) * window <= quota * window
            }
            Rule::Log(window) => units(&|time| time > now - window) < quota,
            Rule::Bucket { rate, period } => {
                let (tokens, at) = self.tokens.unwrap_or((quota * period, now));
                let tokens = (tokens + (now - at) * rate).min(quota * period);
                self.tokens = Some((tokens, now));
                tokens >= period
            }
        }
    }

    fn take(&mut self, rule: Rule, now: i128) {
        self.units.push(now);
        self.opened.get_or_insert(now);
        if let (Rule::Bucket { period, .. }, Some((tokens, _))) = (rule, &mut self.tokens) {
            *tokens -= period;
        }
    }

    /// At the time of the charge, with nothing between.
    fn give_back(&mut self, rule: Rule) {
        self.units.pop();
        if self.units.is_empty() {
            self.opened = None;
        }
        if let (Rule::Bucket { period, .. }, Some((tokens, _))) = (rule, &mut self.tokens) {
            *tokens += period;
        }
    }
}

#[derive(Debug, Default, PartialEq)]
struct Recount {
    allowed: u64,
    denied: u64,
    refunded: u64,
    denied_by: Vec<u64>,
    by_key: BTreeMap<String, u64>,
}

fn recount(requests: &[Request], rules: &[(Rule, i128)], refund: &[u16]) -> Recount {
    let mut counts: HashMap<&str, Vec<Count>> = HashMap::new();
    let mut told = Recount { denied_by: vec![0; rules.len()], ..Recount::default() };
    for (now, key, status) in requests {
        let counts = counts.entry(key).or_insert_with(|| vec![Count::default(); rules.len()]);
        let fits: Vec<bool> =
            rules.iter().zip(counts.iter_mut()).map(|((rule, quota), count)| count.fits(*rule, *quota, *now)).collect();
        if fits.contains(&false) {
            told.denied += 1;
            *told.by_key.entry(key.clone()).or_default() += 1;
            told.denied_by.iter_mut().zip(&fits).for_each(|(denied, fits)| *denied += u64::from(!fits));
            continue;
        }
        told.allowed += 1;
        let refunded = refund.contains(status);
        told.refunded += u64::from(refunded);
        for ((rule, _), count) in rules.iter().zip(counts) {
            count.take(*rule, *now);
            if refunded {
                count.give_back(*rule);
            }
        }
    }
    told
}

/// Read by other means than the program's.
fn requests(path: &Path) -> Vec<Request> {
    let text = std::fs::read_to_string(path).expect("a log");
    let mut requests: Vec<Request> = text
        .lines()
        .map(|line| {
            let time = line.split(['[', ']']).nth(1).expect("a time");
            let time = jiff::fmt::strtime::parse("%d/%b/%Y:%H:%M:%S %z", time).and_then(|time| time.to_timestamp());
            let status = line.split("\" ").nth(1).expect("a status").split(' ').next().expect("a status");
            let key = line.split_whitespace().next().expect("an address").to_owned();
            (time.expect("a time").as_microsecond().into(), key, status.parse().expect("a status"))
        })
        .collect();
    requests.sort_by_key(|(time, _, _)| *time);
    requests
}

const SECOND: i128 = 1_000_000;
const MINUTE: i128 = 60 * SECOND;
const HOUR: i128 = 60 * MINUTE;

fn berlin_day(micros: i128) -> i128 {
    let zone = TimeZone::get("Europe/Berlin").expect("a zone");
    let moment = jiff::Timestamp::from_microsecond(micros as i64).expect("a moment").to_zoned(zone);
    i128::from(moment.year()) * 400 + i128::from(moment.day_of_year())
}

fn utc_week(micros: i128) -> i128 {
    // 1970-01-01 was a Thursday.
    (micros / (24 * HOUR) + 3) / 7
}

fn month(micros: i128) -> i128 {
    let date = jiff::Timestamp::from_microsecond(micros as i64).expect("a moment").to_zoned(TimeZone::UTC).date();
    i128::from(date.year()) * 12 + i128::from(date.month())
}

/// Each algorithm: its policy but for the quota, which stands where the text says `#`.
fn rules() -> Vec<(&'static str, i128, Rule)> {
    vec![
        ("#/minute", 20, Rule::Window(|time| time / MINUTE)),
        ("#/30s", 7, Rule::Window(|time| time / (30 * SECOND))),
        ("#/day", 60, Rule::Window(|time| time / (24 * HOUR))),
        ("#/day in Europe/Berlin", 40, Rule::Window(berlin_day)),
        ("#/week", 60, Rule::Window(utc_week)),
        ("#/month", 50, Rule::Window(month)),
        ("#/hour from first", 25, Rule::FromFirst(HOUR)),
        ("#/7s from first", 3, Rule::FromFirst(7 * SECOND)),
        ("#/minute sliding", 20, Rule::Counter(MINUTE)),
        ("#/hour sliding", 30, Rule::Counter(HOUR)),
        ("#/minute sliding log", 20, Rule::Log(MINUTE)),
        ("#/day sliding log", 45, Rule::Log(24 * HOUR)),
        ("1/second burst #", 4, Rule::Bucket { rate: 1, period: SECOND }),
        ("7/minute burst #", 10, Rule::Bucket { rate: 7, period: MINUTE }),
        ("# at once for 10s", 6, Rule::Log(10 * SECOND)),
    ]
}

fn policy(text: &str, quota: i128) -> String {
    text.replace('#', &quota.to_string())
}

fn replay(path: &Path, limits: &[String], refund: &[u16], more: &[&str]) -> Value {
    let mut arguments: Vec<String> = limits.iter().map(|limit| format!("--limit={limit}")).collect();
    if !refund.is_empty() {
        let list: Vec<String> = refund.iter().map(u16::to_string).collect();
        arguments.push(format!("--refund-status={}", list.join(",")));
    }
    arguments.extend(more.iter().map(|more| (*more).to_owned()));
    arguments.extend(["--top=1000000".to_owned(), path.to_str().expect("a readable path").to_owned()]);
    support::replay::replay(&arguments, b"")
}

fn same(report: &Value, told: &Recount, requests: &[Request], what: &str) {
    let keys: BTreeSet<&str> = requests.iter().map(|(_, key, _)| key.as_str()).collect();
    assert_eq!(report["requests"], requests.len(), "{what}");
    assert_eq!(report["keys"], keys.len(), "{what}");
    assert_eq!(report["bad_lines"], 0, "{what}");
    assert_eq!(report["allowed"], told.allowed, "{what}");
    assert_eq!(report["denied"], told.denied, "{what}");
    assert_eq!(report["refunded"], told.refunded, "{what}");
    assert_eq!(report["denied_keys"], told.by_key.len(), "{what}");
    for (limit, denied) in report["limits"].as_array().expect("limits").iter().zip(&told.denied_by) {
        assert_eq!(limit["charged"], told.allowed, "{what}");
        assert_eq!(limit["denied"], *denied, "{what}");
        assert_eq!(limit["refunded"], told.refunded, "{what}");
    }
    let named = report["most_denied"].as_array().expect("keys").iter();
    let by_key: BTreeMap<String, u64> = named
        .map(|key| (key["key"].as_str().expect("text").to_owned(), key["denied"].as_u64().expect("a number")))
        .collect();
    assert_eq!(by_key, told.by_key, "{what}");
}

/// Every algorithm, with and without refunds, against the recount.
fn every_algorithm(path: &Path) {
    let requests = requests(path);
    for (text, quota, rule) in rules() {
        for refund in [&[][..], &[404, 304], &[200]] {
            let limit = policy(text, quota);
            let report = replay(path, std::slice::from_ref(&limit), refund, &[]);
            let told = recount(&requests, &[(rule, quota)], refund);
            same(&report, &told, &requests, &format!("{limit}, refunds of {refund:?}"));
            assert!(refund == [200] || told.denied > 0, "{limit} denies nothing: nothing is tried");
        }
    }
}

/// Several limits at once are charged all or not at all.
fn several_limits(path: &Path) {
    let requests = requests(path);
    let limits =
        [("#/minute", 12, Rule::Window(|time| time / MINUTE)), ("#/day sliding log", 40, Rule::Log(24 * HOUR))]
            .map(|(text, quota, rule)| (policy(text, quota), (rule, quota)));
    let bucket = ("7/minute burst 10".to_owned(), (Rule::Bucket { rate: 7, period: MINUTE }, 10));
    let limits: Vec<_> = limits.into_iter().chain([bucket]).collect();
    let (texts, rules): (Vec<String>, Vec<(Rule, i128)>) = limits.into_iter().unzip();
    for refund in [&[][..], &[404, 304]] {
        let told = recount(&requests, &rules, refund);
        assert!(told.denied_by.iter().all(|denied| *denied > 0), "{told:?}");
        same(&replay(path, &texts, refund, &[]), &told, &requests, &format!("{texts:?}, refunds of {refund:?}"));
    }
}

/// The smallest quota: with it at most so many keys are denied, with one less more are.
fn smallest_quotas(path: &Path, case: impl Fn(usize) -> std::ops::Range<usize>) {
    let requests = requests(path);
    let keys = requests.iter().map(|(_, key, _)| key).collect::<BTreeSet<_>>().len();
    let cases = [(&[][..], "0", 0), (&[404, 304], "0", 0), (&[], "1.5", keys * 15 / 1000)];
    for (at, (text, quota, rule)) in rules().into_iter().enumerate() {
        for (refund, tolerate, tolerated) in &cases[case(at)] {
            let tolerate = format!("--tolerate={tolerate}");
            let report = |quota| replay(path, &[policy(text, quota)], refund, &[&tolerate]);
            let smallest = report(quota)["limits"][0]["smallest_quota"].as_u64().expect("a quota");
            let what = format!("{text}: {smallest}, {tolerate}, refunds of {refund:?}");
            let denied_keys = |quota| report(quota)["denied_keys"].as_u64().expect("a number") as usize;
            assert!(denied_keys(smallest.into()) <= *tolerated, "{what}");
            assert_eq!(report(smallest.into())["limits"][0]["smallest_quota"], smallest, "{what}, once more");
            let counted = |quota: u64| recount(&requests, &[(rule, quota.into())], refund).by_key.len();
            assert!(counted(smallest) <= *tolerated, "{what}");
            if smallest > 1 {
                assert!(denied_keys(i128::from(smallest) - 1) > *tolerated, "{what}");
                assert!(counted(smallest - 1) > *tolerated, "{what}");
            }
        }
    }
}

#[test]
fn every_algorithm_as_counted_by_other_means() {
    every_algorithm(&sample());
}

#[test]
fn every_algorithm_on_the_whole_log() {
    if let Some(path) = whole_log() {
        every_algorithm(&path);
    }
}

#[test]
fn several_limits_as_counted_by_other_means() {
    several_limits(&sample());
    if let Some(path) = whole_log() {
        several_limits(&path);
    }
}

#[test]
fn the_smallest_quota_is_confirmed_by_a_second_run() {
    smallest_quotas(&sample(), |_| 0..3);
}

#[test]
fn the_smallest_quota_on_the_whole_log_is_confirmed_by_a_second_run() {
    if let Some(path) = whole_log() {
        // One case each, so that it does not take a minute in a debug build.
        smallest_quotas(&path, |at| at % 3..at % 3 + 1);
    }
}
