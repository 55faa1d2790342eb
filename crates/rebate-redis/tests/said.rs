//! What nobody is left to be told of is said in the log. A program of its own, all of whose threads listen: `tracing` may
//! else take it from a thread without a listener that nobody does.

/// What other programs of tests use too.
mod support {
    #[allow(dead_code, reason = "each program takes what it needs")]
    pub(crate) mod scene;
    pub(crate) mod steps;
}

use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rebate_core::{Fallback, Item, Limit, Limiter};
use rebate_redis::RedisStore;
use rebate_servers::{Proxy, Server};
use tracing::subscriber::DefaultGuard;
use tracing_subscriber::fmt::MakeWriter;

use support::scene::{limiter, limits, patient, used};
use support::steps::{charged, until};

/// The lines logged by this thread.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn listen(&self) -> DefaultGuard {
        let subscriber = tracing_subscriber::fmt().with_ansi(false).without_time().with_writer(self.clone()).finish();
        tracing::subscriber::set_default(subscriber)
    }

    /// The lines of the store.
    fn lines(&self) -> Vec<String> {
        let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        assert!(!text.contains("user:42"), "a key is in the log: {text}");
        text.lines().filter(|line| line.contains("rebate_redis")).map(|line| line.trim().to_owned()).collect()
    }

    async fn line(&self) -> String {
        until("a line", async || !self.lines().is_empty()).await;
        assert_eq!(self.lines().len(), 1, "{:#?}", self.lines());
        self.lines().remove(0)
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Log;

    fn make_writer(&'a self) -> Log {
        self.clone()
    }
}

async fn scene() -> (Server, Proxy, Limiter<RedisStore>, Limit) {
    let server = Server::start();
    let network = Proxy::start(server.address());
    let limiter = limiter(patient(network.url()));
    let limit = limits(20, Fallback::Error).remove(0);
    // Connected, functions loaded.
    let _receipt = charged(&limiter, &[Item::new(&limit, "warm")]).await;
    (server, network, limiter, limit)
}

#[tokio::test]
async fn a_guard_whose_refund_fails() {
    let (log, (_server, network, limiter, limit)) = (Log::default(), scene().await);
    let _listening = log.listen();
    let items = [Item::new(&limit, "user:42").cost(3)];
    drop(limiter.guard(charged(&limiter, &items).await));
    until("the guard has refunded", async || used(&limiter, std::slice::from_ref(&limit), "user:42").await == [0])
        .await;
    assert!(log.lines().is_empty(), "what succeeds is no event: {:#?}", log.lines());
    let mut receipt = charged(&limiter, &items).await;
    let _refund = limiter.refund_up_to(&mut receipt, 1).await.expect("an answer");
    network.refuse();
    // One that waits less.
    let brief = Duration::from_millis(100);
    let other = support::scene::limiter(patient(network.url()).connect_timeout(brief).call_timeout(brief));
    let receipt = other.receipt(&limiter.token(&receipt).expect("a token")).expect("its own");
    drop(other.guard(receipt));
    let line = log.line().await;
    assert!(line.starts_with("ERROR") && line.contains("were not given back"), "{line}");
    assert!(line.contains(&format!("limit=\"{}\" units=2 error=", limit.name())), "{line}");
}

#[tokio::test]
async fn a_charge_whose_caller_has_gone_and_whose_answer_is_lost() {
    let (log, (_server, network, limiter, limit)) = (Log::default(), scene().await);
    let _listening = log.listen();
    network.hole();
    let charging = tokio::spawn(async move { limiter.charge_all(&[Item::new(&limit, "user:42").cost(3)]).await });
    let sent = network.request_bytes();
    until("it is sent", async || network.request_bytes() > sent).await;
    charging.abort();
    assert!(charging.await.unwrap_err().is_cancelled());
    assert!(log.lines().is_empty(), "the answer may come yet");
    // Which closes the connection.
    network.pass();
    let line = log.line().await;
    assert!(line.starts_with("ERROR") && line.contains("units=3"), "{line}");
    assert!(line.contains("may_have_happened=true"), "{line}");
}

#[test]
fn a_guard_that_outlives_its_runtime() {
    let log = Log::default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (_servers, guard) = runtime.block_on(async {
        let (server, network, limiter, limit) = scene().await;
        let receipt = charged(&limiter, &[Item::new(&limit, "user:42").cost(3)]).await;
        ((server, network), limiter.guard(receipt))
    });
    drop(runtime);
    let _listening = log.listen();
    drop(guard);
    let lines = log.lines();
    assert_eq!(lines.len(), 1, "{lines:#?}");
    assert!(lines[0].starts_with("ERROR") && lines[0].contains("or it has ended"), "{lines:#?}");
    assert!(lines[0].contains("units=3"), "{lines:#?}");
}
