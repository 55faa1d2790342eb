//! What the environment says.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// The settings, each of one variable. One that is unset or empty has its default.
#[derive(Debug)]
pub(crate) struct Settings {
    /// `LISTEN`: where the API is served.
    pub(crate) listen: SocketAddr,
    /// `METRICS`: where Prometheus finds the metrics; `None`: nowhere.
    pub(crate) metrics: Option<SocketAddr>,
    /// `STORE`: a Redis server's URL; `None`: memory.
    pub(crate) store: Option<String>,
    /// `RULES`: a rule file instead of the one that is built in.
    pub(crate) rules: Option<PathBuf>,
    /// `LIMITING`.
    pub(crate) limiting: bool,
    /// `TASKS`: the folder of tasks.
    pub(crate) tasks: PathBuf,
    /// `WORKER`: whether the API works on tasks itself.
    pub(crate) works: bool,
    /// `WORK_TIME`: how long a piece of work takes.
    pub(crate) work_time: Duration,
    /// `STUCK_AFTER`: when a task that is not done is given up.
    pub(crate) stuck_after: Duration,
    /// `REFUND_ON_DISCONNECT`.
    pub(crate) refund_on_disconnect: bool,
    /// `MASK_SECRET`: processes that share it mask the same user alike.
    pub(crate) mask_secret: Option<String>,
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
            listen: setting("LISTEN", "127.0.0.1:8080", address, faults_of),
            metrics: setting("METRICS", "127.0.0.1:9464", address_or_off, faults_of),
            store: setting("STORE", "memory", store, faults_of),
            rules: setting("RULES", "", optional, faults_of).map(Into::into),
            limiting: setting("LIMITING", "on", |text| either(text, "on", "off"), faults_of),
            tasks: setting("TASKS", "target/concepts_api", |text| Ok(text.into()), faults_of),
            works: setting("WORKER", "here", |text| either(text, "here", "elsewhere"), faults_of),
            work_time: setting("WORK_TIME", "1s", span, faults_of),
            stuck_after: setting("STUCK_AFTER", "60s", span, faults_of),
            refund_on_disconnect: setting("REFUND_ON_DISCONNECT", "off", |text| either(text, "on", "off"), faults_of),
            mask_secret: setting("MASK_SECRET", "", optional, faults_of),
        };
        if faults.is_empty() { Ok(settings) } else { Err(faults) }
    }
}

/// One variable; of one that is wrong, which goes to `faults`, the default.
fn setting<T>(name: &str, default: &str, read: fn(&str) -> Result<T, String>, faults: &mut Vec<String>) -> T {
    let given = std::env::var_os(name).unwrap_or_default();
    let text = given.to_string_lossy();
    let answer = match text.trim() {
        "" => read(default),
        _ if given.to_str().is_none() => Err("it is not UTF-8".into()),
        text => read(text),
    };
    answer.unwrap_or_else(|right| {
        // A URL may hold a password.
        let shown = if name == "STORE" || name == "MASK_SECRET" {
            String::new()
        } else {
            format!(" `{}`", text.escape_debug())
        };
        faults.push(format!("{name}{shown}: {right}"));
        read(default).expect("a default is right")
    })
}

fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| "give an address and a port, such as `127.0.0.1:8080`".into())
}

fn address_or_off(text: &str) -> Result<Option<SocketAddr>, String> {
    if text == "off" { Ok(None) } else { address(text).map(Some).map_err(|right| format!("{right}, or `off`")) }
}

fn store(text: &str) -> Result<Option<String>, String> {
    match text {
        "memory" => Ok(None),
        url if url.contains("://") => Ok(Some(url.to_owned())),
        _ => Err("give `memory`, or a Redis server's URL such as `redis://127.0.0.1/`".into()),
    }
}

fn optional(text: &str) -> Result<Option<String>, String> {
    Ok((!text.is_empty()).then(|| text.to_owned()))
}

fn either(text: &str, yes: &str, no: &str) -> Result<bool, String> {
    match text {
        _ if text == yes => Ok(true),
        _ if text == no => Ok(false),
        _ => Err(format!("give `{yes}` or `{no}`")),
    }
}

fn span(text: &str) -> Result<Duration, String> {
    let (number, unit) = text.split_at(text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len()));
    let of = match unit {
        "ms" => Some(Duration::from_millis as fn(u64) -> Duration),
        "s" => Some(Duration::from_secs as fn(u64) -> Duration),
        _ => None,
    };
    let number = number.parse().ok().filter(|number| *number <= 86_400_000);
    let (Some(of), Some(number)) = (of, number) else { return Err("give a time such as `500ms` or `60s`".into()) };
    Ok(of(number))
}
