//! A server's directory, and the shell that removes both when this process dies without doing so.

use std::io::Write;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

/// Reads the pid to end from its input, the last one counts. Its input ends when this process does, however that
/// comes about: killed, aborted, or returned from `main` with servers in statics, which are never dropped.
const WATCH: &str = r#"
trap '' INT TERM HUP
pid=
while read -r line; do
    case $line in
        done) exit 0 ;;
        *) pid=$line ;;
    esac
done
[ -n "$pid" ] && kill -9 "$pid"
rm -rf -- "$1"
"#;

/// A temporary directory, removed in Drop or, at the latest, when the process ends.
#[derive(Debug)]
pub(crate) struct Home {
    path: PathBuf,
    watch: Mutex<Child>,
}

impl Home {
    pub(crate) fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let path = loop {
            // Short, since the path of a Unix socket has room for about 100 bytes.
            let number = NUMBER.fetch_add(1, Ordering::Relaxed);
            let path = std::env::temp_dir().join(format!("rebate-{}-{number}", std::process::id()));
            match std::fs::DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => break path,
                // Left behind by another process of this pid.
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(error) => panic!("cannot make the directory {}: {error}", path.display()),
            }
        };
        let watch = Command::new("sh")
            .args(["-c", WATCH, "rebate-servers-watch"])
            .arg(&path)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // Out of reach of the Ctrl-C that ends the tests.
            .process_group(0)
            .spawn()
            .expect("sh starts");
        Self { path, watch: Mutex::new(watch) }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Names the process to end with this one, or none.
    pub(crate) fn watch(&self, pid: Option<u32>) {
        self.tell(&pid.map_or_else(String::new, |pid| pid.to_string()));
    }

    fn tell(&self, line: &str) {
        let mut watch = self.watch.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some(input) = &mut watch.stdin {
            // Somebody killed it: then there is nobody to tell.
            let _ = writeln!(input, "{line}");
        }
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        // A child of the server, saving, may outlive it by a moment and write one more file.
        for _ in 0..100 {
            match std::fs::remove_dir_all(&self.path) {
                Ok(()) => break,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => break,
                Err(_) => std::thread::sleep(std::time::Duration::from_millis(10)),
            }
        }
        self.tell("done");
        let watch = self.watch.get_mut().unwrap_or_else(|poisoned| poisoned.into_inner());
        drop(watch.stdin.take());
        let _ = watch.wait();
    }
}
