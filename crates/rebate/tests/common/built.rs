//! Programs that cargo has built with the tests, unless one of the tests was named alone.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A program and how cargo builds it: `["-p", "rebate", "--example", "chat_bot"]`. `place` is where it lies within
/// `target/debug`.
pub(crate) fn built(place: &str, arguments: &[&str]) -> PathBuf {
    let test = std::env::current_exe().expect("this program's path");
    let folder = test.parent().and_then(Path::parent).expect("target/debug/deps");
    let program = folder.join(format!("{place}{}", std::env::consts::EXE_SUFFIX));
    if !is_fresh(&program) {
        build(folder, arguments);
    }
    assert!(program.exists(), "{} is missing: cargo build {}", program.display(), arguments.join(" "));
    program
}

/// Whether no source that cargo has noted for it is younger than the program.
fn is_fresh(program: &Path) -> bool {
    let changed = |path: &Path| path.metadata().and_then(|file| file.modified()).ok();
    let Some(built) = changed(program) else { return false };
    let notes = std::fs::read_to_string(program.with_extension("d")).unwrap_or_default();
    let Some((_, sources)) = notes.trim().split_once(": ") else { return false };
    // Spaces within a path are escaped; such a path is not found, and the program built again.
    sources.split(' ').all(|source| changed(Path::new(source)).is_some_and(|changed| changed <= built))
}

fn build(folder: &Path, arguments: &[&str]) {
    let profile = folder.file_name().expect("target/debug").to_string_lossy().into_owned();
    let profile = if profile == "debug" { "dev" } else { &profile };
    let status = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--profile", profile])
        .args(arguments)
        .arg("--target-dir")
        .arg(folder.parent().expect("target"))
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status()
        .expect("cargo starts");
    assert!(status.success(), "{arguments:?} does not build");
}
