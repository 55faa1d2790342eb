//! LAWS.md names every case of the suite and every broken store, and none that there is not.

use rebate_conformance::broken::Fault;
use rebate_conformance::suite::CASES;

const PAGE: &str = include_str!("../../../LAWS.md");

/// The names in backquotes at the start of a line's item.
fn names<'a>(line: &'a str, mark: &str) -> Option<Vec<&'a str>> {
    let rest = line.strip_prefix(mark)?;
    Some(rest.split('`').skip(1).step_by(2).collect())
}

#[test]
fn it_lists_the_suites_cases_in_their_order() {
    let mut listed = Vec::new();
    let mut law = "";
    for line in PAGE.lines() {
        if let Some(names) = names(line, "## ") {
            law = names.first().copied().unwrap_or_default();
        } else if let Some(names) = names(line, "- `").and(line.strip_prefix("- `")) {
            listed.push((law, names.split('`').next().unwrap_or_default()));
        }
    }
    for case in CASES {
        assert!(listed.contains(case), "LAWS.md does not list {case:?}");
    }
    for case in &listed {
        assert!(CASES.contains(case), "LAWS.md lists {case:?}, which there is not");
    }
    assert_eq!(listed, CASES);
}

#[test]
fn it_lists_the_broken_stores_with_their_cases() {
    let mut listed = Vec::new();
    let mut law = "";
    for line in PAGE.lines() {
        if let Some(names) = names(line, "## ") {
            law = names.first().copied().unwrap_or_default();
        } else if let Some(names) = names(line, "* ") {
            listed.push((names[0].to_owned(), law, names[1]));
        }
    }
    let broken: Vec<_> = Fault::ALL
        .iter()
        .map(|fault| {
            let (law, case) = fault.killed_by();
            (format!("{fault:?}"), law, case)
        })
        .collect();
    assert_eq!(listed, broken);
}
