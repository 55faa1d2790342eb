//! What a README shows in its `console` block, tried.

use std::process::Command;

/// Runs every `curl` line of the first such block, each of `addresses` in place of the one that it names, and compares what
/// is shown below it with what it answers; how many lines were compared.
#[track_caller]
pub(crate) fn compare(readme: &str, addresses: &[(&str, &str)]) -> usize {
    let console = readme.split("```console\n").nth(1).and_then(|text| text.split("```").next()).expect("a console");
    let mut seen = 0;
    for part in console.split("$ ").filter(|part| part.starts_with("curl ") || part.starts_with("for ")) {
        // `$(` is no prompt, and is not followed by a blank.
        let (line, said) = part.split_once('\n').expect("what it answers");
        let line = addresses.iter().fold(line.to_owned(), |line, (shown, true_one)| line.replace(shown, true_one));
        let output = Command::new("sh").args(["-c", &line]).output().expect("sh starts");
        let answer = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
        for said in said.lines().filter(|said| !said.is_empty()) {
            assert!(answer.lines().any(|line| fits(line.trim_end(), said)), "{line}\nsaid not {said}\nbut\n{answer}");
            seen += 1;
        }
    }
    seen
}

/// Whether a line is the one that is said, whose `…` stands for anything.
fn fits(line: &str, said: &str) -> bool {
    let mut rest = line;
    let parts: Vec<_> = said.split('…').collect();
    let last = parts.len() - 1;
    for (number, part) in parts.into_iter().enumerate() {
        let Some(at) = rest.find(part) else { return false };
        if number == 0 && at > 0 || number == last && !part.is_empty() && !rest.ends_with(part) {
            return false;
        }
        rest = &rest[at + part.len()..];
    }
    rest.is_empty() || said.ends_with('…')
}
