//! Real servers for tests and benches: single ones, replicas, clusters, sentinels, and a network that can be
//! made faulty. Each is started on free ports of 127.0.0.1 in a directory of its own and is gone, directory
//! included, when its value is dropped, when a test panics, and when the whole process dies (a watching shell
//! sees to that, so servers may also be kept in a `static`).
//!
//! The program is `redis-server` from the path, or the one that the variable `REBATE_SERVER` names, such as
//! `valkey-server`. Where it is missing a test fails with the line that installs it. Nothing is skipped.
//!
//! ```
//! use rebate_servers::{Proxy, Server};
//!
//! let server = Server::builder().argument("maxmemory", "3mb").start();
//! let network = Proxy::start(server.address());
//! let mut connection = network.client().get_connection().unwrap();
//! network.lose_next_reply();
//! assert!(redis::cmd("INCR").arg("key").query::<u64>(&mut connection).is_err());
//! assert_eq!(server.ask(&["GET", "key"]), "1");
//! ```
//!
//! What goes wrong here is a fault of the test or of the machine, so everything panics rather than return an
//! error; only [`Server::try_command`] answers with what the server said.

mod certificates;
mod cluster;
mod home;
mod ports;
mod process;
mod proxy;
mod replica;
mod sentinel;
mod server;
mod wait;

pub use cluster::Cluster;
pub use process::program;
pub use proxy::Proxy;
pub use replica::Replica;
pub use sentinel::Sentinels;
pub use server::{Builder, Server};
pub use wait::until;
