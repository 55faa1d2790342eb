//! Settings, and what is wrong with them.

use crate::program::{Folder, finish, program};

#[test]
fn wrong_settings_are_named_all_at_once_with_what_would_be_right() {
    let tasks = Folder::new();
    let wrong = [
        ("LISTEN", "8080", "LISTEN `8080`: give an address and a port"),
        ("METRICS", "none", "METRICS `none`: give an address and a port, such as `127.0.0.1:8080`, or `off`"),
        ("STORE", "sqlite", "STORE: give `memory`, or a Redis server's URL"),
        ("LIMITING", "no", "LIMITING `no`: give `on` or `off`"),
        ("WORKER", "there", "WORKER `there`: give `here` or `elsewhere`"),
        ("WORK_TIME", "1 minute", "WORK_TIME `1 minute`: give a time such as `500ms`"),
        ("STUCK_AFTER", "-1s", "STUCK_AFTER `-1s`: give a time"),
        ("REFUND_ON_DISCONNECT", "1", "REFUND_ON_DISCONNECT `1`: give `on` or `off`"),
    ];
    let settings = wrong.map(|(name, value, _)| (name, value));
    let (status, _, log) = finish(program(&tasks, &settings));
    assert_eq!((status, log.lines().count()), (Some(2), wrong.len()), "{log}");
    for (line, (.., said)) in log.lines().zip(wrong) {
        assert!(line.starts_with(&format!("ERROR {said}")), "{line}");
    }
}

#[test]
fn a_wrong_store_is_refused_without_its_password() {
    let tasks = Folder::new();
    for store in ["redis://me:secret@:x/", "postgres://me:secret@db/", "secret"] {
        let (status, _, log) = finish(program(&tasks, &[("STORE", store)]));
        assert!(status.is_some_and(|status| status > 0) && log.contains("ERROR"), "{store}: {log}");
        assert!(!log.contains("secret"), "{log}");
    }
}

#[test]
fn wrong_rules_are_told_whole() {
    let tasks = Folder::new();
    let rules = tasks.write("rules.toml", "[[rule]]\npth = '/export'\nlimit = '50/huor'\n");
    let (status, _, log) = finish(program(&tasks, &[("RULES", &rules)]));
    assert_eq!(status, Some(1), "{log}");
    for part in [&*rules, "line 2, column 1", "line 3, column 13", "did you mean `path`?"] {
        assert!(log.contains(part), "{part}: {log}");
    }
    let (status, _, log) = finish(program(&tasks, &[("RULES", "/nowhere/rules.toml")]));
    assert!(status == Some(1) && log.contains("/nowhere/rules.toml cannot be read"), "{log}");
}

#[test]
fn it_says_how_it_is_used() {
    let tasks = Folder::new();
    for arguments in [&["--help"][..], &["worker", "now"]] {
        let mut command = program(&tasks, &[]);
        command.args(arguments);
        let (status, _, log) = finish(command);
        assert!(status == Some(2) && log.starts_with("usage: concepts_api [worker | sweep]"), "{log}");
    }
}
