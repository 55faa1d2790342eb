//! The router chooses as a reader who goes through all rules would.

use proptest::prelude::*;
use rebate_rules::{Chosen, Rule, Rules};

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
            prop_assert_eq!(chosen, best.map(|(at, _)| at.to_string()), "{} among {:?}", text, kept);
        }
    }
}
