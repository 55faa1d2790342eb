use super::*;

fn told(limit: usize, remaining: u64, seconds: u64) -> Told {
    Told { limit, remaining, seconds, denied: false }
}

fn denied(limit: usize, remaining: u64, seconds: u64) -> Told {
    Told { denied: true, ..told(limit, remaining, seconds) }
}

fn written(headers: Headers, told: &[Told]) -> Vec<String> {
    let limits = [("hour", "1000/hour"), ("day", "5000/day"), ("burst", "10/second burst 25")];
    let limits = limits.map(|(name, policy)| Limit::new(name, policy).unwrap());
    let mut map = HeaderMap::new();
    Writer::new(headers, 1, limits.iter()).write(0, told, &mut map);
    let mut lines: Vec<String> =
        map.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
    lines.sort();
    lines
}

fn policy(text: &str) -> String {
    Lines::of(&Limit::new("limit", text).unwrap()).policy.to_str().unwrap().to_owned()
}

#[test]
fn draft_11_lists_every_limit() {
    assert_eq!(
        written(Headers::draft_11(), &[told(0, 999, 3600), told(1, 100, 36_000)]),
        [
            r#"ratelimit-policy: "hour";q=1000;w=3600, "day";q=5000;w=86400"#,
            r#"ratelimit: "hour";r=999;t=3600, "day";r=100;t=36000"#
        ]
    );
    assert_eq!(
        written(Headers::draft_11(), &[told(1, 0, 1)]),
        [r#"ratelimit-policy: "day";q=5000;w=86400"#, r#"ratelimit: "day";r=0;t=1"#]
    );
}

#[test]
fn what_is_written_is_a_structured_field() {
    let lines = written(Headers::draft_11(), &[told(0, u64::MAX, u64::MAX), told(2, 7, 0)]);
    for line in lines {
        let (_, value) = line.split_once(": ").unwrap();
        let list: sfv::List = sfv::Parser::new(value).parse().expect(value);
        assert_eq!(list.len(), 2, "{value}");
    }
}

#[test]
fn in_a_denial_only_those_that_denied_tell_their_rest() {
    assert_eq!(
        written(Headers::draft_11(), &[denied(0, 0, 30), told(1, 100, 36_000)]),
        [r#"ratelimit-policy: "hour";q=1000;w=3600, "day";q=5000;w=86400"#, r#"ratelimit: "hour";r=0;t=30"#]
    );
}

#[test]
fn a_limit_charged_for_two_keys_is_told_once_by_the_one_closer_to_exhaustion() {
    assert_eq!(
        written(Headers::draft_11(), &[told(0, 5, 10), told(1, 9, 10), told(0, 4, 10)]),
        [
            r#"ratelimit-policy: "day";q=5000;w=86400, "hour";q=1000;w=3600"#,
            r#"ratelimit: "day";r=9;t=10, "hour";r=4;t=10"#
        ]
    );
}

#[test]
fn three_headers_tell_the_limit_closest_to_exhaustion() {
    let three = |limit: u64, remaining: u64, reset: u64| {
        [
            format!("x-ratelimit-limit: {limit}"),
            format!("x-ratelimit-remaining: {remaining}"),
            format!("x-ratelimit-reset: {reset}"),
        ]
    };
    assert_eq!(written(Headers::x_ratelimit(), &[told(0, 7, 60), told(1, 3, 600)]), three(5000, 3, 600));
    // Of two that have as little left the one that takes longer.
    assert_eq!(written(Headers::x_ratelimit(), &[told(0, 3, 60), told(1, 3, 600)]), three(5000, 3, 600));
    // A denial is explained by the limit that denied for longest, however much it has left.
    assert_eq!(written(Headers::x_ratelimit(), &[told(0, 0, 60), denied(1, 3, 5), denied(2, 0, 2)]), three(5000, 3, 5));
}

#[test]
fn a_prefix_of_ones_own_and_both_kinds_at_once() {
    assert_eq!(
        written(Headers::prefixed("X-AI-Quota").unwrap(), &[told(2, 24, 1)]),
        ["x-ai-quota-limit: 25", "x-ai-quota-remaining: 24", "x-ai-quota-reset: 1"]
    );
    assert_eq!(written(Headers::draft_11().and(Headers::x_ratelimit()), &[told(2, 24, 1)]).len(), 5);
    assert_eq!(written(Headers::none(), &[told(2, 24, 1)]), [""; 0]);
    assert_eq!(written(Headers::draft_11().and(Headers::x_ratelimit()), &[]), [""; 0], "of nothing nothing is told");
    for prefix in ["X Quota", "X-Kvóta", "X:"] {
        assert!(Headers::prefixed(prefix).unwrap_err().is_invalid(), "{prefix}");
    }
}

#[test]
fn a_policy_says_its_window_where_it_has_one() {
    for (text, line) in [
        ("60/minute", r#""limit";q=60;w=60"#),
        ("5/1500ms", r#""limit";q=5;w=2"#),
        ("5/10ms", r#""limit";q=5;w=1"#),
        ("10/month", r#""limit";q=10"#),
        ("30/24h from first", r#""limit";q=30;w=86400"#),
        ("100/minute sliding", r#""limit";q=100;w=60"#),
        ("100/minute sliding log", r#""limit";q=100;w=60"#),
        ("10/second burst 20", r#""limit";q=20;w=2"#),
        ("3 at once for 10m", r#""limit";q=3;qu="concurrent-requests""#),
        ("4503599627370496/day", r#""limit";q=999999999999999;w=86400"#),
    ] {
        assert_eq!(policy(text), line, "{text}");
    }
}

#[test]
fn numbers_are_written_as_they_are() {
    for value in (0..=10_100).chain([u64::MAX]) {
        assert_eq!(number(value).to_str().unwrap(), value.to_string());
    }
}

#[test]
fn what_was_written_for_a_rule_is_not_taken_for_other_limits() {
    let limits = [("free", "10/day"), ("pro", "1000/day"), ("burst", "5/second")];
    let limits = limits.map(|(name, policy)| Limit::new(name, policy).unwrap());
    let writer = Writer::new(Headers::draft_11(), 2, limits.iter());
    let policies = |rule, told: &[Told]| {
        let mut map = HeaderMap::new();
        writer.write(rule, told, &mut map);
        map["ratelimit-policy"].to_str().unwrap().to_owned()
    };
    for _ in 0..2 {
        assert_eq!(policies(0, &[told(0, 1, 1), told(2, 1, 1)]), r#""free";q=10;w=86400, "burst";q=5;w=1"#);
        assert_eq!(policies(0, &[told(1, 1, 1), told(2, 1, 1)]), r#""pro";q=1000;w=86400, "burst";q=5;w=1"#);
        assert_eq!(policies(1, &[told(2, 1, 1), told(1, 1, 1)]), r#""burst";q=5;w=1, "pro";q=1000;w=86400"#);
    }
}
