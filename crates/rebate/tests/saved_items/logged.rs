//! Breaches are logged, and nobody is named.

use std::io::Write;
use std::sync::{Mutex, Once};

use crate::scene::Scene;

static LOG: Mutex<Vec<u8>> = Mutex::new(Vec::new());

struct Log;

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        LOG.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// The lines of the log that hold `part`: of all tests of this process.
fn lines(part: &str) -> Vec<String> {
    let log = String::from_utf8(LOG.lock().unwrap().clone()).expect("text");
    log.lines().filter(|line| line.contains(part)).map(str::to_owned).collect()
}

#[test]
fn breaches_are_logged_and_nobody_is_named() {
    static BEGUN: Once = Once::new();
    BEGUN.call_once(|| tracing_subscriber::fmt().with_writer(|| Log).with_ansi(false).init());
    // Quotas that no other test has.
    let scene = Scene::new(None, "4/day");
    for number in 0..4 {
        assert_eq!(scene.save("somebody", &format!("request-{number}")).status, if number < 3 { 202 } else { 429 });
    }
    scene.enrich();
    assert_eq!(scene.save("somebody", "request-3").status, 202);
    assert_eq!(scene.save("somebody", "request-4").denied().0, "DAILY_QUOTA_EXCEEDED");
    let daily = lines("DAILY_QUOTA_EXCEEDED").into_iter().find(|line| line.contains("used=4 quota=4")).expect("logged");
    let mask = |line: &str| line.split_once("user=").map(|(_, rest)| rest[..10].to_owned()).expect("a mask");
    assert!(daily.contains("WARN") && daily.contains(r#"plan="free""#), "{daily}");
    let at_once = lines("CONCURRENCY_LIMIT_EXCEEDED");
    assert!(at_once.iter().any(|line| line.contains("WARN") && mask(line) == mask(&daily)), "{at_once:?}");
    assert_eq!(lines("somebody"), Vec::<String>::new());
}
