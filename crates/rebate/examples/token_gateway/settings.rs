//! What the environment says.

use std::net::SocketAddr;
use std::time::Duration;

use rebate::Limit;

use crate::gateway::Terms;

/// The settings, each of one variable. One that is unset or empty has its default.
#[derive(Debug)]
pub(crate) struct Settings {
    /// `LISTEN`: where the gateway is served.
    pub(crate) listen: SocketAddr,
    /// `STORE`: a Redis server's URL; `None`: memory.
    pub(crate) store: Option<String>,
    /// `UPSTREAM`: the API behind the gateway; `None`: the small one that is built in.
    pub(crate) upstream: Option<String>,
    /// `MINUTE`, `DAY`, `SETTLE`, `WITHIN` and `ASSUMED`.
    pub(crate) terms: Terms,
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
            store: setting("STORE", "memory", store, faults_of),
            upstream: setting("UPSTREAM", "built-in", upstream, faults_of),
            terms: Terms {
                minute: setting("MINUTE", "10000/minute", policy, faults_of),
                day: setting("DAY", "100000/day", policy, faults_of),
                settles: setting("SETTLE", "on", on_or_off, faults_of),
                within: setting("WITHIN", "10m", span, faults_of),
                assumed: setting("ASSUMED", "1000", tokens, faults_of),
            },
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
        let is_url = name == "STORE" || name == "UPSTREAM";
        let shown = if is_url { String::new() } else { format!(" `{}`", text.escape_debug()) };
        faults.push(format!("{name}{shown}: {right}"));
        read(default).expect("a default is right")
    })
}

fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| "give an address and a port, such as `127.0.0.1:8080`".into())
}

fn store(text: &str) -> Result<Option<String>, String> {
    match text {
        "memory" => Ok(None),
        url if url.contains("://") => Ok(Some(url.to_owned())),
        _ => Err("give `memory`, or a Redis server's URL such as `redis://127.0.0.1/`".into()),
    }
}

fn upstream(text: &str) -> Result<Option<String>, String> {
    match text {
        "built-in" => Ok(None),
        url if url.starts_with("http://") => Ok(Some(url.trim_end_matches('/').to_owned())),
        _ => Err("give `built-in`, or the URL of an API such as `http://127.0.0.1:8000` (without TLS)".into()),
    }
}

fn policy(text: &str) -> Result<String, String> {
    let fault = Limit::new("tokens", text).err().map(|error| error.to_string());
    // Below its first line it shows the place.
    fault.map_or_else(|| Ok(text.to_owned()), |fault| Err(fault.lines().next().unwrap_or_default().to_owned()))
}

fn on_or_off(text: &str) -> Result<bool, String> {
    match text {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err("give `on` or `off`".into()),
    }
}

fn span(text: &str) -> Result<Duration, String> {
    let (number, unit) = text.split_at(text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len()));
    let seconds = match unit {
        "s" => Some(1),
        "m" => Some(60),
        _ => None,
    };
    let number: Option<u64> = number.parse().ok().filter(|number| (1..=86_400).contains(number));
    let (Some(seconds), Some(number)) = (seconds, number) else {
        return Err("give a time such as `30s` or `10m`".into());
    };
    Ok(Duration::from_secs(number * seconds))
}

fn tokens(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| "give a number of tokens, such as `1000`".into())
}
