//! Whatever a rule file holds: it is taken or all its problems have a place, and what is taken chooses for any path.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rebate_rules::Rules;

fuzz_target!(|text: &str| {
    match Rules::parse(text) {
        Ok(rules) => {
            for rule in rules.rules() {
                let method = rule.methods().next().unwrap_or("GET");
                let _ = rules.choose(method, rule.path());
                assert!(rules.charges(rule).all(|(limit, cost)| cost > 0 && limit.index() < rules.limits().len()));
            }
        }
        Err(problems) => {
            assert!(problems.iter().any(|problem| !problem.is_warning()));
            let last = problems.iter().count() - 1;
            for (at, problem) in problems.iter().enumerate() {
                let Some(line) = problem.line() else {
                    // Of very many, the rest are counted, which is in no line.
                    assert!(at == last && at >= 100 && problem.text().ends_with(" more"), "a file has lines");
                    continue;
                };
                let line = text.split('\n').nth(line - 1).expect("the line is there");
                assert!(problem.column().expect("a column") <= line.chars().count() + 1);
            }
            assert!(!problems.to_string().is_empty());
        }
    }
});
