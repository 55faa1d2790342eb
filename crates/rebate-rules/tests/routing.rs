//! The router chooses as a reader who goes through all rules would.

use proptest::prelude::*;
use rebate_rules::{Chosen, Precedence, Rule, Rules};

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Declared {
    segments: Vec<&'static str>,
    prefix: bool,
}

impl Declared {
    fn text(&self) -> String {
        if self.segments.is_empty() { "/".to_owned() } else { self.segments.iter().map(|s| format!("/{s}")).collect() }
    }

    fn matches(&self, path: &[&str]) -> bool {
        let fits = |(segment, piece): (&&str, &&str)| segment.starts_with('{') || segment == piece;
        let long_enough =
            if self.prefix { path.len() >= self.segments.len() } else { path.len() == self.segments.len() };
        long_enough && self.segments.iter().zip(path).all(fits)
    }

    /// The less, the more specific, among those that match a path of `length` segments.
    fn specificity(&self, length: usize) -> (Vec<u8>, bool) {
        let mut kinds: Vec<u8> = self.segments.iter().map(|segment| u8::from(segment.starts_with('{'))).collect();
        if length > self.segments.len() {
            kinds.push(2);
        }
        (kinds, self.prefix)
    }
}

fn declared() -> impl Strategy<Value = Declared> {
    let segment = prop::sample::select(vec!["a", "b", "ab", "{x}", "{y}"]);
    (prop::collection::vec(segment, 0..4), any::<bool>()).prop_map(|(segments, prefix)| Declared { segments, prefix })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, ..ProptestConfig::default() })]

    #[test]
    fn the_most_specific_rule_is_chosen(
        declared in prop::collection::vec(declared(), 1..9),
        paths in prop::collection::vec(prop::collection::vec(prop::sample::select(vec!["a", "b", "ab", "c"]), 0..5), 1..20),
    ) {
        // The same pattern twice is an error, whatever its dynamic segments are called.
        let mut kept: Vec<Declared> = Vec::new();
        for one in declared {
            let shape = |d: &Declared| d.text().replace('y', "x");
            if !kept.iter().any(|other| shape(other) == shape(&one) && other.prefix == one.prefix) {
                kept.push(one);
            }
        }
        let rules = kept.iter().enumerate().fold(Rules::builder(), |builder, (at, one)| {
            let rule = if one.prefix { Rule::prefix(one.text()) } else { Rule::path(one.text()) };
            builder.rule(rule.name(at.to_string()).limit("1/day"))
        });
        let rules = rules.build().expect("sound rules");
        for path in paths {
            let best = kept.iter().enumerate().filter(|(_, one)| one.matches(&path));
            let best = best.min_by_key(|(_, one)| one.specificity(path.len()));
            let text = format!("/{}", path.join("/"));
            let chosen = match rules.choose("GET", &text) {
                Chosen::Charged(charge) => Some(charge.rule().name().to_owned()),
                _ => None,
            };
            let best = best.map(|(at, _)| at.to_string());
            prop_assert_eq!(&chosen, &best, "{} among {:?}", text, kept);
            let mut others: Vec<_> = kept.iter().enumerate().filter(|(_, one)| one.matches(&path)).collect();
            others.sort_by_key(|(_, one)| one.specificity(path.len()));
            let others: Vec<String> = others.iter().skip(1).map(|(at, _)| at.to_string()).collect();
            let beaten: Vec<_> = rules.beaten("GET", &text).iter().map(|(rule, _)| rule.name().to_owned()).collect();
            prop_assert_eq!(beaten, others, "{} among {:?}", text, kept);
        }
    }
}

#[test]
fn what_beats_a_rule_is_said() {
    let rule = |rule: Rule, name: &str| rule.name(name).limit("1/day");
    let rules = Rules::builder()
        .base("/api")
        .exempt_path("/a/health")
        .rule(rule(Rule::path("/a/b"), "path"))
        .rule(rule(Rule::path("/a/b").methods(["GET"]), "get"))
        .rule(rule(Rule::path("/a/b").methods(["POST"]), "post"))
        .rule(rule(Rule::prefix("/a/b"), "prefix"))
        .rule(rule(Rule::path("/a/{id}"), "any"))
        .rule(rule(Rule::prefix("/a"), "below"))
        .rule(rule(Rule::path("/a"), "above"))
        .build()
        .expect("sound rules");
    let beaten = |method: &str, path: &str| {
        let beaten = rules.beaten(method, path);
        beaten.iter().map(|(rule, why)| (rule.name().to_owned(), *why)).collect::<Vec<_>>()
    };
    let name = |name: &str, why| (name.to_owned(), why);
    let rest = [
        name("path", Precedence::Method),
        name("prefix", Precedence::Path),
        name("any", Precedence::Segment(3)),
        name("below", Precedence::Segment(3)),
    ];
    for method in ["GET", "POST"] {
        assert_eq!(beaten(method, "/api/a/b"), rest);
    }
    assert_eq!(beaten("HEAD", "/api/a/b"), rest, "as GET");
    assert_eq!(beaten("PUT", "/api/a/b"), rest[1..]);
    assert_eq!(beaten("GET", "/api/a/c"), rest[3..]);
    assert_eq!(beaten("GET", "/api/a/health"), rest[2..], "by an exempt path");
    assert!(beaten("GET", "/api/a/c/d").is_empty() && beaten("GET", "/elsewhere").is_empty());
}

#[test]
fn a_path_that_a_route_is_literally_is_still_read_in_every_way_where_it_is_not_plain() {
    // Decoded, as they are kept, the routes are `/a%62` and `/ab`: and so is the path, once more decoded or not.
    let rules = Rules::builder()
        .rule(Rule::path("/a%2562").name("raw").limit("1/day"))
        .rule(Rule::path("/ab").name("decoded").limit("1/day"));
    let rules = rules.build().expect("sound rules");
    let Chosen::Charged(charge) = rules.choose("GET", "/a%62") else { panic!("it is charged") };
    let mut names: Vec<_> = charge.rules().map(|rule| rule.name()).collect();
    names.sort_unstable();
    assert_eq!(names, ["decoded", "raw"]);
}
