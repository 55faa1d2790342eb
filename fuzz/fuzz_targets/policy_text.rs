//! A policy's text: no panic, errors point into the text, and what reads prints as what reads the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rebate_core::{Limit, Policy};

fuzz_target!(|text: &str| {
    match Policy::parse(text) {
        Err(error) => {
            assert!(error.is_invalid());
            assert!(error.position().is_some_and(|position| position <= text.len()));
            assert!(error.to_string().len() < 4096);
        }
        Ok(policy) => {
            let printed = policy.to_string();
            assert!(Policy::parse(&printed).is_ok_and(|again| again == policy && again.to_string() == printed));
            assert!(policy.quota() >= 1 && !policy.longest().is_zero());
        }
    }
    if let Ok(limit) = Limit::new(text, "1/day") {
        assert_eq!(limit.name(), text);
    }
});
