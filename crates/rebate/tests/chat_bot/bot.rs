//! The example's program as a process of its own.

use std::io::{BufRead, BufReader, Lines, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Output, Stdio};
use std::sync::OnceLock;
use std::thread::JoinHandle;

use rebate_servers::Server;

/// All that the program reads from its environment.
const SETTINGS: [&str; 5] = ["REDIS_HOST", "REDIS_PORT", "MESSAGE_LIMIT", "MESSAGE_LIMIT_TTL", "WHITELISTED_USERS"];

/// The program with nothing in its environment but these settings.
pub(crate) fn program(settings: &[(&str, &str)]) -> Command {
    let mut command = Command::new(built());
    for name in SETTINGS {
        command.env_remove(name);
    }
    command.envs(settings.iter().copied());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// The same at this server.
pub(crate) fn program_at(server: &Server, settings: &[(&str, &str)]) -> Command {
    let address = server.address();
    let mut command = program(settings);
    command.env("REDIS_HOST", address.ip().to_string()).env("REDIS_PORT", address.port().to_string());
    command
}

/// What a program said that read all of `input` and ended.
pub(crate) struct Said {
    pub(crate) status: Option<i32>,
    /// Its answers, one for each message.
    pub(crate) answers: Vec<String>,
    pub(crate) log: String,
}

impl Said {
    pub(crate) fn count(&self, what: &str) -> usize {
        self.answers.iter().filter(|answer| answer.contains(what)).count()
    }
}

/// Starts a program with its whole input. It may still run when this returns.
pub(crate) fn feed(mut command: Command, input: &[u8]) -> Child {
    let mut child = command.spawn().expect("the program starts");
    let mut stdin = child.stdin.take().expect("a pipe");
    // One that ends early (wrong settings) does not read it.
    let _ = stdin.write_all(input);
    child
}

pub(crate) fn finish(child: Child) -> Said {
    let Output { status, stdout, stderr } = child.wait_with_output().expect("the program ends");
    let answers = String::from_utf8(stdout).expect("text").lines().map(Into::into).collect();
    let log = String::from_utf8(stderr).expect("text");
    assert!(!log.contains("panicked"), "{log}");
    Said { status: status.code(), answers, log }
}

pub(crate) fn run(command: Command, input: &str) -> Said {
    finish(feed(command, input.as_bytes()))
}

/// A program that is given one message after the other, and asked between them.
pub(crate) struct Talk {
    child: Child,
    input: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
    /// Read all along: a full pipe would hold the program up.
    log: JoinHandle<String>,
}

impl Talk {
    pub(crate) fn start(mut command: Command) -> Self {
        let mut child = command.spawn().expect("the program starts");
        let input = child.stdin.take().expect("a pipe");
        let answers = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        let mut stderr = child.stderr.take().expect("a pipe");
        let log = std::thread::spawn(move || {
            let mut log = String::new();
            stderr.read_to_string(&mut log).expect("text");
            log
        });
        Talk { child, input, answers, log }
    }

    /// What became of one message.
    pub(crate) fn say(&mut self, line: &str) -> String {
        writeln!(self.input, "{line}").expect("the program reads");
        self.answers.next().expect("the program answers").expect("text")
    }

    /// Ends the input, and answers with the log of a program that ended well.
    pub(crate) fn end(mut self) -> String {
        drop(self.input);
        assert!(self.child.wait().expect("the program ends").success());
        self.log.join().expect("the log is text")
    }
}

fn built() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let arguments = ["-p", "rebate", "--features", "redis", "--example", "chat_bot"];
    BUILT.get_or_init(|| crate::built::built("examples/chat_bot", &arguments))
}
