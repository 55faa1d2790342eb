//! One server does what it says.

use rebate_servers::{Server, until};
use redis::{Commands, Value};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

#[test]
fn starts_answers_and_leaves_nothing() {
    let server = Server::start();
    let directory = directory(&server);
    assert_eq!(server.command(&["PING"]), Value::SimpleString("PONG".into()));
    assert!(server.url().ends_with(&server.address().port().to_string()));
    let pid = server.pid().unwrap();
    assert!(exists(pid) && std::fs::exists(&directory).unwrap());
    drop(server);
    assert!(!exists(pid) && !std::fs::exists(&directory).unwrap());
}

#[test]
fn a_panic_leaves_nothing() {
    let (sender, receiver) = std::sync::mpsc::channel();
    let test = std::thread::spawn(move || {
        let server = Server::start();
        sender.send((server.pid().unwrap(), directory(&server))).unwrap();
        panic!("as a failing test does");
    });
    assert!(test.join().is_err());
    let (pid, directory) = receiver.recv().unwrap();
    assert!(!exists(pid) && !std::fs::exists(directory).unwrap());
}

/// Also of servers that are never dropped: those in statics, and all when the tests are killed.
#[test]
fn a_process_that_dies_leaves_nothing() {
    const CHILD: &str = "REBATE_SERVERS_TEST_DIES";
    if std::env::var_os(CHILD).is_some() {
        let (server, frozen) = (Server::start(), Server::start());
        let frozen_directory = directory(&frozen);
        frozen.freeze();
        for (server, directory) in [(&server, directory(&server)), (&frozen, frozen_directory)] {
            println!("\nstarted {} {directory}", server.pid().unwrap());
        }
        let kill = Command::new("sh").args(["-c", "kill -KILL $PPID"]).status();
        panic!("still alive after {kill:?}");
    }
    let child = again("a_process_that_dies_leaves_nothing").env(CHILD, "1").output().unwrap();
    let text = String::from_utf8(child.stdout).unwrap();
    let started: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("started ")?.split_once(' ')).collect();
    assert_eq!(started.len(), 2, "{text}");
    for (pid, directory) in started {
        let pid = pid.parse().unwrap();
        until("both are gone", || (!exists(pid) && !std::fs::exists(directory).unwrap()).then_some(()));
    }
}

#[test]
fn a_missing_program_is_named_with_the_line_that_installs_it() {
    let child =
        again("starts_answers_and_leaves_nothing").env("REBATE_SERVER", "/nowhere/redis-server").output().unwrap();
    assert!(!child.status.success());
    let said = String::from_utf8_lossy(&child.stderr).into_owned() + &String::from_utf8_lossy(&child.stdout);
    assert!(said.contains("apt-get install redis-server") && said.contains("brew install redis"), "{said}");
}

#[test]
#[should_panic(expected = "Bad directive or wrong number of arguments")]
fn a_server_that_does_not_start_says_why() {
    Server::builder().argument("no-such-setting", "1").start();
}

#[test]
fn a_killed_server_comes_back_empty() {
    let server = Server::start();
    let (pid, address) = (server.pid().unwrap(), server.address());
    let _: () = server.client().set("key", "value").unwrap();
    server.kill();
    assert!(!exists(pid) && !server.is_running() && server.pid().is_none());
    assert!(TcpStream::connect(address).is_err());
    server.restart();
    assert!(server.is_running() && server.address() == address);
    assert_eq!(server.command(&["DBSIZE"]), Value::Int(0));
}

#[test]
fn a_persistent_server_comes_back_with_all_it_acknowledged() {
    let server = Server::builder().persistent(true).start();
    for number in 0..100 {
        let _: () = server.client().set(number, "value").unwrap();
    }
    server.restart();
    assert_eq!(server.command(&["DBSIZE"]), Value::Int(100));
}

#[test]
fn a_frozen_server_answers_when_it_thaws() {
    let server = Server::start();
    let mut connection = TcpStream::connect(server.address()).unwrap();
    server.freeze();
    assert!(server.is_running());
    connection.write_all(b"PING\r\n").unwrap();
    connection.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    let mut answer = [0; 7];
    assert!(connection.read(&mut answer).is_err(), "it stands still");
    connection.set_read_timeout(None).unwrap();
    server.thaw();
    connection.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"+PONG\r\n");
    server.freeze();
    let pid = server.pid().unwrap();
    server.restart();
    assert!(!exists(pid) && server.ask(&["PING"]) == "PONG", "a frozen one restarts too");
}

#[test]
fn arguments_and_users_take_hold() {
    let server = Server::builder()
        .argument("maxmemory", "3mb")
        .user("clerk", "till", "~till:* +@all")
        .user("default", "unknown", "~* &* +@all")
        .start();
    assert_eq!(server.information("maxmemory").as_deref(), Some("3145728"));
    assert!(server.client().set::<_, _, ()>("key", 1).is_err(), "default needs its password");
    let mut clerk = redis::Client::open(server.url_of("clerk", "till")).unwrap().get_connection().unwrap();
    let _: () = clerk.set("till:1", 1).unwrap();
    assert!(clerk.set::<_, _, ()>("safe:1", 1).is_err());
}

#[test]
fn a_unix_socket_answers() {
    let server = Server::builder().unix_socket().start();
    let mut connection = redis::Client::open(server.unix_url()).unwrap().get_connection().unwrap();
    let _: () = connection.set("key", "value").unwrap();
    assert_eq!(server.ask(&["GET", "key"]), "value");
}

#[test]
fn tls_answers_those_who_trust_its_authority() {
    let (server, other) = (Server::builder().tls().start(), Server::builder().tls().start());
    let port = server.tls_address().port().to_string();
    assert_eq!(server.tls_url(), format!("rediss://127.0.0.1:{port}"));
    // Of the project's crates it is the store's to bring TLS: its tests use the URL.
    let ping = |authority: &std::path::Path, more: &[&std::path::Path]| {
        let mut client = Command::new("redis-cli");
        client.args(["-h", "127.0.0.1", "-p", &port, "--tls", "--cacert"]).arg(authority);
        if let [certificate, key] = more {
            client.arg("--cert").arg(certificate).arg("--key").arg(key);
        }
        let answer = client.arg("PING").output().expect("redis-cli, which comes with redis-server, starts");
        String::from_utf8_lossy(&answer.stdout).trim() == "PONG"
    };
    assert!(ping(&server.certificate_authority(), &[]));
    assert!(!ping(&other.certificate_authority(), &[]));
    server.command(&["CONFIG", "SET", "tls-auth-clients", "yes"]);
    assert!(!ping(&server.certificate_authority(), &[]));
    assert!(ping(&server.certificate_authority(), &[&server.certificate(), &server.private_key()]));
}

#[test]
fn many_start_at_once() {
    let servers: Vec<_> = (0..8).map(|_| std::thread::spawn(Server::start)).collect();
    let servers: Vec<_> = servers.into_iter().map(|thread| thread.join().unwrap()).collect();
    let ports: std::collections::BTreeSet<_> = servers.iter().map(|server| server.address().port()).collect();
    assert_eq!(ports.len(), 8);
}

/// One test of this file, in a process of its own.
fn again(test: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture"]);
    command
}

fn directory(server: &Server) -> String {
    let answer: Vec<String> = redis::from_redis_value(server.command(&["CONFIG", "GET", "dir"])).unwrap();
    answer[1].clone()
}

fn exists(pid: u32) -> bool {
    // An orphan that nobody waits for, in a container whose first process does not, is gone too.
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    if stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('Z')) {
        return false;
    }
    let script = "kill -0 \"$1\" 2>&1";
    Command::new("sh").args(["-c", script, "exists", &pid.to_string()]).output().unwrap().status.success()
}
