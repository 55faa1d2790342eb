//! The store that the broken ones are made of keeps every law; each fault is killed by the case named
//! for it.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};

use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;
use rebate_conformance::broken::{BrokenHarness, Fault};
use rebate_conformance::suite::{CASES, Case, cases};
use rebate_conformance::{run_sequence, sequences};

mod right {
    use super::BrokenHarness;

    rebate_conformance::suite!(BrokenHarness(None));
}

fn kills(case: &Case<BrokenHarness>, fault: Fault) -> bool {
    catch_unwind(AssertUnwindSafe(|| case.run(&BrokenHarness(Some(fault))))).is_err()
}

#[test]
fn each_broken_store_is_killed_by_its_case() {
    let mut survivors = Vec::new();
    for &fault in Fault::ALL {
        let named = fault.killed_by();
        let case = cases::<BrokenHarness>().into_iter().find(|case| (case.law, case.name) == named);
        let case = case.unwrap_or_else(|| panic!("{fault:?} names a case that there is not: {named:?}"));
        if !kills(&case, fault) {
            survivors.push((fault, named));
        }
    }
    assert!(survivors.is_empty(), "these passed the case that must kill them: {survivors:?}");
}

#[test]
fn every_case_kills_some_broken_store() {
    let idle = cases::<BrokenHarness>().into_iter().filter(|case| {
        // Those of its own law first: most often one of them.
        let mut faults = Fault::ALL.to_vec();
        faults.sort_by_key(|fault| fault.killed_by().0 != case.law);
        !faults.into_iter().any(|fault| kills(case, fault))
    });
    let idle: Vec<_> = idle.map(|case| (case.law, case.name)).collect();
    assert!(idle.is_empty(), "these have never failed: {idle:?}");
}

#[test]
fn every_law_has_a_broken_store() {
    let laws: BTreeSet<_> = CASES.iter().map(|(law, _)| *law).collect();
    let broken: BTreeSet<_> = Fault::ALL.iter().map(|fault| fault.killed_by().0).collect();
    assert_eq!(laws, broken);
    assert_eq!(laws.len(), 15);
}

/// Random sequences move keys between variants, settle and send again what was charged before.
#[test]
fn the_differential_test_finds_what_is_wrong_with_variants() {
    use Fault::{KeepsTheFirstVariant, StartsAfreshUnderAVariant, TopsUpUnderTheLastVariant};
    let mut random = TestRunner::deterministic();
    let mut left = vec![KeepsTheFirstVariant, StartsAfreshUnderAVariant, TopsUpUnderTheLastVariant];
    for _ in 0..2000 {
        let sequence = sequences(60).new_tree(&mut random).expect("any bytes are a sequence").current();
        let before = left.len();
        left.retain(|&fault| run_sequence(&BrokenHarness(Some(fault)), &sequence).is_ok());
        if left.len() < before {
            run_sequence(&BrokenHarness(None), &sequence).expect("the fault is what differs");
        }
        if left.is_empty() {
            return;
        }
    }
    panic!("these answered every sequence as the model does: {left:?}");
}
