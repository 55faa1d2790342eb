//! No path slips past its rule or into an exemption, however it is written.

use proptest::prelude::*;
use rebate_rules::{Chosen, Rule, Rules};

fn rules() -> Rules {
    let rules = Rules::builder()
        .base("/api")
        .exempt_path("/health")
        .exempt_prefix("/auth")
        .exempt_path("/open/{name}")
        .exempt_method("OPTIONS")
        .rule(Rule::path("/generate").limit("10/month"))
        .rule(Rule::path("/generate/{id}/again").limit("10/month"))
        .rule(Rule::prefix("/storage").limit("60/minute"))
        .rule(Rule::path("/storage/recent").limit("30/minute").methods(["GET"]))
        .rule(Rule::path("/auth/admin").limit("5/minute"));
    rules.build().expect("sound rules")
}

/// The names of the rules that charge a request; empty where it is not charged.
fn charged<'r>(rules: &'r Rules, method: &str, path: &str) -> Vec<&'r str> {
    match rules.choose(method, path) {
        Chosen::Charged(charge) => charge.rules().map(|rule| rule.name()).collect(),
        _ => Vec::new(),
    }
}

#[test]
fn a_plain_path_is_charged_by_the_most_specific_rule_alone() {
    let rules = rules();
    assert_eq!(charged(&rules, "POST", "/api/generate"), ["/generate"]);
    assert_eq!(charged(&rules, "POST", "/api/generate/7/again"), ["/generate/{id}/again"]);
    assert_eq!(charged(&rules, "GET", "/api/storage"), ["/storage"]);
    assert_eq!(charged(&rules, "GET", "/api/storage/a/b"), ["/storage"]);
    assert_eq!(charged(&rules, "GET", "/api/storage/recent"), ["/storage/recent"]);
    assert_eq!(charged(&rules, "POST", "/api/storage/recent"), ["/storage"]);
    assert_eq!(charged(&rules, "GET", "/api/auth/admin"), ["/auth/admin"]);
    assert!(matches!(rules.choose("POST", "/api/generate-with-palettes"), Chosen::NoRule));
    assert!(matches!(rules.choose("POST", "/api/storagex"), Chosen::NoRule));
    assert!(matches!(rules.choose("POST", "/api"), Chosen::NoRule));
    assert!(matches!(rules.choose("POST", "/apix/generate"), Chosen::Outside));
    assert!(matches!(rules.choose("POST", "/docs"), Chosen::Outside));
    assert!(matches!(rules.choose("GET", "/api/health"), Chosen::Exempt(_)));
    assert!(matches!(rules.choose("GET", "/api/auth"), Chosen::Exempt(_)));
    assert!(matches!(rules.choose("GET", "/api/auth/login"), Chosen::Exempt(_)));
    assert!(matches!(rules.choose("OPTIONS", "/api/generate"), Chosen::Exempt(_)));
}

#[test]
fn no_spelling_of_a_path_slips_past_its_rule() {
    let rules = rules();
    for path in [
        "/api/generate/",
        "/api/generate//",
        "//api/generate",
        "/api//generate",
        "/api///generate///",
        "/api//../generate",
        "//api//../generate",
        "/api/./generate",
        "/api/generate/.",
        "/api/x/../generate",
        "/../api/generate",
        "/api/generate/x/..",
        "/api/%67enerate",
        "/api/generat%65",
        "/%61pi/generate",
        "/api%2Fgenerate",
        "/api%2fgenerate",
        "/api/x/%2e%2e/generate",
        "/api/x/%2E%2E/generate",
        "/api/x/.%2e/generate",
        "/api/x/%2e%2e%2fgenerate",
        "/api/x%2f..%2fgenerate",
        "/api/%2e/generate",
        // Decoded twice by someone behind a proxy.
        "/api/%2567enerate",
        "/api/%252567enerate",
        "/api/x/%252e%252e/generate",
        "/api/%6%37enerate",
        // As some servers have it.
        "/api\\generate",
        "/api/x/..\\generate",
        "/api%5Cgenerate",
        "/api/generate;v=1",
        "/api;x/generate;y",
        "/api/x/..;/generate",
        "/api/x/..;a=b/generate",
        "/api/generate%3Bx",
        "/api/generate%3Fx=y",
        "/api/generate%23x",
        "/api/generate%00",
        "/api/generate%00.html",
        "/api/generate%2F",
        "/api/generate%2F%2e",
        "api/generate",
        // Steps in an order of somebody's own.
        "/api/x%3F/..;/generate",
        "/api/gener%61te/%2e%2e/..",
        "/api/generate;%2f..\\",
        "/api/generate;%5cx",
        "/api/x/%c0%ae%c0%ae/generate",
        "/api/x/%e0%80%ae./generate",
        "/api/x%c0%af..%c1%9cgenerate",
        "/api/x/%u002e%U002E/generate",
        "/api/gen%65rate/\\%2f%3b\\auth",
    ] {
        assert!(charged(&rules, "POST", path).contains(&"/generate"), "{path}");
    }
}

#[test]
fn no_spelling_of_a_path_slips_into_an_exemption() {
    let rules = rules();
    for (path, rule) in [
        ("/api/auth/../generate", "/generate"),
        ("/api/auth/%2e%2e/generate", "/generate"),
        ("/api/auth/%2e%2e%2fgenerate", "/generate"),
        ("/api/auth/..;/generate", "/generate"),
        ("/api/auth/..\\generate", "/generate"),
        ("/api/auth/..%5cgenerate", "/generate"),
        ("/api/auth/%252e%252e/generate", "/generate"),
        ("/api/health/../generate", "/generate"),
        ("/api/health/..//generate", "/generate"),
        ("/api/open/..%2fgenerate", "/generate"),
        ("/api/health%3F/..;/generate", "/generate"),
        ("/api/health%23/..;x/generate", "/generate"),
        ("/api/health%00/..;/generate", "/generate"),
        ("/api/health%3f/..%5cgenerate", "/generate"),
        ("/api/health%253f/%252e%252e/generate", "/generate"),
        ("/api/auth/%c0%ae%c0%ae/generate", "/generate"),
        ("/api/auth/..%c0%afgenerate", "/generate"),
        ("/api/auth/%u002e%u002e/generate", "/generate"),
        ("/api/open/%2e%2e/generate", "/generate"),
        // Who resolves dots would serve the exemption, who does not would serve the rule's path.
        ("/api/storage/../auth/login", "/storage"),
        ("/api/storage/%2e%2e/health", "/storage"),
        ("/api/storage/..%2fhealth", "/storage"),
        ("/api/storage//../../health", "/storage"),
        ("/api/%73torage/../health", "/storage"),
        ("/api/%73torage//../health", "/storage"),
        ("/api/auth/%61dmin", "/auth/admin"),
        ("/api/auth//admin", "/auth/admin"),
        ("/api/auth/admin/", "/auth/admin"),
        ("/api/auth/./admin", "/auth/admin"),
        // An empty segment is one to who follows RFC 3986, and none to who collapses slashes first.
        ("/api/storage/x//../../health", "/storage"),
        ("/docs/../api/generate", "/generate"),
        ("/docs/%2e%2e/api/generate", "/generate"),
    ] {
        assert!(charged(&rules, "GET", path).contains(&rule), "{path}");
    }
}

#[test]
fn who_resolves_dots_but_keeps_doubled_slashes_is_charged_too() {
    let rules = Rules::builder().exempt_prefix("/x").exempt_path("/health").rule(Rule::prefix("/").limit("1/day"));
    assert_eq!(charged(&rules.build().expect("sound rules"), "GET", "/x/..//health"), ["/"]);
}

#[test]
fn an_exemption_holds_for_harmless_spellings_of_its_path() {
    let rules = rules();
    for path in
        ["/api/health/", "/api//health", "/api/./health", "/api/%68ealth", "/api/auth/log%69n", "/api/open/J%C3%BCrgen"]
    {
        assert!(matches!(rules.choose("GET", path), Chosen::Exempt(_)), "{path}");
    }
}

#[test]
fn head_is_get_unless_a_rule_for_the_path_names_it() {
    let rules = rules();
    assert_eq!(charged(&rules, "HEAD", "/api/storage/recent"), ["/storage/recent"]);
    let rules = Rules::builder()
        .rule(Rule::path("/a").methods(["GET"]).name("get").limit("1/day"))
        .rule(Rule::path("/b").methods(["GET"]).name("b").limit("1/day"))
        .rule(Rule::path("/a").methods(["HEAD"]).name("head").limit("9/day"))
        .rule(Rule::prefix("/").methods(["HEAD"]).name("all heads").limit("9/day"));
    let rules = rules.build().expect("sound rules");
    assert_eq!(charged(&rules, "HEAD", "/a"), ["head"]);
    assert_eq!(charged(&rules, "GET", "/a"), ["get"]);
    // A rule that names HEAD elsewhere takes nothing from the more specific one.
    assert_eq!(charged(&rules, "HEAD", "/b"), ["b"]);
    assert_eq!(charged(&rules, "HEAD", "/c"), ["all heads"]);
    assert_eq!(charged(&rules, "POST", "/a"), [""; 0]);
}

#[test]
fn methods_are_told_apart_by_case_and_none_escapes_a_rule_for_all() {
    let rules = rules();
    for method in ["GET", "get", "PURGE", "options", "Options", "OPTIONS ", "", "TRACE", "CONNECT", "\u{212a}"] {
        assert_eq!(charged(&rules, method, "/api/generate"), ["/generate"], "{method}");
    }
}

#[test]
fn a_rule_that_names_the_method_wins_on_its_path_and_the_more_specific_path_over_the_method() {
    let rules = Rules::builder()
        .rule(Rule::path("/a").name("any").limit("1/day"))
        .rule(Rule::path("/a").methods(["POST", "PURGE"]).name("post").limit("2/day"))
        .rule(Rule::prefix("/").methods(["POST"]).name("posts").limit("3/day"));
    let rules = rules.build().expect("sound rules");
    assert_eq!(charged(&rules, "POST", "/a"), ["post"]);
    assert_eq!(charged(&rules, "PURGE", "/a"), ["post"]);
    assert_eq!(charged(&rules, "GET", "/a"), ["any"]);
    assert_eq!(charged(&rules, "POST", "/b"), ["posts"]);
    assert_eq!(charged(&rules, "POST", "/"), ["posts"]);
    assert_eq!(charged(&rules, "GET", "/b"), [""; 0]);
}

#[test]
fn what_is_not_a_path_is_charged_where_everything_is() {
    let rules = Rules::builder().rule(Rule::prefix("/").limit("1/day")).build().expect("sound rules");
    for path in
        ["", "*", "/", "//", "/.", "/..", "a", "%", "%2", "%zz", "/%ff", "/\u{ff0e}", "\\", ";", "?", "example.org:443"]
    {
        assert_eq!(charged(&rules, "GET", path), ["/"], "{path}");
    }
}

#[test]
fn a_path_of_64_kib_is_charged_by_its_rule_and_in_no_time() {
    let rules = rules();
    let started = std::time::Instant::now();
    for piece in ["/", "/.", "/a/..", "/%2e", "/x/%2e%2e", "%2f", "%25", "\\", "/;x", "/%2525", "%252f", "/x%2f..%2f"] {
        let filler = piece.repeat(65_536 / piece.len());
        let path = format!("/api{filler}/../{}generate", "../".repeat(65_536));
        rules.choose("POST", &path);
        let path = format!("{filler}/../{}api/generate", "../".repeat(65_536));
        assert!(charged(&rules, "POST", &path).contains(&"/generate"), "{piece}");
    }
    let long = format!("/api/storage/{}", "a".repeat(65_536));
    assert_eq!(charged(&rules, "POST", &long), ["/storage"]);
    let long = format!("/api/storage{}", "/a".repeat(32_768));
    assert_eq!(charged(&rules, "POST", &long), ["/storage"]);
    // Generous, for a debug build on a busy machine: quadratic work would take minutes.
    assert!(started.elapsed().as_secs() < 20, "{:?}", started.elapsed());
}

#[test]
fn what_has_more_readings_than_are_looked_at_is_never_exempt_nor_let_pass() {
    let rules = rules();
    // Each level of encoding is a reading of its own.
    let deep = format!("%{}2e", "25".repeat(200));
    for path in [format!("/api/auth/{deep}"), format!("/api/health;{deep}"), format!("/api/nothing{deep}")] {
        assert!(matches!(rules.choose("GET", &path), Chosen::Refused), "{path}");
    }
    assert_eq!(charged(&rules, "POST", &format!("/api/generate;{deep}")), ["/generate"]);
    // However long what is put before it.
    let long = format!("/api/{}%3F/..;/..%5c..;/x/../generate", "x/;..%2f".repeat(8000));
    assert!(matches!(rules.choose("GET", &long), Chosen::Refused | Chosen::Charged(_)));
}

/// Pieces of paths that mean something to somebody.
fn nasty() -> impl Strategy<Value = String> {
    let pieces = prop::sample::select(vec![
        "/", "//", "/./", "/../", "%2f", "%2F", "%2e", "%2E", ".", "..", "%25", "%", "%6", "\\", "%5c", ";", "?", "#",
        "%00", "%3b", "%c3%bc", "ü", "a", "b", "%61", "%2561", "ab", "/a/", "/b", "/a/b/", "x",
    ]);
    prop::collection::vec(pieces, 0..12).prop_map(|pieces| format!("/{}", pieces.concat()))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, ..ProptestConfig::default() })]

    /// A rule that the path as it came, or its normal form, leads to, charges it.
    #[test]
    fn what_either_form_is_charged_by_charges_the_request(path in nasty()) {
        let rules = Rules::builder()
            .exempt_path("/b")
            .exempt_prefix("/a/x")
            .rule(Rule::path("/a").limit("1/day"))
            .rule(Rule::path("/a/b").limit("1/day"))
            .rule(Rule::path("/{x}/ab").limit("1/day"))
            .rule(Rule::prefix("/ab").limit("1/day"))
            .rule(Rule::path("/a/x/b").limit("1/day"));
        let rules = rules.build().expect("sound rules");
        let charging = charged(&rules, "GET", &path);
        let normal = Rules::normal_form(&path);
        for form in [&*path, &normal] {
            let expected = naive(form);
            prop_assert!(expected.is_none_or(|rule| charging.contains(&rule)), "{path} as {form}: {charging:?}");
        }
        if charging.is_empty() {
            prop_assert!(naive(&normal).is_none() && naive(&path).is_none());
        }
    }
}

/// The rule of those above for a path taken as it is, but for a slash at its end.
fn naive(path: &str) -> Option<&'static str> {
    let path = if path.len() > 1 { path.strip_suffix('/').unwrap_or(path) } else { path };
    let segments: Vec<&str> = path.strip_prefix('/')?.split('/').collect();
    match &segments[..] {
        ["a"] => Some("/a"),
        ["a", "b"] => Some("/a/b"),
        ["a", "x", "b"] => Some("/a/x/b"),
        ["ab", ..] if segments.len() != 2 || segments[1] != "ab" => Some("/ab"),
        ["ab", "ab"] => Some("/ab"),
        [first, "ab"] if !first.is_empty() => Some("/{x}/ab"),
        _ => None,
    }
}

/// What servers do to paths, written as plainly as can be.
const STEPS: [fn(&str) -> String; 6] = [
    |path| percent_encoding::percent_decode_str(path).decode_utf8_lossy().into_owned(),
    |path| {
        let mut kept: Vec<&str> = Vec::new();
        let pieces: Vec<&str> = path.split('/').skip(1).collect();
        for piece in &pieces {
            match *piece {
                "." => {}
                ".." => drop(kept.pop()),
                piece => kept.push(piece),
            }
        }
        let last = if matches!(pieces.last(), Some(&("." | ".."))) || kept.is_empty() { "/" } else { "" };
        kept.iter().map(|piece| format!("/{piece}")).chain([last.to_owned()]).collect()
    },
    |path| {
        let mut path = path.to_owned();
        while path.contains("//") {
            path = path.replace("//", "/");
        }
        path
    },
    |path| path.split('/').map(|piece| piece.split(';').next().unwrap_or_default()).collect::<Vec<_>>().join("/"),
    |path| path.replace('\\', "/"),
    |path| path.split(['?', '#', '\0']).next().unwrap_or_default().to_owned(),
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 20_000, ..ProptestConfig::default() })]

    /// Whatever steps somebody's server takes, in whatever order: what they lead to a rule by is charged.
    #[test]
    fn no_order_of_steps_leads_to_a_rule_that_does_not_charge(
        pieces in prop::collection::vec(prop::sample::select(vec![
            "/", "/", "gen", "gen", "ge%6e", "health", "auth", "x", "..", "%2e%2e", "%2f", ";", "%3f", "%23", "%00", "\\",
            "%5c", ".", "%252e%252e", "%3b", "//", "/gen", "/..;/gen", "/%2e%2e/",
        ]), 2..9),
        orders in prop::collection::vec(prop::collection::vec(0..STEPS.len(), 1..6), 16),
    ) {
        let path = format!("/{}", pieces.concat());
        let rules = Rules::builder().exempt_path("/health").exempt_prefix("/auth").rule(Rule::path("/gen").limit("9/day"));
        let rules = rules.build().expect("sound rules");
        let chosen = rules.choose("GET", &path);
        for order in orders {
            let read = order.iter().fold(path.clone(), |path, &step| STEPS[step](&path));
            if read.trim_end_matches('/') == "/gen" {
                prop_assert!(matches!(chosen, Chosen::Charged(_) | Chosen::Refused), "{path} by {order:?}: {chosen:?}");
            }
        }
    }
}
