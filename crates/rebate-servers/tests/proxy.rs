//! The faulty network does what it says, to a real server.

use rebate_servers::{Proxy, Server, until};
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// A connection that says and hears bytes, so that nothing is said that a test did not mean.
struct Wire(TcpStream);

impl Wire {
    fn open(proxy: &Proxy) -> Self {
        let stream = TcpStream::connect(proxy.address()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        Self(stream)
    }

    fn say(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).unwrap();
    }

    /// So many bytes, or fewer where the connection ends.
    fn hear(&mut self, count: usize) -> String {
        let mut heard = vec![0; count];
        let mut length = 0;
        while length < count {
            match self.0.read(&mut heard[length..]) {
                Ok(0) => break,
                Ok(read) => length += read,
                Err(error) if error.kind() == ErrorKind::ConnectionReset => break,
                Err(error) => panic!("{error}"),
            }
        }
        String::from_utf8(heard[..length].to_vec()).unwrap()
    }

    fn count_up(&mut self) -> String {
        self.say("INCR count\r\n");
        self.hear(4)
    }

    fn is_silent(&mut self) -> bool {
        self.0.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        let answer = self.0.read(&mut [0]);
        self.0.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        answer.is_err_and(|error| matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut))
    }
}

fn started() -> (Server, Proxy) {
    let server = Server::start();
    let proxy = Proxy::start(server.address());
    (server, proxy)
}

fn count(server: &Server) -> String {
    redis::from_redis_value::<Option<String>>(server.command(&["GET", "count"])).unwrap().unwrap_or_default()
}

#[test]
fn passes_and_counts() {
    let (_server, proxy) = started();
    let mut wire = Wire::open(&proxy);
    assert_eq!(wire.count_up(), ":1\r\n");
    assert_eq!((proxy.connections(), proxy.open_connections()), (1, 1));
    assert_eq!((proxy.request_bytes(), proxy.reply_bytes()), (12, 4));
    drop(wire);
    until("the connection is gone", || (proxy.open_connections() == 0).then_some(()));
    let mut connection = proxy.client().get_connection().unwrap();
    let long = "x".repeat(3_000_000);
    redis::cmd("SET").arg("long").arg(&long).exec(&mut connection).unwrap();
    assert!(redis::cmd("GET").arg("long").query::<String>(&mut connection).unwrap() == long);
}

#[test]
fn refuses_new_connections_and_keeps_old_ones() {
    let (_server, proxy) = started();
    let mut wire = Wire::open(&proxy);
    assert_eq!(wire.count_up(), ":1\r\n");
    for _ in 0..3 {
        proxy.refuse();
        assert_eq!(TcpStream::connect(proxy.address()).unwrap_err().kind(), ErrorKind::ConnectionRefused);
        proxy.pass();
        TcpStream::connect(proxy.address()).unwrap();
    }
    assert_eq!(wire.count_up(), ":2\r\n");
    proxy.refuse();
    proxy.drop_connections();
    assert_eq!(wire.hear(1), "");
}

#[test]
fn drops_connections_once() {
    let (server, proxy) = started();
    let mut wires = [Wire::open(&proxy), Wire::open(&proxy)];
    for wire in &mut wires {
        wire.count_up();
    }
    proxy.drop_connections();
    for wire in &mut wires {
        assert_eq!(wire.hear(1), "");
    }
    assert_eq!(Wire::open(&proxy).count_up(), ":3\r\n");
    server.kill();
    assert_eq!(Wire::open(&proxy).hear(1), "", "closed where the server cannot be reached");
    server.restart();
    assert_eq!(Wire::open(&proxy).count_up(), ":1\r\n");
}

#[test]
fn delays_each_way() {
    let (server, proxy) = started();
    let mut wire = Wire::open(&proxy);
    wire.count_up();
    let late = Duration::from_millis(150);
    for (number, replies) in [(2, false), (3, true)] {
        if replies {
            proxy.delay_replies(late)
        } else {
            proxy.delay(late)
        };
        let begun = Instant::now();
        assert_eq!(wire.count_up(), format!(":{number}\r\n"));
        assert!(begun.elapsed() >= late);
    }
    // What is under way together is late together.
    proxy.delay(late);
    let begun = Instant::now();
    for _ in 0..20 {
        wire.say("INCR count\r\n");
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(wire.hear(14 * 5 + 6 * 4).len(), 14 * 5 + 6 * 4);
    assert!(begun.elapsed() < 20 * late);
    // A request arrives though its client has gone.
    wire.say("INCR count\r\n");
    drop(wire);
    until("the late request", || (count(&server) == "24").then_some(()));
    // And does not when the connection was dropped: nor is anybody kept waiting for the time.
    proxy.delay(Duration::from_secs(3600));
    let before = proxy.request_bytes();
    Wire::open(&proxy).say("INCR count\r\n");
    until("the request is read", || (proxy.request_bytes() > before).then_some(()));
    proxy.drop_connections();
    drop(proxy);
    assert_eq!(count(&server), "24");
}

#[test]
fn a_hole_swallows_for_good() {
    let (server, proxy) = started();
    let (mut before, mut idle) = (Wire::open(&proxy), Wire::open(&proxy));
    assert_eq!((before.count_up(), idle.count_up()), (":1\r\n".into(), ":2\r\n".into()));
    proxy.hole();
    let mut within = Wire::open(&proxy);
    within.say("INCR count\r\n");
    before.say("INCR count\r\n");
    assert!(within.is_silent() && before.is_silent());
    until("both were read", || (proxy.request_bytes() == 48).then_some(()));
    proxy.pass();
    assert_eq!((within.hear(1), before.hear(1)), (String::new(), String::new()));
    assert_eq!(count(&server), "2");
    assert_eq!(idle.count_up(), ":3\r\n", "it lost nothing");
}

#[test]
fn truncates_in_the_middle_of_a_reply() {
    let (server, proxy) = started();
    let mut wire = Wire::open(&proxy);
    assert_eq!(wire.count_up(), ":1\r\n");
    proxy.truncate_replies(6);
    assert_eq!(wire.count_up(), ":2\r\n");
    assert_eq!(wire.count_up(), ":3");
    assert_eq!(wire.hear(1), "");
    let mut wire = Wire::open(&proxy);
    wire.say("INCR count\r\nINCR count\r\n");
    assert_eq!(wire.hear(8), ":4\r\n:5");
    proxy.truncate_replies(0);
    assert_eq!(Wire::open(&proxy).count_up(), "");
    assert_eq!(count(&server), "6");
}

#[test]
fn loses_replies_of_what_was_done() {
    let (server, proxy) = started();
    let mut wire = Wire::open(&proxy);
    assert_eq!(wire.count_up(), ":1\r\n");
    proxy.lose_replies();
    assert_eq!(wire.count_up(), "");
    assert_eq!(Wire::open(&proxy).count_up(), "");
    assert_eq!(count(&server), "3");
    proxy.pass();
    let (mut first, mut second) = (Wire::open(&proxy), Wire::open(&proxy));
    proxy.lose_next_reply();
    assert!(proxy.is_faulty());
    assert_eq!(first.count_up(), "");
    assert!(!proxy.is_faulty());
    assert_eq!(second.count_up(), ":5\r\n");
}

#[test]
fn set_from_many_threads_it_ends_all_the_same() {
    let (_server, proxy) = started();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..50 {
                    proxy.refuse();
                    proxy.pass();
                    drop(TcpStream::connect(proxy.address()));
                }
            });
        }
    });
    proxy.pass();
    assert_eq!(Wire::open(&proxy).count_up(), ":1\r\n");
}
