//! What each kind of line is read as.

use rebate_cli::{Format, KeyField, LineParser, ParsedLine, Shape, TimeUnit, parse_line};

const GOOD: &str = r#"192.0.2.7 - jo [17/May/2015:10:05:03 +0000] "GET /a?b=1 HTTP/1.1" 200 512 "-" "curl/8""#;
const AT: u64 = 1_431_857_103_000_000;

fn read(line: &[u8], key: KeyField) -> Result<(u64, u16, Option<String>), String> {
    read_as(line, Shape { key, ..Shape::default() })
}

fn read_as(line: &[u8], shape: Shape) -> Result<(u64, u16, Option<String>), String> {
    match LineParser::new(shape).parse(line) {
        Ok(Some(ParsedLine { micros, status, key })) => {
            Ok((micros, status, key.map(|key| String::from_utf8_lossy(&key).into_owned())))
        }
        Ok(None) => Err("blank".into()),
        Err(bad) => Err(bad.to_string()),
    }
}

fn key(line: &str, field: KeyField) -> Option<String> {
    read(line.as_bytes(), field).expect("a good line").2
}

fn time(text: &str) -> Result<u64, String> {
    read(GOOD.replace("17/May/2015:10:05:03 +0000", text).as_bytes(), KeyField::Ip).map(|(micros, ..)| micros)
}

#[test]
fn each_field_can_be_the_key() {
    let keys = [KeyField::Ip, KeyField::User, KeyField::Path, KeyField::Method, KeyField::Agent];
    let told = keys.map(|field| key(GOOD, field).expect("a key"));
    assert_eq!(told, ["192.0.2.7", "jo", "/a", "GET", "curl/8"]);
    assert_eq!(read(GOOD.as_bytes(), KeyField::Ip).map(|(micros, status, _)| (micros, status)), Ok((AT, 200)));
    assert_eq!(key(&GOOD.replace("192.0.2.7", "2001:db8::7"), KeyField::Ip).as_deref(), Some("2001:db8::7"));
    assert_eq!(key(&GOOD.replace(" jo ", " jo ann "), KeyField::User).as_deref(), Some("jo ann"));
}

#[test]
fn what_is_not_known_is_no_key() {
    assert_eq!(key(&GOOD.replace(" jo ", " - "), KeyField::User), None);
    assert_eq!(key(&GOOD.replace("GET /a?b=1 HTTP/1.1", "-"), KeyField::Path), None);
    assert_eq!(key(&GOOD.replace("GET /a?b=1 HTTP/1.1", "-"), KeyField::Method), None);
    assert_eq!(key(&GOOD.replace("GET /a?b=1 HTTP/1.1", ""), KeyField::Path), None);
    assert_eq!(key(&GOOD.replace("curl/8", "-"), KeyField::Agent), None);
    assert_eq!(key(&GOOD.replace("192.0.2.7", "-"), KeyField::Ip), None);
}

#[test]
fn quotes_within_quotes() {
    let agent = |text: &str| key(&GOOD.replace("curl/8", text), KeyField::Agent);
    assert_eq!(agent(r#"a \"b\" c"#).as_deref(), Some(r#"a \"b\" c"#), "escapes are kept");
    assert_eq!(agent(r"back\\").as_deref(), Some(r"back\\"));
    let path = |text: &str| key(&GOOD.replace("/a?b=1", text), KeyField::Path);
    assert_eq!(path(r#"/a\"b"#).as_deref(), Some(r#"/a\"b"#));
    assert_eq!(path(r#"/a"b"#).as_deref(), Some(r#"/a"b"#), "a server that does not escape them");
    assert_eq!(path("/only").as_deref(), Some("/only"));
}

#[test]
fn common_and_combined_line_ends_and_what_follows() {
    let common = GOOD.split(r#" "-""#).next().expect("a beginning");
    for line in [
        common.to_owned(),
        format!("{GOOD}\r\n"),
        format!("{GOOD}\n"),
        format!("{GOOD} 0.003 more"),
        format!("  {GOOD}"),
    ] {
        assert_eq!(read(line.as_bytes(), KeyField::Ip), Ok((AT, 200, Some("192.0.2.7".into()))), "{line}");
    }
    let no_bytes = common.strip_suffix(" 512").expect("the bytes");
    assert_eq!(read(no_bytes.as_bytes(), KeyField::Ip), Ok((AT, 200, Some("192.0.2.7".into()))));
    assert!(read(common.as_bytes(), KeyField::Agent).expect_err("no agent").contains("not Combined"));
    for blank in ["", "\n", "\r\n", "   \t"] {
        assert_eq!(read(blank.as_bytes(), KeyField::Ip), Err("blank".into()));
    }
}

#[test]
fn statuses() {
    let status = |text: &str| read(GOOD.replace(" 200 ", text).as_bytes(), KeyField::Ip).map(|(_, status, _)| status);
    assert_eq!([" 499 ", " 999 ", " - ", " 0 ", " 000 "].map(status), [499, 999, 0, 0, 0].map(Ok));
    for bad in [" 20 ", " 2000 ", " abc ", " -1 ", "  "] {
        assert!(status(bad).is_err(), "{bad}");
    }
}

#[test]
fn times_of_the_common_format() {
    assert_eq!(time("17/May/2015:10:05:03 +0000"), Ok(AT));
    assert_eq!(time("17/May/2015:12:05:03 +0200"), Ok(AT));
    assert_eq!(time("17/May/2015:04:35:03 -0530"), Ok(AT));
    assert_eq!(time("17/May/2015:10:05:03.25 +0000"), Ok(AT + 250_000));
    assert_eq!(time("01/Jan/1970:00:00:00 +0000"), Ok(0));
    assert_eq!(time("29/Feb/2016:00:00:00 +0000"), Ok(1_456_704_000_000_000));
    assert_eq!(time("30/Jun/2015:23:59:60 +0000"), time("30/Jun/2015:23:59:59 +0000"), "a leap second");
    assert!(time("31/Dec/1969:23:59:59 +0000").expect_err("too early").contains("before 1970"));
    assert!(time("01/Jan/1970:00:00:00 +0100").expect_err("too early").contains("before 1970"));
    assert!(time("31/Dec/9999:23:59:59 +0000").expect_err("too late").contains("2112"));
    for bad in [
        "17/May/2015:10:05:03",
        "17/May/2015:10:05:03 UTC",
        "17/Mai/2015:10:05:03 +0000",
        "32/May/2015:10:05:03 +0000",
        "29/Feb/2015:10:05:03 +0000",
        "17/May/2015:24:05:03 +0000",
        "17/May/2015:10:60:03 +0000",
        "17/May/2015:10:05:61 +0000",
        "17/May/2015:10:05:03 +2400",
        "17/May/2015:10:05:03 +0060",
        "7/May/2015:10:05:03 +0000",
        "17/May/15:10:05:03 +0000",
        "",
        "17/May/2015",
        "2015-05-17T10:05:03Z",
        "17/May/-015:10:05:03 +0000",
    ] {
        assert!(time(bad).expect_err(bad).contains("the form"), "{bad}");
    }
}

#[test]
fn broken_lines_say_what_is_missing() {
    let pieces = ["192.0.2.7", " - jo", " [17/May/2015:10:05:03 +0000", "]", " \"GET / HTTP/1.1", "\"", " 200"];
    let reasons =
        ["after the host", "no time in brackets", "not closed", "no request", "no request in quotes", "no status"];
    for (count, reason) in (1..).zip(reasons) {
        let line = pieces[..count].concat();
        assert!(read(line.as_bytes(), KeyField::Ip).expect_err(&line).contains(reason), "{line}");
    }
    assert!(read(pieces.concat().as_bytes(), KeyField::Ip).is_ok());
}

#[test]
fn any_bytes_make_no_panic() {
    let mut line = GOOD.as_bytes().to_vec();
    line[0..4].copy_from_slice(b"\xff\xfe\x00 ");
    assert!(read(&line, KeyField::Ip).is_ok(), "an address of any bytes");
    let mut seed = 1_u64;
    let json = br#"{"time":"2015-05-17T10:05:03Z","ip":"a","status":200}"#;
    for round in 0..200_000_usize {
        let mut line = if round % 2 == 0 { GOOD.as_bytes().to_vec() } else { json.to_vec() };
        for _ in 0..1 + round % 4 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let at = (seed >> 33) as usize % line.len();
            line[at] = (seed >> 24) as u8;
        }
        line.truncate((seed >> 40) as usize % (line.len() + 20));
        let _ = parse_line(&line);
        let _ = LineParser::new(Shape { key: KeyField::Agent, ..Shape::default() }).parse(&line);
    }
}

#[test]
fn a_key_or_a_line_that_is_too_long() {
    let long = |length| GOOD.replace("curl/8", &"x".repeat(length));
    assert_eq!(key(&long(65_536), KeyField::Agent).map(|key| key.len()), Some(65_536));
    assert!(read(long(65_537).as_bytes(), KeyField::Agent).expect_err("too long").contains("65537 bytes"));
    assert!(read(long(65_537).as_bytes(), KeyField::Ip).is_ok());
    assert!(read(long(1 << 20).as_bytes(), KeyField::Ip).expect_err("too long").contains("1 MiB"));
}

fn json(line: &str) -> Result<(u64, u16, Option<String>), String> {
    read(line.as_bytes(), KeyField::Ip)
}

fn json_time(text: &str, time_unit: TimeUnit) -> Result<u64, String> {
    let line = format!(r#"{{"time":{text},"ip":"a"}}"#);
    read_as(line.as_bytes(), Shape { time_unit, ..Shape::default() }).map(|(micros, ..)| micros)
}

#[test]
fn json_lines() {
    let good = Ok((AT, 200, Some("a".into())));
    assert_eq!(json(r#"{"time":"2015-05-17T10:05:03Z","ip":"a","status":200}"#), good);
    assert_eq!(
        json(r#" { "status" : "200" , "x":[{"ip":"b"}], "ip":"a", "time":"2015-05-17T12:05:03+02:00" } "#),
        good
    );
    assert_eq!(json(r#"{"time":"2015-05-17T10:05:03Z","ip":"b","ip":"a","status":200}"#), good, "the last counts");
    assert_eq!(json(r#"{"time":0,"ip":"\u0061\n"}"#), Ok((0, 0, Some("a\n".into()))));
    assert_eq!(json(r#"{"time":0,"ip":""}"#), Ok((0, 0, Some(String::new()))), "an empty key is a key");
    assert_eq!(json(r#"{"time":0,"ip":12345678901234567890123}"#), Ok((0, 0, Some("12345678901234567890123".into()))));
    assert_eq!(json(r#"{"time":0,"ip":true}"#), Ok((0, 0, Some("true".into()))));
    assert_eq!(json(r#"{"time":0,"ip":null,"status":null}"#), Ok((0, 0, None)));
    assert_eq!(json(r#"{"time":0,"ip":"-"}"#), Ok((0, 0, None)));
}

#[test]
fn json_lines_that_are_bad() {
    for (line, reason) in [
        (r#"{"ip":"a"}"#, "no field `time`"),
        (r#"{"time":0}"#, "no field `ip`"),
        (r#"{"time":0,"ip":["a"]}"#, "is a list"),
        (r#"{"time":{},"ip":"a"}"#, "the time is an object"),
        (r#"{"time":null,"ip":"a"}"#, "the time is null"),
        (r#"{"time":"soon","ip":"a"}"#, "not RFC 3339"),
        (r#"{"time":"2015-05-17T10:05:03","ip":"a"}"#, "not RFC 3339"),
        (r#"{"time":-1,"ip":"a"}"#, "before 1970"),
        (r#"{"time":0,"ip":"a","status":"ok"}"#, "three digits"),
        (r#"{"time":0,"ip":"a""#, "not a JSON object"),
        (r#"{"time":0,"ip":"a"} x"#, "not a JSON object"),
        ("{\"time\":0,\"ip\":\"\u{1}\"}", "not a JSON object"),
    ] {
        assert!(json(line).expect_err(line).contains(reason), "{line}: {:?}", json(line));
    }
    assert!(read(b"{\"time\":0,\"ip\":\"\xff\"}", KeyField::Ip).is_err(), "not UTF-8");
    let list = read_as(b"[1]", Shape { format: Format::Json, ..Shape::default() });
    assert!(list.expect_err("a list").contains("not a JSON object"));
    assert!(json(&format!("{{\"a\":{}", "[".repeat(100_000))).is_err(), "deep nesting");
}

#[test]
fn fields_within_objects() {
    let shape = Shape {
        time_field: "log.at".into(),
        key_field: "http.client.id".into(),
        status_field: "http.status".into(),
        ..Shape::default()
    };
    let read = |line: &str| read_as(line.as_bytes(), shape.clone());
    let good = Ok((0, 409, Some("a".into())));
    assert_eq!(read(r#"{"log":{"at":0},"http":{"status":409,"client":{"id":"a","x":1}}}"#), good);
    assert_eq!(read(r#"{"log.at":0,"http.client":{"id":"a"},"http":{"status":409}}"#), good, "names that hold dots");
    assert!(read(r#"{"log":{"at":0},"http":{"client":"a"}}"#).expect_err("no key").contains("`http.client.id`"));
}

#[test]
fn numbers_as_times() {
    use TimeUnit::*;
    assert_eq!(json_time("1431857103", Auto), Ok(AT));
    assert_eq!(json_time("1431857103000", Auto), Ok(AT));
    assert_eq!(json_time("1431857103000000", Auto), Ok(AT));
    assert_eq!(json_time("1431857103000000000", Auto), Ok(AT));
    assert_eq!(json_time("1431857103.25", Auto), Ok(AT + 250_000));
    assert_eq!(json_time("1431857103.0000019", Auto), Ok(AT + 1));
    assert_eq!(json_time("\"1431857103.250\"", Auto), Ok(AT + 250_000));
    assert_eq!(json_time("1.431857103e9", Auto), Ok(AT));
    assert_eq!(json_time("1431857103250.5", Ms), Ok(AT + 250_500));
    assert_eq!([S, Ms, Us, Ns].map(|unit| json_time("5000", unit)), [5_000_000_000, 5_000_000, 5000, 5].map(Ok));
    assert_eq!(json_time("\"17/May/2015:10:05:03 +0000\"", Auto), Ok(AT), "as nginx writes $time_local");
    assert!(json_time("4503599627370497", Us).expect_err("too late").contains("2112"));
    assert_eq!(json_time("4503599627370496", Us), Ok(1 << 52));
    for bad in ["1e400", "99999999999999999999999999", "\"1-2\"", "\"\"", "\"1.2.3\"", "-1e300", "1e300"] {
        assert!(json_time(bad, Auto).is_err(), "{bad}");
    }
}
