//! Tasks: a file each, in a folder that all processes share. It stands for a table of a database.
//!
//! A task is in one of several folders, and moves by renaming, which is atomic: of several processes one moves it. An
//! unfinished one is in a folder of its user's, which can be made once: so a user has one at a time.

use std::fs::{self, DirEntry};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

/// A task as its file has it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Task {
    pub(crate) id: String,
    pub(crate) user: String,
    pub(crate) prompt: String,
    /// In milliseconds since the Unix epoch.
    pub(crate) begun: u64,
    /// The receipt of what it was charged: all that a refund needs, by whichever process. Whoever reads it can refund, so
    /// that it stays on the server. `None` for one that was not charged.
    pub(crate) receipt: Option<String>,
}

/// Where a task stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum State {
    Waiting,
    Running,
    Done,
    /// It failed by the user's own fault: paid for.
    Rejected,
    /// It failed by the system's fault: what it was charged is to be given back.
    Failed,
    /// It failed and was given back.
    Refunded,
}

/// The folder.
#[derive(Debug)]
pub(crate) struct Tasks {
    folder: PathBuf,
}

impl Task {
    pub(crate) fn new(user: &str, prompt: &str, receipt: Option<String>) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let now = since_epoch();
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let id = format!("{:x}-{:x}-{number:x}", now.as_micros(), std::process::id());
        Task { id, user: user.into(), prompt: prompt.into(), begun: now.as_millis() as u64, receipt }
    }

    pub(crate) fn age(&self) -> Duration {
        since_epoch().saturating_sub(Duration::from_millis(self.begun))
    }
}

impl State {
    const ENDED: [State; 4] = [State::Failed, State::Refunded, State::Done, State::Rejected];

    fn folder(self) -> &'static str {
        match self {
            State::Waiting | State::Running => "open",
            State::Done => "done",
            State::Rejected => "rejected",
            State::Failed => "failed",
            State::Refunded => "refunded",
        }
    }
}

impl Tasks {
    pub(crate) fn open(folder: &Path) -> io::Result<Self> {
        let folders = State::ENDED.map(State::folder);
        for name in folders.iter().chain(&["new", "open"]) {
            let path = folder.join(name);
            fs::create_dir_all(&path)
                .map_err(|error| io::Error::new(error.kind(), format!("TASKS: {}: {error}", path.display())))?;
        }
        Ok(Tasks { folder: folder.to_owned() })
    }

    /// Files a task; answers whether it did: not while another one of the user's is unfinished.
    pub(crate) fn start(&self, task: &Task) -> io::Result<bool> {
        let new = self.folder.join("new").join(&task.id);
        fs::create_dir(&new)?;
        fs::write(new.join(format!("{}.waiting", task.id)), serde_json::to_vec_pretty(task)?)?;
        match fs::rename(&new, self.of_user(&task.user)) {
            Ok(()) => Ok(true),
            Err(error) => {
                fs::remove_dir_all(&new)?;
                let is_there = matches!(error.kind(), ErrorKind::DirectoryNotEmpty | ErrorKind::AlreadyExists);
                if is_there { Ok(false) } else { Err(error) }
            }
        }
    }

    /// A task that waits, if there is one: the caller's to work on.
    pub(crate) fn take(&self) -> io::Result<Option<Task>> {
        for (path, waits) in self.unfinished()? {
            if !waits {
                continue;
            }
            let running = path.with_extension("running");
            match fs::rename(&path, &running) {
                Ok(()) => return read(&running).map(Some),
                // Another worker was faster.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// Ends a task; answers whether this call did.
    pub(crate) fn end(&self, task: &Task, state: State) -> io::Result<bool> {
        let own = self.of_user(&task.user);
        let ended = self.path(&task.id, state);
        for from in ["running", "waiting"] {
            match fs::rename(own.join(format!("{}.{from}", task.id)), &ended) {
                Ok(()) => {
                    // Empty it keeps nobody waiting; the user's next task may be in it already.
                    let _ = fs::remove_dir(&own);
                    return Ok(true);
                }
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(false)
    }

    /// Notes that a failed task was given back.
    pub(crate) fn refunded(&self, task: &Task) -> io::Result<()> {
        match fs::rename(self.path(&task.id, State::Failed), self.path(&task.id, State::Refunded)) {
            // Another process did it too; no unit was given back twice.
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            answer => answer,
        }
    }

    /// Those that failed and were not given back yet.
    pub(crate) fn owed(&self) -> io::Result<Vec<Task>> {
        let files = entries(&self.folder.join(State::Failed.folder()))?;
        Ok(files.iter().filter_map(|file| readable(&file.path())).collect())
    }

    /// Those that should have ended long ago.
    pub(crate) fn stuck(&self, after: Duration) -> io::Result<Vec<Task>> {
        let open = self.unfinished()?;
        Ok(open.iter().filter_map(|(path, _)| readable(path)).filter(|task| task.age() >= after).collect())
    }

    /// Where the user's task of this id stands.
    pub(crate) fn find(&self, user: &str, id: &str) -> Option<State> {
        if !id.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-') {
            return None;
        }
        let own = self.of_user(user);
        // In the order in which a task moves: one that moves meanwhile is met later.
        if own.join(format!("{id}.waiting")).exists() {
            return Some(State::Waiting);
        }
        if own.join(format!("{id}.running")).exists() {
            return Some(State::Running);
        }
        State::ENDED.into_iter().find(|state| read(&self.path(id, *state)).is_ok_and(|task| task.user == user))
    }

    /// The files of unfinished tasks, and whether each waits.
    fn unfinished(&self) -> io::Result<Vec<(PathBuf, bool)>> {
        let mut files = Vec::new();
        for user in entries(&self.folder.join("open"))? {
            files.extend(entries(&user.path())?.iter().map(DirEntry::path));
        }
        Ok(files
            .into_iter()
            .map(|path| {
                let waits = path.extension().is_some_and(|end| end == "waiting");
                (path, waits)
            })
            .collect())
    }

    /// A folder's name must not say anything that the user chose.
    fn of_user(&self, user: &str) -> PathBuf {
        let name: String = user.bytes().map(|byte| format!("{byte:02x}")).collect();
        self.folder.join("open").join(name)
    }

    fn path(&self, id: &str, state: State) -> PathBuf {
        self.folder.join(state.folder()).join(format!("{id}.json"))
    }
}

fn read(path: &Path) -> io::Result<Task> {
    Ok(serde_json::from_slice(&fs::read(path)?)?)
}

/// One that another process has moved meanwhile is none.
fn readable(path: &Path) -> Option<Task> {
    match read(path) {
        Ok(task) => Some(task),
        Err(error) => {
            if error.kind() != ErrorKind::NotFound {
                tracing::error!(path = %path.display(), %error, "a task cannot be read");
            }
            None
        }
    }
}

fn entries(folder: &Path) -> io::Result<Vec<DirEntry>> {
    match fs::read_dir(folder) {
        Ok(entries) => entries.collect(),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

fn since_epoch() -> Duration {
    SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default()
}
