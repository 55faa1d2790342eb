//! Edges that the suite and the differential test do not come to: how long keys live, clocks that go on within a call, and
//! times that no double holds.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rebate_core::{
    Clock, Decision, Error, Item, Limit, Limiter, ManualClock, Policy, Receipt, Retry, Settlement, Shortfall, Timestamp,
};
use rebate_redis::RedisStore;
use rebate_servers::Server;

const DAY: Duration = Duration::from_secs(86_400);
const START: Timestamp = Timestamp::from_micros(1_700_000_000_000_000);

fn server() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(Server::start)
}

fn limiter(prefix: &str, clock: impl Clock) -> Limiter<RedisStore> {
    let builder = RedisStore::builder(server().url()).prefix(prefix).clock(clock);
    Limiter::new(builder.build().expect("sound settings"))
}

fn limit(policy: Result<Policy, Error>) -> Limit {
    Limit::of("limit", policy.expect("in bounds")).expect("a good name")
}

async fn charged(limiter: &Limiter<RedisStore>, limit: &Limit, cost: u64) -> Receipt {
    match limiter.charge_all(&[Item::new(limit, "ada").cost(cost)]).await {
        Ok(Decision::Allowed(receipt)) => receipt,
        other => panic!("not admitted: {other:?}"),
    }
}

#[tokio::test]
async fn a_sliding_count_that_a_refund_has_moved_on_lives_as_long_as_the_next_charge_counts() {
    // The last millisecond of a bucket.
    let clock = ManualClock::at(Timestamp::from_micros(20_000 * DAY.as_micros() as u64 - 1000));
    let (limiter, limit) = (limiter("moved", clock.clone()), limit(Policy::sliding(5, DAY)));
    let mut receipt = charged(&limiter, &limit, 2).await;
    clock.advance(Duration::from_millis(2));
    limiter.refund_parts(&mut receipt, &[1]).await.expect("a server");
    let _receipt = charged(&limiter, &limit, 1).await;
    let left: i64 = redis::from_redis_value(server().command(&["PTTL", "moved:{kada}:c:limit"])).expect("a number");
    assert!(left > 2 * DAY.as_millis() as i64, "it counts for two days, and is kept for {left} ms");
    // What was given back is known still.
    assert_eq!(limiter.refund_parts(&mut receipt, &[1]).await.expect("a server").parts[0].given_back, 0);
}

/// Goes on at every reading.
struct Ticking(AtomicU64);

impl Clock for Ticking {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.0.fetch_add(1_000_000, Ordering::Relaxed))
    }
}

#[tokio::test]
async fn a_bucket_taken_over_at_another_rate_holds_no_more_than_its_burst() {
    let limiter = limiter("ticking", Ticking(AtomicU64::new(START.as_micros())));
    let old = limit(Policy::bucket(1, DAY, 5));
    let _receipt = charged(&limiter, &old, 1).await;
    // A thousand in a day of 86,400 seconds.
    let new = limit(Policy::bucket(864_000_000, DAY, 5));
    limiter.replace(&new);
    let receipt = charged(&limiter, &new, 4).await;
    assert_eq!(receipt.statuses()[0].remaining(), 1, "full but for the four");
}

#[tokio::test]
async fn a_bucket_s_refund_is_exact_behind_centuries_of_refunds() {
    let century = 36_525 * DAY;
    let clock = ManualClock::at(START);
    let (limiter, limit) = (limiter("centuries", clock.clone()), limit(Policy::bucket(10, century, 10)));
    let mut early = charged(&limiter, &limit, 5).await;
    let _held = charged(&limiter, &limit, 2).await;
    for _ in 0..60 {
        let mut receipt = charged(&limiter, &limit, 3).await;
        limiter.refund_parts(&mut receipt, &[3]).await.expect("a server");
    }
    clock.advance(century / 5);
    // Of the five, two have refilled since: three are credited, and two of seven count still.
    limiter.refund_parts(&mut early, &[4]).await.expect("a server");
    let statuses = limiter.peek_all(&[Item::new(&limit, "ada")]).await.expect("a server");
    assert_eq!(statuses[0].remaining(), 8);
}

#[tokio::test]
async fn a_true_cost_above_every_quota_is_never_admitted_however_much_was_charged() {
    let clock = ManualClock::at(START);
    let (limiter, limit) = (limiter("above", clock.clone()), limit(Policy::fixed(1 << 52, DAY / 4)));
    let mut receipt = charged(&limiter, &limit, 1 << 52).await;
    clock.advance(DAY / 4);
    let settlement = limiter.settle_parts(&mut receipt, &[u64::MAX], Shortfall::Refuse).await.expect("a server");
    let Settlement::Refused(denial) = settlement else { panic!("topped up: {settlement:?}") };
    assert_eq!(denial.retry(), Retry::Never);
}

#[tokio::test]
async fn a_string_of_somebody_else_is_no_count_and_harms_no_other() {
    let (limiter, limit) = (limiter("foreign", ManualClock::at(START)), limit(Policy::fixed(5, DAY)));
    let items = ["ada", "bob", "carl"].map(|key| Item::new(&limit, key).cost(2));
    let mut receipt = limiter.charge_all(&items).await.expect("a server").receipt().expect("it fits");
    // Too long for a state, and one that begins as a log's does.
    for (key, text) in [("ada", "nothing of ours".repeat(9)), ("bob", "no statL".into())] {
        server().command(&["SET", &format!("foreign:{{k{key}}}:c:limit"), &text, "EX", "3600"]);
    }
    let statuses = limiter.peek_all(&items).await.expect("an answer");
    assert_eq!(statuses.iter().map(|status| status.remaining()).collect::<Vec<_>>(), [5, 5, 3]);
    let page = limiter.list(&limit, None, 10).await.expect("an answer");
    assert_eq!(page.keys.iter().map(|(key, _)| key.as_ref().bytes()).collect::<Vec<_>>(), [b"carl"]);
    let refund = limiter.refund_parts(&mut receipt, &[2, 2, 2]).await.expect("an answer");
    assert_eq!(
        refund.parts.iter().map(|part| (part.given_back, part.expired)).collect::<Vec<_>>(),
        [(0, true), (0, true), (2, false)]
    );
    let _receipt = charged(&limiter, &limit, 5).await;
}
