//! What the environment says.

use std::collections::HashSet;
use std::ffi::OsString;
use std::net::Ipv6Addr;
use std::time::Duration;

use rebate::{MAX_QUOTA, MAX_WINDOW};

/// The bot's settings, each of one variable. One that is unset or empty has its default.
#[derive(Debug)]
pub(crate) struct Settings {
    /// `REDIS_HOST`, in brackets where it is an address of IPv6.
    pub(crate) redis_host: String,
    /// `REDIS_PORT`.
    pub(crate) redis_port: u16,
    /// `MESSAGE_LIMIT`.
    pub(crate) messages: u64,
    /// `MESSAGE_LIMIT_TTL`.
    pub(crate) window: Duration,
    /// `WHITELISTED_USERS`.
    pub(crate) whitelisted: HashSet<String>,
}

impl Settings {
    /// Reads the variables of the process.
    ///
    /// # Errors
    /// A text for each variable that is wrong, so that all can be mended at once.
    pub(crate) fn from_environment() -> Result<Self, Vec<String>> {
        let mut faults = Vec::new();
        let settings = Settings {
            redis_host: setting("REDIS_HOST", "redis", host, &mut faults),
            redis_port: setting("REDIS_PORT", "6379", port, &mut faults),
            messages: setting("MESSAGE_LIMIT", "30", messages, &mut faults),
            window: setting("MESSAGE_LIMIT_TTL", "86400", window, &mut faults),
            whitelisted: setting("WHITELISTED_USERS", "", names, &mut faults),
        };
        if faults.is_empty() { Ok(settings) } else { Err(faults) }
    }
}

/// One variable; what is wrong with it goes to `faults`, and the value is of no use then.
fn setting<T: Default>(name: &str, default: &str, read: fn(&str) -> Result<T, String>, faults: &mut Vec<String>) -> T {
    let given = std::env::var_os(name).unwrap_or_default();
    let answer = match text(given) {
        Ok(text) => match text.trim() {
            "" => read(default),
            text => read(text),
        }
        .map_err(|right| format!("{name} is `{}`: {right}", shown(&text))),
        Err(lossy) => Err(format!("{name} is `{}`, which is not UTF-8", shown(&lossy))),
    };
    answer.unwrap_or_else(|fault| {
        faults.push(fault);
        T::default()
    })
}

fn text(value: OsString) -> Result<String, String> {
    value.into_string().map_err(|value| value.to_string_lossy().into_owned())
}

/// The value as an error shows it: without a password that somebody wrote before an `@`, in one line.
fn shown(value: &str) -> String {
    let after = value.rfind('@').map_or(value.to_owned(), |at| format!("…{}", &value[at..]));
    after.chars().take(80).flat_map(char::escape_debug).collect()
}

fn host(text: &str) -> Result<String, String> {
    if text.trim_matches(['[', ']']).parse::<Ipv6Addr>().is_ok() {
        return Ok(format!("[{}]", text.trim_matches(['[', ']'])));
    }
    if text.len() <= 253 && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte)) {
        return Ok(text.to_owned());
    }
    Err("give a host's name or address alone, such as `redis`, `10.0.0.7` or `::1`; the port is REDIS_PORT".into())
}

fn port(text: &str) -> Result<u16, String> {
    match text.parse() {
        Ok(port) if port > 0 => Ok(port),
        // Kubernetes makes such a variable for every service it calls `redis`.
        _ if text.starts_with("tcp://") => Err("give a number such as `6379`; Kubernetes has set this one for a \
             service called `redis`: set it yourself, or `enableServiceLinks: false`"
            .into()),
        _ => Err("give a number from 1 to 65535, such as `6379`".into()),
    }
}

fn messages(text: &str) -> Result<u64, String> {
    whole(text, MAX_QUOTA).ok_or_else(|| format!("give a whole number from 1 to {MAX_QUOTA}, such as `30`"))
}

fn window(text: &str) -> Result<Duration, String> {
    let longest = MAX_WINDOW.as_secs();
    let seconds = whole(text, longest);
    let right = || format!("give whole seconds from 1 to {longest}, such as `86400` for a day");
    seconds.map(Duration::from_secs).ok_or_else(right)
}

fn whole(text: &str, largest: u64) -> Option<u64> {
    text.parse().ok().filter(|number| (1..=largest).contains(number))
}

fn names(text: &str) -> Result<HashSet<String>, String> {
    if text.chars().any(char::is_control) {
        return Err("give user names with commas between them, such as `ada,grace`".into());
    }
    Ok(text.split(',').map(str::trim).filter(|name| !name.is_empty()).map(Into::into).collect())
}
