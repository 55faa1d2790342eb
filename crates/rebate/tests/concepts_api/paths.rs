//! Requests that try to slip past a rule, or into an exemption.

use crate::program::{Api, Folder};

/// All of them read, in one way or another, as `/api/concepts/store`.
const TRICKS: [&str; 10] = [
    "/api/concepts/store/",
    "/api//concepts/store",
    "//api/concepts/store",
    "/api/concepts/st%6fre",
    // Some proxies decode once more.
    "/api/concepts/st%256fre",
    "/api/concepts/./store",
    "/api/health/../concepts/store",
    "/docs/../api/concepts/store",
    "/api/auth/login/%2e%2e/%2E%2E/concepts/store?x=/api/health",
    "/api/health/%2e%2e%2fconcepts/store",
];

#[test]
fn no_spelling_of_a_path_is_cheaper() {
    let tasks = Folder::new();
    let api = Api::start(&tasks, &[]);
    for (number, target) in TRICKS.into_iter().enumerate() {
        let answer = api.raw("POST", "ada", target);
        assert_eq!(answer.told().map(|[_, left, _]| left), Some(9 - number as u64), "{target}: {answer:?}");
    }
    for target in TRICKS {
        assert_eq!(api.raw("POST", "ada", target).status, 429, "{target}");
    }
}

#[test]
fn no_form_of_a_request_escapes() {
    let tasks = Folder::new();
    let api = Api::start(&tasks, &[]);
    let left = |bytes: &str| api.raw_bytes(bytes.as_bytes()).told().map(|[_, left, _]| left);
    let ada = "authorization: Bearer ada\r\ncontent-length: 0\r\n";
    assert_eq!(left(&format!("POST /api/concepts/store HTTP/1.0\r\n{ada}\r\n")), Some(9), "no Host");
    let absolute = "POST http://elsewhere/api/concepts/store HTTP/1.1\r\nhost: api\r\nconnection: close\r\n";
    assert_eq!(left(&format!("{absolute}{ada}\r\n")), Some(8), "a whole URL");
    let forged = vec!["203.0.113.9"; 2_000].join(",");
    assert_eq!(
        left(&format!("POST /api/concepts/store HTTP/1.0\r\nx-forwarded-for: {forged}\r\n{ada}\r\n")),
        Some(7),
        "whoever claims to be elsewhere"
    );
    // Methods are case-sensitive: this one is no OPTIONS.
    assert_eq!(left(&format!("options /api/concepts/store HTTP/1.0\r\n{ada}\r\n")), Some(7), "a 405 gives back");
    assert_eq!(left(&format!("PURGE /api/concepts/store HTTP/1.0\r\n{ada}\r\n")), Some(7));
}

#[test]
fn other_paths_are_not_charged_for_it() {
    let tasks = Folder::new();
    let api = Api::start(&tasks, &[]);
    // A tail, a segment more, another case.
    for target in
        ["/api/concepts/storeroom", "/api/concepts/store/room", "/api/Concepts/Store", "/v2/api/concepts/store"]
    {
        assert_eq!(api.raw("POST", "ada", target).short(), (404, None), "{target}");
    }
    assert_eq!(api.post("ada", "/api/concepts/store", "a lighthouse").short(), (201, Some(9)));
}

#[test]
fn what_cannot_be_served_stops_nobody_else() {
    let tasks = Folder::new();
    let api = Api::start(&tasks, &[]);
    let long = "x".repeat(64 * 1024);
    for target in
        [format!("/api/concepts/{long}"), format!("/api/storage/concept/{}", "../".repeat(10_000)), "*".into()]
    {
        let answer = api.raw("POST", "ada", &target);
        assert!((400..500).contains(&answer.status), "{}: {}", &target[..20.min(target.len())], answer.status);
    }
    for bytes in
        [&b"\x00\xff\xfe\r\n\r\n"[..], b"POST\r\n\r\n", b"POST /api/concepts/store\xff HTTP/1.1\r\nhost: api\r\n\r\n"]
    {
        drop(api.connect(bytes));
    }
    assert_eq!(api.post("ada", "/api/concepts/store", "a lighthouse").short(), (201, Some(9)));
    let log = api.process.stop();
    assert!(!log.contains("panicked"), "{log}");
}
