//! What is logged, at which level, and that no key is.

mod common;

use std::io::Write;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use common::{answer, answer_of, builder, later, request, rules, rules_of};
use http::Request;
use rebate_rules::Rule;
use rebate_tower::Charged;
use tracing::subscriber::DefaultGuard;
use tracing_subscriber::fmt::MakeWriter;

/// The lines logged by this thread.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn listen(&self) -> DefaultGuard {
        let subscriber =
            tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_ansi(false).without_time();
        tracing::subscriber::set_default(subscriber.with_writer(self.clone()).finish())
    }

    /// The lines since the last call.
    fn lines(&self) -> Vec<String> {
        let bytes = std::mem::take(&mut *self.0.lock().unwrap());
        let text = String::from_utf8(bytes).unwrap();
        assert!(!text.contains("user:42") && !text.contains("\"42\""), "a key is in the log: {text}");
        text.lines().filter(|line| line.contains("rebate_tower")).map(|line| line.trim().to_owned()).collect()
    }

    fn line(&self) -> String {
        let lines = self.lines();
        assert_eq!(lines.len(), 1, "{lines:#?}");
        lines[0].clone()
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

/// The masked key of a line.
fn key(line: &str) -> &str {
    let at = line.find("key=").unwrap_or_else(|| panic!("no key in {line}")) + 4;
    line[at..].split_whitespace().next().unwrap()
}

#[tokio::test]
async fn each_event_has_its_level_and_the_same_mask() {
    let log = Log::default();
    let _listening = log.listen();
    let layer = builder(rules_of(Rule::path("/generate").limit("1/day").refund(["409"])))
        .mask_secret("deployment")
        .build()
        .unwrap();
    answer(&layer, request("/generate"), 409).await;
    let refunded = log.line();
    assert!(refunded.starts_with("DEBUG") && refunded.contains("given_back=1"), "{refunded}");
    assert!(refunded.contains("rule=\"/generate\"") && refunded.contains("cause=status 409"), "{refunded}");

    answer(&layer, request("/generate"), 200).await;
    assert!(log.lines().is_empty(), "a charge is no event");

    answer(&layer, request("/generate"), 200).await;
    let denied = log.line();
    assert!(denied.starts_with("INFO") && denied.contains("limit=\"/generate\""), "{denied}");
    assert!(denied.contains("retry_after=43200"), "{denied}");
    assert_eq!(key(&denied), key(&refunded));

    let again = builder(rules()).mask_secret("deployment").build().unwrap();
    answer(&again, request("/generate"), 409).await;
    assert_eq!(key(&log.line()), key(&denied), "by every process of a deployment");
    let other = builder(rules()).build().unwrap();
    answer(&other, request("/generate"), 409).await;
    assert_ne!(key(&log.line()), key(&denied), "without its secret nobody can tell");
}

#[tokio::test]
async fn what_an_idempotency_key_is_refused_for_is_told_and_the_key_is_not() {
    let log = Log::default();
    let _listening = log.listen();
    let layer = builder(rules()).idempotency_keys(rebate_tower::IdempotencyKeys::new()).build().unwrap();
    for (key, code) in
        [("user:42", ""), ("user:42", "IDEMPOTENCY_KEY_REPLAYED"), ("user:42,", "IDEMPOTENCY_KEY_MALFORMED")]
    {
        let mut request = request("/generate");
        request.headers_mut().insert("idempotency-key", http::HeaderValue::from_static(key));
        answer(&layer, request, 200).await;
        if !code.is_empty() {
            let line = log.line();
            assert!(line.starts_with("INFO") && line.contains(code) && line.contains("key="), "{line}");
        }
    }
}

#[tokio::test]
async fn a_refund_of_nothing_is_warned_of() {
    let log = Log::default();
    let _listening = log.listen();
    let layer = builder(rules()).build().unwrap();
    for path in ["/elsewhere", "/generate"] {
        answer_of(&layer, request(path), |charged| async move {
            drop(charged.take());
            assert!(charged.refund().await.unwrap().is_none());
            200
        })
        .await;
        let line = log.line();
        assert!(line.starts_with("WARN") && line.contains("nothing charged"), "{line}");
        assert_eq!(line.contains("rule=\"/generate\""), path == "/generate", "{line}");
    }
}

#[tokio::test]
async fn trouble_with_the_store_is_told() {
    let log = Log::default();
    let _listening = log.listen();
    let (settings, limiter) = later(rules());
    let layer = settings.build().unwrap();
    let store = limiter.clone();
    answer_of(&layer, request("/generate"), move |_| {
        store.store().go_away();
        async { 409 }
    })
    .await;
    let failed = log.line();
    assert!(failed.starts_with("ERROR") && failed.contains("may_have_happened=true"), "{failed}");

    answer(&layer, request("/generate"), 409).await;
    let unchecked = log.line();
    assert!(unchecked.starts_with("WARN") && unchecked.contains("passes unchecked"), "{unchecked}");
    assert_eq!(key(&failed), key(&unchecked));

    let (settings, limiter) = later(rules_of(Rule::path("/generate").limit("1/day").on_full("deny")));
    limiter.store().full.store(true, Ordering::SeqCst);
    answer(&settings.build().unwrap(), request("/generate"), 200).await;
    let denied = log.line();
    assert!(denied.starts_with("WARN") && denied.contains("request denied"), "{denied}");
}

#[tokio::test]
async fn a_receipt_handed_to_the_store_is_told_and_a_missing_key_too() {
    let log = Log::default();
    let _listening = log.listen();
    let (settings, _) = later(rules());
    let layer = settings.refund_on_disconnect(true).build().unwrap();
    let kept: Arc<Mutex<Option<Charged>>> = Arc::default();
    {
        let keeps = Arc::clone(&kept);
        let mut future = Box::pin(answer_of(&layer, request("/generate"), move |charged| {
            *keeps.lock().unwrap() = Some(charged);
            std::future::pending()
        }));
        let waits = async { tokio::task::yield_now().await };
        tokio::select! { biased; _ = &mut future => panic!("no answer was expected"), () = waits => {} }
        for _ in 0..5 {
            tokio::select! { biased; _ = &mut future => {}, () = tokio::task::yield_now() => {} }
        }
    }
    let line = log.line();
    assert!(line.starts_with("DEBUG") && line.contains("client gone"), "{line}");
    assert!(line.contains("handed back") && !line.contains("refunded"), "what came of it is not known: {line}");
    let charged = kept.lock().unwrap().take().unwrap();
    assert!(!charged.is_charged() && charged.refund().await.unwrap().is_none());
    assert_eq!(charged.statuses().len(), 1, "what was heard last");
    assert!(log.lines().is_empty(), "it was charged: nothing to warn of");
    answer(&layer, Request::post("/generate").body(String::new()).unwrap(), 200).await;
    let line = log.line();
    assert!(line.starts_with("INFO") && line.contains("source=\"user\""), "{line}");
}
