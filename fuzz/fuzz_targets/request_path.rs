//! However a path is written: what it leads to as it came, in its normal form, or in any other reading charges it.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use rebate_rules::{Charge, Chosen, Rule, Rules};

static RULES: LazyLock<Rules> = LazyLock::new(|| {
    let rules = Rules::builder()
        .base("/api")
        .exempt_path("/health")
        .exempt_prefix("/auth")
        .exempt_path("/open/{name}")
        .rule(Rule::path("/generate").limit("10/month"))
        .rule(Rule::path("/auth/admin").limit("10/month"))
        .rule(Rule::path("/{x}/again").limit("10/month"))
        .rule(Rule::prefix("/storage").limit("60/minute"))
        .rule(Rule::path("/storage/{id}").methods(["GET"]).limit("60/minute"));
    rules.build().expect("sound rules")
});

fn names(charge: &Charge<'_>) -> Vec<String> {
    charge.rules().map(|rule| rule.name().to_owned()).collect()
}

fuzz_target!(|path: &str| {
    let rules = &*RULES;
    for method in ["GET", "POST"] {
        let chosen = rules.choose(method, path);
        let charged = if let Chosen::Charged(charge) = &chosen { names(charge) } else { Vec::new() };
        let normal = Rules::normal_form(path);
        let once: Vec<_> = rules.readings(method, path);
        assert!(once.iter().any(|(reading, _)| *reading == normal), "{path:?}");
        for (reading, alone) in &once {
            assert!(reading.len() <= path.len() + 2 || path.is_ascii() || reading.contains('\u{fffd}'));
            if let Chosen::Charged(alone) = alone {
                assert!(names(alone).iter().all(|name| charged.contains(name)), "{path:?} as {reading:?}");
            }
        }
        if matches!(chosen, Chosen::Exempt(_)) {
            assert!(once.iter().all(|(_, alone)| !matches!(alone, Chosen::Charged(_))), "{path:?}");
        }
    }
});
