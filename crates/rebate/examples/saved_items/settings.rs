//! What the environment says.

use std::net::SocketAddr;
use std::time::Duration;

/// The settings, each of one variable. One that is unset or empty has its default.
pub(crate) struct Settings {
    /// `LISTEN`: where the API is served.
    pub(crate) listen: SocketAddr,
    /// `STORE`: a Redis server's URL; `None`: memory.
    pub(crate) store: Option<String>,
    /// `DATABASE`: a file, or `:memory:`.
    pub(crate) database: String,
    /// `PLANS`: each with its policy; the first is that of users who have none.
    pub(crate) plans: Vec<(String, String)>,
    /// `AT_ONCE`: how many items of a user may be enriched at once.
    pub(crate) at_once: u64,
    /// `LEASE`: when the place of an item frees itself that nobody renews; it is renewed three times as often.
    pub(crate) lease: Duration,
    /// `WORKER`: whether items are worked on.
    pub(crate) works: bool,
    /// `WORK_TIME`: how long an enrichment takes.
    pub(crate) work_time: Duration,
}

impl Settings {
    /// Reads the variables of the process.
    ///
    /// # Errors
    /// A text for each variable that is wrong, so that all can be mended at once.
    pub(crate) fn from_environment() -> Result<Self, Vec<String>> {
        let mut faults = Vec::new();
        let faults_of = &mut faults;
        let settings = Settings {
            listen: setting("LISTEN", "127.0.0.1:8081", address, faults_of),
            store: setting("STORE", "memory", store, faults_of),
            database: setting("DATABASE", ":memory:", |text| Ok(text.into()), faults_of),
            plans: setting("PLANS", "free=50/day,pro=500/day,team=5000/day", plans, faults_of),
            at_once: setting("AT_ONCE", "3", number, faults_of),
            lease: setting("LEASE", "600s", span, faults_of),
            works: setting("WORKER", "on", on_or_off, faults_of),
            work_time: setting("WORK_TIME", "5s", span, faults_of),
        };
        if faults.is_empty() { Ok(settings) } else { Err(faults) }
    }
}

/// One variable; of one that is wrong, which goes to `faults`, the default.
fn setting<T>(name: &str, default: &str, read: fn(&str) -> Result<T, String>, faults: &mut Vec<String>) -> T {
    let given = std::env::var(name).unwrap_or_default();
    let text = if given.trim().is_empty() { default } else { given.trim() };
    read(text).unwrap_or_else(|right| {
        // A URL may hold a password.
        let shown = if name == "STORE" { String::new() } else { format!(" `{}`", text.escape_debug()) };
        faults.push(format!("{name}{shown}: {right}"));
        read(default).expect("a default is right")
    })
}

fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| "give an address and a port, such as `127.0.0.1:8081`".into())
}

fn store(text: &str) -> Result<Option<String>, String> {
    match text {
        "memory" => Ok(None),
        url if url.contains("://") => Ok(Some(url.to_owned())),
        _ => Err("give `memory`, or a Redis server's URL such as `redis://127.0.0.1/`".into()),
    }
}

/// Whether a policy is one, and whether all go together, shows when limits are made of them.
fn plans(text: &str) -> Result<Vec<(String, String)>, String> {
    let named = |part: &str| {
        let (name, policy) = part.split_once('=')?;
        Some((name.trim().to_owned(), policy.trim().to_owned())).filter(|(name, _)| !name.is_empty())
    };
    text.split(',').map(named).collect::<Option<_>>().ok_or("give `free=50/day,pro=500/day`".into())
}

fn number(text: &str) -> Result<u64, String> {
    text.parse().ok().filter(|number| *number > 0).ok_or("give a number above 0".into())
}

fn on_or_off(text: &str) -> Result<bool, String> {
    match text {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err("give `on` or `off`".into()),
    }
}

fn span(text: &str) -> Result<Duration, String> {
    let number = text.strip_suffix('s').and_then(|number| number.parse().ok()).filter(|number| *number <= 86_400);
    number.map(Duration::from_secs).ok_or("give whole seconds, such as `600s`".into())
}
