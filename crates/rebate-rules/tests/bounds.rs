//! However much a file says, it is looked at in no time, and no more is told than people read.

use std::time::{Duration, Instant};

use rebate_rules::{Problems, Rules};

/// What is told of `text`, in a time that only near-linear work takes, on a slow machine in a debug build too.
fn problems(what: &str, text: &str) -> Problems {
    let started = Instant::now();
    let problems = Rules::parse(text).map(|_| ()).expect_err(what);
    let took = started.elapsed();
    assert!(took < Duration::from_secs(10), "{what}: {took:?}");
    assert!(problems.iter().count() <= 101, "{what}");
    assert!(problems.to_string().len() < 200_000, "{what}");
    problems
}

fn many(count: usize, one: impl Fn(usize) -> String) -> String {
    (0..count).map(one).collect()
}

#[test]
fn a_file_above_a_mebibyte_is_not_read() {
    let text = format!("[[rule]]\npath = '/a'\nlimit = '1/day'\n{}", "#".repeat(1 << 20));
    let told = problems("large", &text);
    assert!(told.to_string().contains("at most 1048576 are taken"), "{told}");
    assert!(Rules::parse(&text[..1 << 20]).is_ok());
}

#[test]
fn of_many_problems_the_first_are_told_and_the_rest_counted() {
    let told = problems("unknown keys", &many(90_000, |at| format!("k{at}=1\n")));
    let all: Vec<_> = told.iter().collect();
    assert_eq!((all[0].line(), all[99].line(), all.len()), (Some(1), Some(100), 101));
    assert_eq!((all[100].text(), all[100].is_warning()), ("and 89900 more", false));
    // An error is told however many warnings come before it.
    let rules = many(200, |at| format!("[[rule]]\npath = '/{at}'\nmethods = ['get']\nlimit = '1/day'\n"));
    let told = problems("warnings", &format!("{rules}[[rule]]\npath = 'a'\nlimit = '1/day'\n"));
    assert!(told.iter().any(|problem| problem.text().contains("write `/a`")), "{told}");
    let rules = Rules::parse(&rules).expect("sound rules");
    assert_eq!(rules.warnings().len(), 101);
    assert!(rules.warnings()[100].is_warning());
}

#[test]
fn nothing_takes_long_however_much_there_is_of_it() {
    let rule = |at: usize, more: &str| format!("[[rule]]\npath='/{at}'\nlimit='1/s'\n{more}\n");
    let mebibyte = 1 << 20;
    for (what, text, told) in [
        ("limits", format!("[limits]\n{}", many(70_000, |at| format!("l{at}='1/s'\n"))), "at most 4096"),
        ("rules", many(20_000, |at| rule(at, "")), "at most 4096"),
        ("plans", format!("[plans]\n{}", many(20_000, |at| format!("p{at}.l='1/s'\n"))), "at most 64"),
        (
            "limits of plans",
            format!("[plans]\n{}", many(2, |plan| many(3000, |at| format!("p{plan}.l{at}='1/s'\n")))),
            "in all plans together",
        ),
        ("methods", rule(0, &format!("methods=[{}]", many(60_000, |at| format!("'M{at}',")))), "at most 64"),
        ("methods of rules", many(3000, |at| rule(at, &format!("methods=['M{at}']"))), "at most 64"),
        ("exempt paths", format!("exempt.paths=[{}]", many(100_000, |at| format!("'/{at}',"))), "at most 4096"),
        (
            "limits of a rule",
            format!("limits.l='1/s'\n{}", rule(0, &format!("limits=[{}]", "'l',".repeat(100_000)))),
            "at most 32",
        ),
        ("unknown rules", many(4000, |at| rule(at, &format!("limits_of=['zzzzz{at}']"))), "more"),
        ("chain", rule(0, "") + &many(2999, |at| rule(at + 1, &format!("limits_of=['/{at}']"))), "more than 32 limits"),
        (
            "cycles",
            many(150, |at| rule(at, &format!("limits_of=[{}]", many(31, |to| format!("'/{}',", (at + to) % 150))))),
            "cycle",
        ),
        ("one line", format!("exempt.paths=[{}]", "'x',".repeat(200_000)), "write `/x`"),
        ("a long text", format!("[[rule]]\npath='/a'\nkey='{}'", "1".repeat(900_000)), "…"),
        ("no TOML", "=".repeat(mebibyte), "more"),
    ] {
        let all = problems(what, &text).to_string();
        assert!(all.contains(told), "{what}: {}", all.chars().take(2000).collect::<String>());
    }
    // Right, and overlapping each other crosswise in a million pairs.
    let crossing = many(1000, |at| format!("[[rule]]\nname='n{at}'\nprefix='/{{a}}/p{at}'\nlimit='1/s'\n"))
        + &many(1000, |at| format!("[[rule]]\nname='m{at}'\nprefix='/p{at}/{{a}}'\nlimit='1/s'\n"));
    let started = Instant::now();
    assert_eq!(Rules::parse(&crossing).expect("sound rules").warnings().len(), 101);
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
}

#[test]
fn a_cycle_is_told_once_and_a_long_one_in_short() {
    let told = problems(
        "a cycle",
        &many(3000, |at| {
            format!("[[rule]]\npath='/{at}'\nlimits_of=['/{}', '/{}']\n", (at + 1) % 3000, (at + 2) % 3000)
        }),
    );
    assert_eq!(told.iter().count(), 1, "{told}");
    assert!(told.to_string().contains("… (3000 rules in all) → `/0`") && told.to_string().len() < 1000, "{told}");
}

#[test]
fn columns_are_those_after_an_editors_mark() {
    let told = problems("a mark", "\u{feff}x = 1");
    assert_eq!(told.iter().next().expect("a problem").column(), Some(1));
    assert!(Rules::parse("\u{feff}[[rule]]\npath = '/a'\nlimit = '1/day'").is_ok());
}
