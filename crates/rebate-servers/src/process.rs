//! A server's process.

use crate::home::Home;
use crate::wait::until;
use std::fs::{File, OpenOptions};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};

/// The server program: what the variable `REBATE_SERVER` says, else `redis-server`.
pub fn program() -> String {
    std::env::var("REBATE_SERVER").ok().filter(|program| !program.is_empty()).unwrap_or_else(|| "redis-server".into())
}

/// A running server, killed in Drop.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
}

impl Process {
    /// Starts the program on the `configuration` file in its home, with its output in the file `log` there.
    pub(crate) fn start(home: &Home, sentinel: bool) -> Self {
        let program = program();
        let log = OpenOptions::new().create(true).append(true).open(log(home)).expect("the log opens");
        let copy = File::try_clone(&log).expect("the log opens twice");
        let mut command = Command::new(&program);
        command.arg(configuration(home));
        if sentinel {
            command.arg("--sentinel");
        }
        let child = command
            .current_dir(home.path())
            .stdin(Stdio::null())
            // Not this process's output: whoever reads that to its end would wait for the server.
            .stdout(log)
            .stderr(copy)
            .process_group(0)
            .spawn()
            .unwrap_or_else(|error| panic!("{}", missing(&program, &error)));
        home.watch(Some(child.id()));
        Self { child }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it did by itself.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child can be waited for")
    }

    /// Stops its threads where they are, and returns when they stand.
    pub(crate) fn freeze(&self) {
        signal("STOP", self.pid());
        until("the server stands still", || is_stopped(self.pid()).then_some(()));
    }

    pub(crate) fn thaw(&self) {
        signal("CONT", self.pid());
    }

    /// SIGKILL, which a frozen process obeys too, and the wait for its end.
    pub(crate) fn kill(mut self, home: &Home) -> ExitStatus {
        let status = self.end();
        home.watch(None);
        status
    }

    fn end(&mut self) -> ExitStatus {
        let _ = self.child.kill();
        self.child.wait().unwrap_or_else(|_| ExitStatus::from_raw(9))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
    }
}

pub(crate) fn configuration(home: &Home) -> std::path::PathBuf {
    home.path().join("configuration")
}

fn log(home: &Home) -> std::path::PathBuf {
    home.path().join("log")
}

/// The last lines of what the server said.
pub(crate) fn last_words(home: &Home) -> String {
    let text = std::fs::read(log(home)).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}

/// std sends no signal but SIGKILL; `kill` is built into every shell.
fn signal(name: &str, pid: u32) {
    let status = Command::new("sh")
        .args(["-c", "kill -s \"$1\" \"$2\"", "signal", name, &pid.to_string()])
        .status()
        .expect("sh starts");
    assert!(status.success(), "SIG{name} could not be sent to {pid}");
}

fn is_stopped(pid: u32) -> bool {
    if Path::new("/proc/self/stat").exists() {
        // `pid (name) state …`; only a name can hold a parenthesis.
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        return stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('T'));
    }
    let answer = Command::new("ps").args(["-o", "state=", "-p", &pid.to_string()]).output().expect("ps starts");
    String::from_utf8_lossy(&answer.stdout).trim_start().starts_with('T')
}

fn missing(program: &str, error: &std::io::Error) -> String {
    if error.kind() != std::io::ErrorKind::NotFound {
        return format!("cannot start {program}: {error}");
    }
    let package = if program.ends_with("valkey-server") { "valkey" } else { "redis" };
    let debian = if package == "valkey" { "valkey-server" } else { "redis-server" };
    format!(
        "{program} is missing. Install it: `apt-get install {debian}` (Debian, Ubuntu) or `brew install {package}` \
         (macOS); another program is named by the variable REBATE_SERVER"
    )
}
