//! The example's program as processes.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::JoinHandle;

use rebate_servers::{Server, until};

/// All that the program reads from its environment.
const SETTINGS: [&str; 12] = [
    "LISTEN",
    "METRICS",
    "STORE",
    "RULES",
    "LIMITING",
    "TASKS",
    "WORKER",
    "WORK_TIME",
    "STUCK_AFTER",
    "REFUND_ON_DISCONNECT",
    "MASK_SECRET",
    "RUST_LOG",
];

/// A folder that is gone with its value.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("concepts_api-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a folder of its own");
        Folder(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Writes a file into it.
    pub(crate) fn write(&self, name: &str, text: &str) -> String {
        let path = self.0.join(name);
        std::fs::write(&path, text).expect("the file is written");
        path.to_str().expect("a path that is text").to_owned()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The program with nothing in its environment but these settings, on free ports.
pub(crate) fn program(tasks: &Folder, settings: &[(&str, &str)]) -> Command {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let arguments = ["-p", "rebate", "--features", "axum,metrics,redis", "--example", "concepts_api"];
    let mut command = Command::new(BUILT.get_or_init(|| crate::built::built("examples/concepts_api", &arguments)));
    for name in SETTINGS {
        command.env_remove(name);
    }
    command.env("LISTEN", "127.0.0.1:0").env("METRICS", "127.0.0.1:0").env("TASKS", tasks.path());
    command.envs(settings.iter().copied());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// The rules that the example brings.
pub(crate) fn shipped_rules() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/concepts_api/rules.toml");
    std::fs::read_to_string(path).expect("the example's rules")
}

/// A process that runs until it is ended, killed in Drop.
pub(crate) struct Process {
    child: Child,
    log: Arc<Mutex<String>>,
    reader: Option<JoinHandle<()>>,
    /// What it said when it was ready, line by line.
    pub(crate) said: Vec<String>,
}

impl Process {
    /// Starts it, and waits until it has said a line that begins with `ready`.
    pub(crate) fn start(mut command: Command, ready: &str) -> Self {
        let mut child = command.spawn().expect("the program starts");
        let log = Arc::new(Mutex::new(String::new()));
        let (mut stderr, writer) = (child.stderr.take().expect("a pipe"), Arc::clone(&log));
        // Read all along: a full pipe would hold the program up.
        let reader = std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(read @ 1..) = stderr.read(&mut bytes) {
                writer.lock().unwrap().push_str(&String::from_utf8_lossy(&bytes[..read]));
            }
        });
        let mut process = Process { child, log, reader: Some(reader), said: Vec::new() };
        let stdout = process.child.stdout.take().expect("a pipe");
        for line in BufReader::new(stdout).lines() {
            process.said.push(line.expect("text"));
            if process.said.last().is_some_and(|line| line.starts_with(ready)) {
                return process;
            }
        }
        panic!("it ended before it said `{ready}`: {}", process.end_of_log());
    }

    pub(crate) fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// The first line of its log that holds all of `parts`; it may be written yet.
    #[track_caller]
    pub(crate) fn logged(&self, parts: &[&str]) -> String {
        until(&format!("a line of the log with {parts:?}"), || {
            let log = self.log();
            log.lines().find(|line| parts.iter().all(|part| line.contains(part))).map(str::to_owned)
        })
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("it is killed");
        self.child.wait().expect("it is waited for");
    }

    /// SIGTERM; its whole log when it has ended well.
    pub(crate) fn stop(mut self) -> String {
        let pid = self.child.id().to_string();
        let status = Command::new("sh").args(["-c", "kill -s TERM \"$1\"", "kill", &pid]).status().expect("sh starts");
        assert!(status.success());
        let status = self.child.wait().expect("it ends");
        let log = self.end_of_log();
        assert!(status.success(), "{log}");
        assert!(!log.contains("panicked"), "{log}");
        log
    }

    fn end_of_log(&mut self) -> String {
        self.reader.take().map(JoinHandle::join).transpose().expect("the log was read");
        self.log()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The API, served.
pub(crate) struct Api {
    pub(crate) process: Process,
    pub(crate) address: SocketAddr,
    pub(crate) metrics: SocketAddr,
}

impl Api {
    pub(crate) fn start(tasks: &Folder, settings: &[(&str, &str)]) -> Self {
        let process = Process::start(program(tasks, settings), "listening on ");
        let at = |begin: &str, end: &str| {
            let line = process.said.iter().find_map(|line| line.strip_prefix(begin)?.strip_suffix(end));
            line.expect("an address").parse().expect("an address")
        };
        Api { address: at("listening on http://", ""), metrics: at("metrics at http://", "/metrics"), process }
    }

    /// With its counts in this Redis.
    pub(crate) fn over(server: &Server, tasks: &Folder, settings: &[(&str, &str)]) -> Self {
        let url = server.url();
        Self::start(tasks, &[&[("STORE", url.as_str())], settings].concat())
    }
}

/// A worker in a process of its own.
pub(crate) fn worker(server: &Server, tasks: &Folder, settings: &[(&str, &str)]) -> Process {
    let mut command = program(tasks, settings);
    command.env("STORE", server.url()).arg("worker");
    Process::start(command, "working")
}

/// What a program that ends by itself says: its standard output, and its log.
pub(crate) fn finish(mut command: Command) -> (Option<i32>, String, String) {
    struct Ended(Child);
    impl Drop for Ended {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = Ended(command.spawn().expect("the program starts"));
    // It says far less than a pipe holds.
    let status = until("the program ends", || child.0.try_wait().expect("a child can be waited for"));
    let text = |pipe: &mut dyn Read| std::io::read_to_string(pipe).expect("text");
    let said = text(child.0.stdout.as_mut().expect("a pipe"));
    let log = text(child.0.stderr.as_mut().expect("a pipe"));
    assert!(!log.contains("panicked"), "{log}");
    (status.code(), said, log)
}
