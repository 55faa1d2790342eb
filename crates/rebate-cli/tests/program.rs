//! The program as its user meets it.

mod support {
    pub(crate) mod line;
    pub(crate) mod program;
    pub(crate) mod replay;
    pub(crate) mod run;
}

use std::io::{Read, Write};
use std::process::{Command, Stdio};

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::Value;
use support::line::line;
use support::replay::{replay, replay_output};
use support::run::run;

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn requests_are_charged_in_the_order_of_time_and_ties_in_that_of_lines() {
    // In the order of time the second of 10:00:00 is denied; at 10:00:05 a refund makes room.
    let log = [
        line("a", "10:00:05", 409),
        line("a", "10:00:00", 200),
        line("a", "10:00:00", 409),
        line("a", "10:00:05", 200),
    ];
    let told = replay(&["--limit=1/5s", "--refund-status=409", "-"], log.concat().as_bytes());
    assert_eq!((&told["allowed"], &told["denied"], &told["refunded"]), (&3.into(), &1.into(), &1.into()));
    let swapped = [line("a", "10:00:00", 409), line("a", "10:00:00", 200)].concat();
    let told = replay(&["--limit=1/5s", "--refund-status=4xx", "-"], swapped.as_bytes());
    assert_eq!((&told["allowed"], &told["denied"], &told["refunded"]), (&2.into(), &0.into(), &1.into()));
}

#[test]
fn ties_keep_the_order_of_lines_however_far_apart_they_are() {
    // Some megabytes of other keys between the two lines: several chunks, read by several threads.
    let others: String = (0..60_000).map(|key| line(&format!("key-{key}"), "10:00:00", 200)).collect();
    for (first, last, denied) in [(409, 200, 0), (200, 409, 1)] {
        let log = line("a", "10:00:00", first) + &others + &line("a", "10:00:00", last);
        let told = replay(&["--limit=1/minute", "--refund-status=409", "-"], log.as_bytes());
        assert_eq!((&told["keys"], &told["denied"]), (&60_001.into(), &denied.into()));
    }
}

#[test]
fn the_report_names_who_was_denied_when_and_for_how_long() {
    let log: String =
        ["10:00:00", "10:00:10", "10:00:20", "10:01:05", "10:02:00", "10:02:30"].map(|at| line("a", at, 200)).concat()
            + &line("b", "10:00:00", 200);
    let told = replay(&["--limit=tight=1/minute", "-"], log.as_bytes());
    assert_eq!(told["requests"], 7);
    assert_eq!(told["keys"], 2);
    assert_eq!(told["denied_keys"], 1);
    assert_eq!((&told["first"], &told["last"]), (&"2015-05-17T10:00:00Z".into(), &"2015-05-17T10:02:30Z".into()));
    let key = &told["most_denied"][0];
    assert_eq!((&key["key"], &key["requests"], &key["denied"]), (&"a".into(), &6.into(), &3.into()));
    assert_eq!((&key["first"], &key["last"]), (&"2015-05-17T10:00:10Z".into(), &"2015-05-17T10:02:30Z".into()));
    // From 10:00:10 to 10:01:00, and from 10:02:30 to 10:03:00.
    assert_eq!(key["shut_out_seconds"], 80.0);
    assert_eq!(key["denied_by"]["tight"], 3);
    assert_eq!(told["limits"][0]["limit"], "tight");
    assert_eq!(told["limits"][0]["policy"], "1/minute");
    assert_eq!(told["limits"][0]["smallest_quota"], 3);
    assert_eq!(told["limits"][0]["smallest_policy"], "3/minute");
}

#[test]
fn a_limit_without_a_name_is_called_as_its_policy() {
    let told = replay(&["-l", "5 / minute", "-l", "3/100µs", "-"], b"");
    assert_eq!((&told["limits"][0]["limit"], &told["limits"][1]["limit"]), (&"5 / minute".into(), &"3/100us".into()));
    assert_eq!((&told["requests"], &told["keys"]), (&0.into(), &0.into()));
    assert_eq!(told["limits"][0]["smallest_quota"], 1);
    assert_eq!(told["first"], Value::Null);
}

#[test]
fn a_bucket_that_no_burst_can_make_large_enough_has_no_smallest_quota() {
    let log: String = (0..60).map(|second| line("a", &format!("10:00:{second:02}"), 200)).collect();
    let told = replay(&["--limit=1/36525d burst 1", "-"], log.as_bytes());
    assert_eq!((&told["limits"][0]["smallest_quota"], &told["denied"]), (&Value::Null, &59.into()));
    let table = run(&["replay", "--limit=1/36525d burst 1", "-"], log.as_bytes());
    assert!(text(&table.stdout).contains("none"), "{}", text(&table.stdout));
}

#[test]
fn bad_lines_are_counted_shown_and_not_fatal() {
    let log = format!("{}nonsense\n\n{}one more \x1b[31m\n", line("a", "10:00:00", 200), line("-", "10:00:00", 200));
    let output = replay_output(&["--limit=1/minute", "-"], log.as_bytes());
    assert_eq!(output.status.code(), Some(0));
    let told: Value = serde_json::from_slice(&output.stdout).expect("one JSON object");
    assert_eq!((&told["requests"], &told["bad_lines"], &told["without_key"]), (&1.into(), &2.into(), &1.into()));
    assert_eq!(told["lines"], 5);
    let errors = text(&output.stderr);
    assert!(errors.contains("standard input: line 2: nothing after the host\n  nonsense\n"), "{errors}");
    assert!(errors.contains("line 5: ") && !errors.contains('\x1b'), "nothing that a terminal obeys: {errors}");
    let many = "bad\n".repeat(5000);
    let errors = text(&replay_output(&["--limit=1/minute", "-"], many.as_bytes()).stderr);
    assert!(errors.contains("and 4,995 more") && errors.contains("no line could be read"), "{errors}");
}

#[test]
fn strict_stops_at_the_first_bad_line() {
    let log: String = (0..60_000)
        .map(|at| if at > 40_000 && at % 7 == 0 { "bad\n".into() } else { line("a", "10:00:00", 200) })
        .collect();
    let output = replay_output(&["--strict", "--limit=1/minute", "-"], log.as_bytes());
    assert_eq!((output.status.code(), text(&output.stdout).as_str()), (Some(1), ""));
    assert!(text(&output.stderr).starts_with("error: standard input: line 40,006: "), "{}", text(&output.stderr));
}

#[test]
fn gzip_is_known_by_its_first_bytes() {
    let pack = |text: &str| {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(text.as_bytes()).and_then(|()| encoder.finish()).expect("memory can be written")
    };
    // Two files packed apart are read as one.
    let packed = [pack(&line("a", "10:00:00", 200)), pack(&line("a", "10:00:01", 200).repeat(9))].concat();
    let told = replay(&["--limit=1/minute", "-"], &packed);
    assert_eq!((&told["requests"], &told["denied"]), (&10.into(), &9.into()));
    let file = std::env::temp_dir().join(format!("rebate-{}.log.gz", std::process::id()));
    std::fs::write(&file, &packed).expect("a file can be written");
    let told = replay(&["--limit=1/minute".as_ref(), file.as_os_str()], b"");
    std::fs::remove_file(&file).expect("the file can be removed");
    assert_eq!(told["requests"], 10);
    let output = replay_output(&["--limit=1/minute", "-"], &packed[..packed.len() - 9]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("cannot read standard input"), "{}", text(&output.stderr));
}

#[test]
fn json_lines_by_their_fields() {
    let log = "{\"ts\":1431857103,\"user\":{\"id\":7},\"code\":500}\n{\"ts\":1431857103.5,\"user\":{\"id\":7},\"code\":200}\n";
    let fields = [
        "--time-field=ts",
        "--key-field=user.id",
        "--status-field=code",
        "--refund-status=500",
        "--limit=1/minute",
        "-",
    ];
    let told = replay(&fields, log.as_bytes());
    assert_eq!((&told["allowed"], &told["refunded"], &told["bad_lines"]), (&2.into(), &1.into(), &0.into()));
    let told = replay(&["--key=user", "--limit=1/minute", "-"], br#"{"time":0,"user":"a"}"#);
    assert_eq!((&told["requests"], &told["keys"]), (&1.into(), &1.into()), "--key names the field");
}

#[test]
fn a_byte_order_mark_and_windows_line_breaks() {
    let log = format!("\u{feff}{}", line("a", "10:00:00", 200).replace('\n', "\r\n").repeat(3));
    let told = replay(&["--limit=1/minute", "-"], log.as_bytes());
    assert_eq!((&told["keys"], &told["requests"], &told["bad_lines"]), (&1.into(), &3.into(), &0.into()));
}

#[test]
fn keys_are_told_apart_by_every_byte() {
    let mut log = Vec::new();
    for key in [&b"\xff"[..], b"\xfe", b"a\0", b"a", &[b'x'; 24], &[b'x'; 25], &[b'x'; 300]] {
        log.extend([key, line("", "10:00:00", 200).as_bytes()].concat().repeat(2));
    }
    let told = replay(&["--limit=1/minute", "-"], &log);
    assert_eq!((&told["keys"], &told["denied"], &told["bad_lines"]), (&7.into(), &7.into(), &0.into()));
}

#[test]
fn wrong_command_lines_say_so() {
    for (arguments, says) in [
        (&["replay", "-"][..], "--limit"),
        (&["replay", "--limit", "10/fortnight", "-"], "a unit of time"),
        (&["replay", "--limit", "0/day", "-"], "a quota of 0"),
        (&["replay", "--limit", "1/day", "--limit", "1/day", "-"], "two limits are called `1/day`"),
        (&["replay", "--limit", "a\"b=1/day", "-"], "cannot hold"),
        (&["replay", "--limit", "1/day", "--refund-status", "4", "-"], "three digits"),
        (&["replay", "--limit", "1/day", "--tolerate", "101", "-"], "0 to 100"),
        (&["replay", "--limit", "1/day", "--key", "colour", "-"], "possible values"),
        (&["replay", "--limit", "1/day"], "<FILE>"),
    ] {
        let output = run(arguments, b"");
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(text(&output.stderr).contains(says), "{arguments:?}: {}", text(&output.stderr));
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn a_file_that_cannot_be_read_says_which_and_why() {
    for (file, says) in [("/no/such/file", "cannot read /no/such/file: No such file"), ("/", "it is a directory")] {
        let output = run(&["replay", "--limit=1/day", file], b"");
        assert_eq!(output.status.code(), Some(1));
        assert!(text(&output.stderr).contains(says), "{}", text(&output.stderr));
    }
}

#[test]
fn the_table_for_people() {
    let log = [line("a", "10:00:00", 200).repeat(1200), line("b\x1b", "10:00:00", 200).repeat(3)].concat();
    let output = run(&["replay", "--limit=2/minute", "-"], log.as_bytes());
    let table = text(&output.stdout);
    for says in
        ["1,203 requests of 2 keys (ip)", "99.67 %", "1,199", "1,200/minute", "2015-05-17T10:00:00Z", "b\\u{1b}"]
    {
        assert!(table.replace("1200/minute", "1,200/minute").contains(says), "{says} in {table}");
    }
    assert!(output.stderr.is_empty(), "no bar where there is no terminal: {}", text(&output.stderr));
}

#[test]
fn a_reader_that_goes_away_is_no_trouble() {
    let log: String = (0..3000).map(|key| line(&format!("key-{key}"), "10:00:00", 200).repeat(2)).collect();
    let mut child = Command::new(env!("CARGO_BIN_EXE_rebate"))
        .args(["replay", "--limit=1/day", "--top=3000", "--json", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    drop(child.stdout.take());
    child.stdin.take().expect("piped").write_all(log.as_bytes()).expect("the program reads");
    let mut errors = String::new();
    child.stderr.take().expect("piped").read_to_string(&mut errors).expect("text");
    assert_eq!((child.wait().expect("the program ends").code(), errors.as_str()), (Some(0), ""));
}
