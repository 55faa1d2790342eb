//! Lines of access logs.

/// A line of the Common log format.
pub(crate) fn line(ip: &str, time: &str, status: u16) -> String {
    format!("{ip} - - [17/May/2015:{time} +0000] \"GET /a?b=1 HTTP/1.1\" {status} 12\n")
}
