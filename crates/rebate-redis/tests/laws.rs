//! The Redis store under the whole suite, and every answer against the model's, on a real server.

mod harness;

use std::sync::OnceLock;

use rebate_conformance::{differential, suite};
use rebate_redis::{RedisStore, Settings};
use rebate_servers::Server;

use harness::OnServers;

const REDIS: OnServers<RedisStore> =
    OnServers { settings: || Settings::url(server().url()), across_groups: true, store: |store| store };

/// One server for all tests of the program.
fn server() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(Server::start)
}

suite!(REDIS, without memory_cap: "the server's own maxmemory is the cap; tests/trouble.rs fills it");

#[test]
fn every_answer_is_the_models() {
    differential(&REDIS, 100);
}
