//! Reservations where they stand: behind the state of their count, and no longer than they say anything.

use std::time::Duration;

use rebate_core::{Item, Limit, Limiter, ManualClock, Receipt, Shortfall, Timestamp};
use rebate_redis::RedisStore;
use rebate_servers::Server;

const SECOND: Duration = Duration::from_secs(1);

fn limiter(server: &Server, clock: &ManualClock) -> Limiter<RedisStore> {
    Limiter::new(RedisStore::builder(server.url()).clock(clock.clone()).build().expect("sound settings"))
}

async fn reserved(limiter: &Limiter<RedisStore>, limit: &Limit, within: Duration) -> Receipt {
    let items = [Item::new(limit, "ada")];
    limiter.reserve(&items, within).await.expect("a server").receipt().expect("it fits")
}

fn state(server: &Server) -> (String, usize) {
    let name = "rebate:{kada}:c:calls";
    let letter = server.ask(&["GETRANGE", name, "7", "7"]);
    (letter, server.ask(&["STRLEN", name]).parse().expect("a length"))
}

#[tokio::test]
async fn a_count_bears_them_while_there_are_any_and_not_those_of_windows_gone() {
    let policies = ["9/10s", "9/10s from first", "9/10s sliding", "9/10s sliding log", "9/10s burst 9"];
    for (policy, (letter, header)) in policies.into_iter().zip([("A", 64), ("F", 64), ("S", 88), ("L", 104), ("B", 80)])
    {
        let (server, clock) = (Server::start(), ManualClock::at(Timestamp::from_micros(1_790_000_000_000_000)));
        let limiter = limiter(&server, &clock);
        let limit = limiter.limit("calls", policy).expect("a limit");
        let small = letter.to_lowercase();
        let mut first = reserved(&limiter, &limit, 5 * SECOND).await;
        let mut second = reserved(&limiter, &limit, 3 * SECOND).await;
        assert_eq!(state(&server), (small.clone(), header + 8 + 64), "{policy}");
        let _plain = limiter.charge(&limit, "ada").await.expect("a server").receipt().expect("it fits");
        assert_eq!(state(&server), (small.clone(), header + 8 + 64), "{policy}");
        for (receipt, left) in [(&mut first, 8 + 32), (&mut second, 0)] {
            limiter.settle(receipt, 1, Shortfall::Refuse).await.expect("a server").settled().expect("settled");
            let letter = if left > 0 { &small } else { letter };
            assert_eq!(state(&server), (letter.to_owned(), header + left), "{policy}");
        }
        for number in 0..20 {
            // So long that all windows are over by then, or not; a bucket's may go on.
            let _forgotten =
                reserved(&limiter, &limit, if number % 2 == 0 { 100_000 * SECOND } else { 5 * SECOND }).await;
            clock.advance(Duration::from_millis(if number < 10 { 40_000 } else { 4000 }));
            let (_, length) = state(&server);
            assert!(
                length <= header + 2 * 16 + 3 * 40 + 8 + 3 * 32,
                "{policy}: {length} bytes, of windows that are gone"
            );
        }
    }
}

#[tokio::test]
async fn one_process_reserves_and_what_another_meets_has_lapsed_or_is_settled() {
    let (server, clock) = (Server::start(), ManualClock::at(Timestamp::from_micros(1_790_000_000_000_000)));
    let (one, other) = (limiter(&server, &clock), limiter(&server, &clock));
    let limit = one.limit("calls", "3/hour").expect("a limit");
    other.register(&limit).expect("the same limit");
    let _lost = reserved(&one, &limit, 10 * SECOND).await;
    let token = one.token(&reserved(&one, &limit, 10 * SECOND).await).expect("a token");
    let mut copy = other.receipt(&token).expect("a token of this store");
    other.settle(&mut copy, 2, Shortfall::Refuse).await.expect("a server").settled().expect("settled");
    assert_eq!(other.peek(&limit, "ada").await.expect("a server").used(), 3);
    clock.advance(10 * SECOND);
    assert_eq!(other.peek(&limit, "ada").await.expect("a server").used(), 2);
    assert_eq!(state(&server), ("A".to_owned(), 64 + 16 + 40), "its mark, and nothing reserved");
}

/// Anyone may write to a server: what cannot be read is as if absent, and no error that stays.
#[tokio::test]
async fn what_cannot_be_read_behind_a_state_is_as_if_absent() {
    let (server, clock) = (Server::start(), ManualClock::at(Timestamp::from_micros(1_790_000_000_000_000)));
    let limiter = limiter(&server, &clock);
    let limit = limiter.limit("calls", "3/hour").expect("a limit");
    for bad in ["\u{7f}\u{7f}\u{7f}\u{7f}\u{7f}\u{7f}\u{7f}\u{7f}", "zzzzzzzz", "12345678", "x"] {
        let mut receipt = reserved(&limiter, &limit, 10 * SECOND).await;
        server.command(&["APPEND", "rebate:{kada}:c:calls", bad]);
        assert_eq!(limiter.peek(&limit, "ada").await.expect("an answer").used(), 0, "{bad:?}");
        let refund = limiter.refund(&mut receipt).await.expect("an answer");
        assert!(refund.parts[0].expired, "{bad:?}: {refund:?}");
        let _charged = limiter.charge(&limit, "ada").await.expect("an answer").receipt().expect("it fits");
        assert_eq!(state(&server), ("A".to_owned(), 64), "{bad:?}");
        assert!(limiter.reset(&limit, "ada").await.expect("an answer"));
    }
}

/// A refund of several parts that fails at a later one has done the earlier ones, and they keep what else is reserved.
#[tokio::test]
async fn a_refund_that_fails_half_way_leaves_reserved_what_it_did_not_give_back() {
    let (server, clock) = (Server::start(), ManualClock::at(Timestamp::from_micros(1_790_000_000_000_000)));
    let limiter = limiter(&server, &clock);
    let calls = limiter.limit("calls", "9/hour").expect("a limit");
    let log = limiter.limit("log", "9/hour sliding log").expect("a limit");
    let _other = reserved(&limiter, &calls, 10 * SECOND).await;
    let items = [Item::new(&calls, "ada"), Item::new(&log, "ada")];
    let mut both = limiter.charge_all(&items).await.expect("a server").receipt().expect("it fits");
    server.command(&["SET", "rebate:{kada}:c:log:e", "somebody else's"]);
    limiter.refund(&mut both).await.expect_err("a foreign type");
    assert_eq!(limiter.peek(&calls, "ada").await.expect("a server").used(), 1);
    clock.advance(10 * SECOND);
    assert_eq!(limiter.peek(&calls, "ada").await.expect("a server").used(), 0);
}
