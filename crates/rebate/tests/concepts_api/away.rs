//! Redis away.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use rebate_servers::{Server, until};
use serde_json::json;

use crate::client::Answer;
use crate::program::{Api, Folder, shipped_rules};

/// A path whose rule lets requests pass while the store is away, and one whose rule denies them.
const ALLOWS: &str = "/api/storage/recent";
const DENIES: &str = "/api/storage/concept";

/// The shipped rules, but that one of them denies; with room for load.
fn rules(tasks: &Folder) -> String {
    let rules = shipped_rules()
        .replace("limit = \"60/minute\"", "limit = \"1000000/month\"")
        .replace("limit = \"30/minute\"", "limit = \"1000000/month\"\non_unavailable = \"deny\"");
    assert!(rules.contains("deny") && rules.matches("1000000").count() == 2);
    tasks.write("rules.toml", &rules)
}

#[test]
fn killed_in_mid_load_it_takes_down_only_what_a_rule_says() {
    let server = Server::builder().persistent(true).start();
    let tasks = Folder::new();
    let rules = rules(&tasks);
    let api = Api::over(&server, &tasks, &[("RULES", &rules)]);
    let stop = AtomicBool::new(false);
    let load = |path: &'static str| {
        let mut answers: Vec<Answer> = Vec::new();
        while !stop.load(Ordering::Relaxed) {
            answers.push(api.get("ada", path));
        }
        answers
    };
    let [allowed, denied] = thread::scope(|scope| {
        let threads = [ALLOWS, ALLOWS, DENIES, DENIES].map(|path| scope.spawn(move || load(path)));
        let passes = |path| until("counted", || api.get("grace", path).told().map(drop));
        passes(ALLOWS);
        server.kill();
        until("the rule denies", || (api.get("grace", DENIES).status == 503).then_some(()));
        assert_eq!(api.get("grace", ALLOWS).short(), (200, None), "nobody knows what is left");
        server.restart();
        passes(ALLOWS);
        passes(DENIES);
        stop.store(true, Ordering::Relaxed);
        let [a, b, c, d] = threads.map(|thread| thread.join().unwrap());
        [[a, b].concat(), [c, d].concat()]
    });
    let statuses = |answers: &[Answer]| {
        let mut statuses: Vec<_> = answers.iter().map(|answer| (answer.status, answer.told().is_some())).collect();
        statuses.sort_unstable();
        statuses.dedup();
        statuses
    };
    assert_eq!(statuses(&allowed), [(200, false), (200, true)], "counted or not, every request was answered");
    // Where a rule is strict nothing passes uncounted.
    assert_eq!(statuses(&denied), [(404, true), (503, false)]);
    let refused = denied.iter().find(|answer| answer.status == 503).expect("there were some");
    assert_eq!(refused.header("content-type"), Some("application/problem+json"));
    assert_eq!(refused.json()["code"], "LIMITER_UNAVAILABLE");
    let log = api.process.stop();
    for what in ["request passes unchecked", "request denied"] {
        assert!(log.lines().any(|line| line.contains("WARN") && line.contains(what)), "{log}");
    }
    assert!(!log.contains("ada") && !log.contains("grace"), "nobody is named: {log}");
}

impl Clone for Answer {
    fn clone(&self) -> Self {
        Answer { status: self.status, headers: self.headers.clone(), body: self.body.clone() }
    }
}

#[test]
fn it_starts_before_redis_does() {
    let (server, tasks) = (Server::start(), Folder::new());
    server.kill();
    let api = Api::over(&server, &tasks, &[]);
    assert_eq!(api.post("ada", "/api/concepts/store", "a lighthouse").short(), (201, None));
    api.process.logged(&["WARN", "Redis does not answer as yet"]);
    server.restart();
    until("attempts are counted", || api.post("ada", "/api/concepts/store", "a lighthouse").told().map(drop));
}

#[test]
fn a_frozen_redis_delays_nobody_for_long() {
    let (server, tasks) = (Server::start(), Folder::new());
    let api = Api::over(&server, &tasks, &[]);
    assert_eq!(api.get("ada", ALLOWS).short(), (200, Some(59)));
    server.freeze();
    // The first ones wait for it; then nobody does.
    let begun = std::time::Instant::now();
    for _ in 0..50 {
        assert_eq!(api.get("ada", ALLOWS).status, 200);
    }
    assert!(begun.elapsed().as_secs() < 20, "{:?}", begun.elapsed());
    server.thaw();
    until("requests are counted", || api.get("ada", ALLOWS).told().map(drop));
}

#[test]
fn a_409_with_the_store_away_is_a_409_all_the_same() {
    let (server, tasks) = (Server::start(), Folder::new());
    let api = Api::over(&server, &tasks, &[("WORKER", "elsewhere")]);
    api.submit("ada", "/api/concepts/generate", "hang");
    server.kill();
    assert_eq!(api.post("ada", "/api/concepts/generate", "hang").short(), (409, None));
    // By hand there is nothing to give back, which is said.
    let answer = api.send("POST", "ada", "/api/export/process", Some(json!({"concept": 0})));
    assert_eq!(answer.short(), (404, None));
    api.process.logged(&["WARN", "a refund was asked for with nothing charged"]);
}
