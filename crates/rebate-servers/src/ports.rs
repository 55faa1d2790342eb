//! Free ports.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::SystemTime;

/// Below the ports from which Linux (32768) and macOS (49152) number outgoing connections. Asking for port 0
/// would give one of those: while a server is down, a client's own connection could then take the port, or
/// connect to itself on it. Twice this range ends below 32768 too, so that a cluster's bus (port + 10000) is
/// free of the same trouble and of the other servers' ports.
const FIRST: u32 = 10_000;
const COUNT: u32 = 10_000;

/// What a cluster node adds to its port to find that of its bus.
const BUS: u16 = 10_000;

/// A port that nothing listens on, nor on its bus, and that was not given out by this process of late. Another
/// process may take it before it is used: whoever uses it must be ready to ask again.
pub(crate) fn free() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(u32::MAX);
    // Processes that start together begin far apart.
    let nanoseconds = SystemTime::UNIX_EPOCH.elapsed().map_or(0, |elapsed| elapsed.subsec_nanos());
    let start = (std::process::id().wrapping_mul(2_654_435_761) ^ nanoseconds) % COUNT;
    let _ = NEXT.compare_exchange(u32::MAX, start, Ordering::Relaxed, Ordering::Relaxed);
    for _ in 0..COUNT {
        let port = (FIRST + NEXT.fetch_add(1, Ordering::Relaxed) % COUNT) as u16;
        if is_free(port) && is_free(port + BUS) {
            return port;
        }
    }
    panic!("no port from {FIRST} on is free");
}

fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}
