//! What operators see: logs and numbers.

use std::time::Duration;

use rebate_servers::Server;
use serde_json::json;

use crate::program::{Api, Folder, shipped_rules};

#[test]
fn prometheus_reads_decisions_refunds_and_the_stores_times() {
    let (server, tasks) = (Server::start(), Folder::new());
    let api = Api::over(&server, &tasks, &[("WORK_TIME", "0ms")]);
    for _ in 0..11 {
        api.post("ada", "/api/concepts/store", "a lighthouse");
    }
    let (_, task) = api.submit("ada", "/api/concepts/generate", "fail");
    api.wait("ada", &task, "refunded");
    api.submit("ada", "/api/concepts/generate", "hang");
    assert_eq!(api.post("ada", "/api/concepts/generate", "hang").status, 409);
    api.exports_left("ada");

    let numbers = api.numbers();
    for line in [
        r#"rebate_decisions_total{limit="/concepts/store",outcome="allowed"} 10"#,
        r#"rebate_decisions_total{limit="/concepts/store",outcome="denied"} 1"#,
        r#"rebate_decisions_total{limit="/concepts/generate",outcome="allowed"} 3"#,
        r#"rebate_refunds_total{cause="status",outcome="done"} 1"#,
        r#"rebate_refunds_total{cause="handler",outcome="done"} 1"#,
        r#"rebate_refunds_total{cause="task",outcome="done"} 1"#,
        r#"rebate_store_duration_seconds_count{operation="charge"} 15"#,
        r#"rebate_store_duration_seconds_count{operation="refund"} 2"#,
    ] {
        assert!(numbers.lines().any(|found| found == line), "{line} is not in\n{numbers}");
    }
    assert!(numbers.contains("# TYPE rebate_decisions_total counter"), "{numbers}");
    assert!(numbers.contains(r#"rebate_store_duration_seconds_bucket{operation="charge",le="0.5"} 15"#), "{numbers}");
    assert!(!numbers.contains("ada"), "no key is in a label: {numbers}");

    server.kill();
    assert_eq!(api.post("ada", "/api/concepts/store", "a lighthouse").short(), (201, None));
    assert_eq!(api.exports_left_unknown("ada"), 404);
    let numbers = api.numbers();
    for begin in [
        r#"rebate_decisions_total{limit="/concepts/store",outcome="unchecked"} 1"#,
        r#"rebate_refunds_total{cause="handler",outcome="not_charged"} 1"#,
        r#"rebate_store_failures_total{operation="charge",kind="unavailable"}"#,
    ] {
        assert!(numbers.lines().any(|line| line.starts_with(begin)), "{begin} is not in\n{numbers}");
    }
}

impl Api {
    /// As [`Api::exports_left`] while nobody knows; the status.
    fn exports_left_unknown(&self, user: &str) -> u16 {
        self.send("POST", user, "/api/export/process", Some(json!({"concept": 0}))).status
    }
}

/// The masked key of a line of the log.
fn key(line: &str) -> String {
    let key = line.split("key=").nth(1).expect("a key").split(' ').next().expect("its end");
    key.to_owned()
}

#[test]
fn a_refund_is_logged_at_debug_with_the_user_masked_the_same_each_time() {
    let tasks = Folder::new();
    let secret = [("MASK_SECRET", "of this deployment")];
    let seen = [secret, secret].map(|settings| {
        let api = Api::start(&Folder::new(), &settings);
        for user in ["ada", "grace", "ada"] {
            api.exports_left(user);
        }
        let log = api.process.stop();
        let lines: Vec<_> = log.lines().filter(|line| line.contains("rate limit refunded")).collect();
        assert!(lines.len() == 3 && lines.iter().all(|line| line.contains("DEBUG")), "{log}");
        assert!(!log.contains("ada") && !log.contains("grace"), "{log}");
        lines.into_iter().map(key).collect::<Vec<_>>()
    });
    let [first, second] = seen;
    assert_eq!(first, second, "by every process of a secret");
    assert!(first[0] == first[2] && first[0] != first[1], "{first:?}");
    assert!(first[0].len() == 8, "{first:?}");

    let api = Api::start(&tasks, &[("RUST_LOG", "info")]);
    api.exports_left("ada");
    let log = api.process.stop();
    assert!(!log.contains("refunded"), "not above its level: {log}");
}

#[test]
fn a_denial_is_logged_with_rule_and_limit() {
    let tasks = Folder::new();
    let api = Api::start(&tasks, &[]);
    for _ in 0..11 {
        api.post("ada", "/api/concepts/store", "a lighthouse");
    }
    let line = api.process.logged(&["rate limit exceeded"]);
    assert!(line.contains("INFO") && line.contains("/concepts/store") && line.contains("retry_after="), "{line}");
    assert!(!line.contains("ada"), "{line}");
}

#[test]
fn a_refund_asked_for_with_nothing_charged_is_a_warning() {
    let tasks = Folder::new();
    let api = Api::start(&tasks, &[("LIMITING", "off")]);
    assert_eq!(api.exports_left_unknown("ada"), 404);
    let line = api.process.logged(&["a refund was asked for with nothing charged"]);
    assert!(line.contains("WARN"), "{line}");
}

#[test]
fn a_refund_that_fails_is_an_error() {
    let (server, tasks) = (Server::start(), Folder::new());
    let rules = tasks.write("rules.toml", &shipped_rules().replace("[405, 409]", "[200]"));
    let api = Api::over(&server, &tasks, &[("RULES", &rules), ("WORK_TIME", "1s")]);
    api.post("ada", "/api/storage/store", "a lighthouse");
    let answer = std::thread::scope(|scope| {
        let request = scope.spawn(|| api.send("POST", "ada", "/api/export/process", Some(json!({"concept": 1}))));
        rebate_servers::until("the export is charged", || (api.exports_left("ada") == 49).then_some(()));
        server.kill();
        request.join().unwrap()
    });
    // What could not be given back is told as it was last heard: with the export, and perhaps with a look at it.
    assert!(matches!(answer.short(), (200, Some(48 | 49))), "{answer:?}");
    let line = api.process.logged(&["rate limit refund failed"]);
    assert!(line.contains("ERROR") && line.contains("status 200") && !line.contains("ada"), "{line}");
    let numbers = api.numbers();
    assert!(numbers.contains(r#"rebate_refunds_total{cause="status",outcome="failed"} 1"#), "{numbers}");
    assert!(numbers.contains(r#"rebate_store_failures_total{operation="refund",kind="unavailable"} 1"#), "{numbers}");
}

/// Requests under way end before the process does.
#[test]
fn it_ends_gracefully() {
    let tasks = Folder::new();
    let api = Api::start(&tasks, &[("WORK_TIME", "500ms")]);
    api.post("ada", "/api/storage/store", "a lighthouse");
    let body = r#"{"concept": 1}"#;
    let request = format!(
        "POST /api/export/process HTTP/1.1\r\nhost: api\r\nauthorization: Bearer ada\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut client = api.connect(request.as_bytes());
    rebate_servers::until("the export is charged", || (api.exports_left("ada") == 49).then_some(()));
    let begun = std::time::Instant::now();
    let log = api.process.stop();
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?} {log}", begun.elapsed());
    assert!(log.contains("ending") && !log.contains("broken off"), "{log}");
    let mut answer = String::new();
    std::io::Read::read_to_string(&mut client, &mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.contains("a lighthouse"), "{answer}");
}
