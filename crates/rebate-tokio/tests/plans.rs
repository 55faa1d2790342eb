//! Plans: asked for once, kept for a time, changed from the next charge on, with what was used.

mod common;

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use common::{MINUTE, SECOND, memory, settle_down};
use rebate_core::{Limit, Limiter, Store};
use rebate_tokio::Plans;
use tokio::sync::Semaphore;
use tokio::time::advance;

/// Where plans are looked up: it counts the lookups, reads, and answers when it is let.
#[derive(Clone)]
struct Database {
    plan: Arc<Mutex<Result<u64, &'static str>>>,
    lookups: Arc<AtomicU64>,
    answers: Arc<Semaphore>,
}

impl Database {
    fn new(plan: u64) -> Self {
        let answers = Arc::new(Semaphore::new(Semaphore::MAX_PERMITS));
        Database { plan: Arc::new(Mutex::new(Ok(plan))), lookups: Arc::default(), answers }
    }

    fn plans(&self) -> Plans<String, u64> {
        let database = self.clone();
        Plans::new(MINUTE, 1000, move |_: String| {
            let database = database.clone();
            async move {
                database.lookups.fetch_add(1, Ordering::SeqCst);
                let read = *database.plan.lock().unwrap();
                database.answers.acquire().await.unwrap().forget();
                read.map_err(io::Error::other)
            }
        })
    }

    fn set(&self, plan: Result<u64, &'static str>) {
        *self.plan.lock().unwrap() = plan;
    }

    fn lookups(&self) -> u64 {
        self.lookups.load(Ordering::SeqCst)
    }

    /// Nothing is answered until `let_answer`.
    fn hold_back(&self) {
        self.answers.forget_permits(usize::MAX);
    }

    fn let_answer(&self) {
        self.answers.add_permits(1000);
    }
}

/// Asks in a task of its own, which has begun when this returns.
async fn ask(plans: &Plans<String, u64>) -> tokio::task::JoinHandle<Result<u64, rebate_core::Error>> {
    let plans = plans.clone();
    let asked = tokio::spawn(async move { plans.of("ada").await });
    settle_down().await;
    asked
}

#[tokio::test(start_paused = true)]
async fn a_subject_is_looked_up_once_by_all_who_ask_together_and_kept_for_its_time() {
    let database = Database::new(1);
    let plans = database.plans();
    database.hold_back();
    let mut asked = Vec::new();
    for _ in 0..50 {
        asked.push(ask(&plans).await);
    }
    database.let_answer();
    for asked in asked {
        assert_eq!(asked.await.unwrap().unwrap(), 1);
    }
    assert_eq!(database.lookups(), 1);
    database.set(Ok(2));
    advance(MINUTE - SECOND).await;
    assert_eq!(plans.of("ada").await.unwrap(), 1);
    assert_eq!(plans.of("bob").await.unwrap(), 2, "another subject is another lookup");
    advance(SECOND).await;
    assert_eq!(plans.of("ada").await.unwrap(), 2, "its time is over");
    assert_eq!(database.lookups(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_plan_is_as_old_as_its_question() {
    let database = Database::new(1);
    let plans = database.plans();
    database.hold_back();
    let slow = ask(&plans).await;
    advance(MINUTE - SECOND).await;
    database.set(Ok(2));
    database.let_answer();
    assert_eq!(slow.await.unwrap().unwrap(), 1);
    assert_eq!(plans.of("ada").await.unwrap(), 1);
    advance(SECOND).await;
    assert_eq!(plans.of("ada").await.unwrap(), 2, "it was read a minute ago");
}

#[tokio::test(start_paused = true)]
async fn an_error_is_told_to_all_who_asked_and_not_kept() {
    let database = Database::new(1);
    database.set(Err("no such table"));
    let plans = database.plans();
    database.hold_back();
    let asked = [ask(&plans).await, ask(&plans).await, ask(&plans).await];
    database.let_answer();
    for asked in asked {
        let error = asked.await.unwrap().unwrap_err();
        assert!(error.is_unavailable() && !error.may_have_happened(), "{error}");
        assert!(error.to_string().contains("no such table"), "{error}");
        let source = std::error::Error::source(&error).expect("the lookup's error");
        assert_eq!(source.to_string(), "no such table");
    }
    assert_eq!(database.lookups(), 1);
    database.set(Ok(1));
    assert_eq!(plans.of("ada").await.unwrap(), 1);
    assert_eq!(database.lookups(), 2);
}

#[tokio::test(start_paused = true)]
async fn an_invalidation_during_a_lookup_wins() {
    let invalidations: [fn(&Plans<String, u64>); 2] = [|plans| plans.invalidate("ada"), |plans| plans.invalidate_all()];
    for invalidate in invalidations {
        let database = Database::new(1);
        let plans = database.plans();
        database.hold_back();
        // It has read the old plan, and not answered yet.
        let before = ask(&plans).await;
        database.set(Ok(2));
        invalidate(&plans);
        let after = ask(&plans).await;
        assert_eq!(database.lookups(), 2, "who asks after it does not wait for the lookup from before it");
        database.let_answer();
        assert_eq!(before.await.unwrap().unwrap(), 1);
        assert_eq!(after.await.unwrap().unwrap(), 2);
        assert_eq!(plans.of("ada").await.unwrap(), 2, "what is kept is the later one");
        assert_eq!(database.lookups(), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn a_lookup_from_before_an_invalidation_is_not_kept() {
    let invalidations: [fn(&Plans<String, u64>); 2] = [|plans| plans.invalidate("ada"), |plans| plans.invalidate_all()];
    for invalidate in invalidations {
        let database = Database::new(1);
        let plans = database.plans();
        database.hold_back();
        let before = ask(&plans).await;
        database.set(Ok(2));
        invalidate(&plans);
        database.let_answer();
        assert_eq!(before.await.unwrap().unwrap(), 1);
        assert_eq!(plans.of("ada").await.unwrap(), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn one_who_leaves_or_panics_while_looking_up_keeps_nobody_else_from_it() {
    let database = Database::new(1);
    let plans = database.plans();
    database.hold_back();
    let (leaves, stays) = (ask(&plans).await, ask(&plans).await);
    leaves.abort();
    settle_down().await;
    database.let_answer();
    assert_eq!(stays.await.unwrap().unwrap(), 1);

    let calls = AtomicU64::new(0);
    let plans = Plans::new(MINUTE, 1000, move |_: String| {
        let call = calls.fetch_add(1, Ordering::SeqCst);
        async move {
            assert!(call > 0, "the lookup fails");
            Ok::<_, io::Error>(call)
        }
    });
    assert!(ask(&plans).await.await.unwrap_err().is_panic());
    assert_eq!(ask(&plans).await.await.unwrap().unwrap(), 1);
}

#[tokio::test(start_paused = true)]
async fn no_more_than_its_capacity_is_kept() {
    let plans = Plans::new(MINUTE, 10, |number: u64| async move { Ok::<_, io::Error>(Arc::new(number)) });
    let mut told = Vec::new();
    for number in 0..10_000 {
        told.push(plans.of(&number).await.unwrap());
    }
    let kept = told.iter().filter(|plan| Arc::strong_count(plan) > 1).count();
    assert!(kept < 5000, "{kept} are kept");
}

/// Of each algorithm two plans, 5 and 10 units.
const ALGORITHMS: [(&str, &str); 8] = [
    ("5/day", "10/day"),
    ("5/month", "10/month"),
    ("5/24h from first", "10/24h from first"),
    ("5/day sliding", "10/day sliding"),
    ("5/day sliding log", "10/day sliding log"),
    ("1/day burst 5", "1/day burst 10"),
    ("1/day burst 5", "2/day burst 10"),
    ("5 at once for 1h", "10 at once for 1h"),
];

#[tokio::test(start_paused = true)]
async fn a_change_of_plan_holds_from_the_next_charge_and_keeps_what_was_used() {
    for (small, large) in ALGORITHMS {
        let (limiter, _) = memory();
        let free = Limit::new("uses", small).unwrap();
        let pro = free.variant(large).unwrap();
        let bought = Arc::new(Mutex::new(free.clone()));
        let database = Arc::clone(&bought);
        let plans = Plans::new(MINUTE, 1000, move |_: String| {
            let plan = database.lock().unwrap().clone();
            async move { Ok::<_, io::Error>(plan) }
        });
        let buy = |plan: &Limit| *bought.lock().unwrap() = plan.clone();

        assert_eq!(admitted(&limiter, &plans, 4).await, 4, "{small}");
        buy(&pro);
        assert_eq!(admitted(&limiter, &plans, 4).await, 1, "{small}: not known yet, by the old plan");
        plans.invalidate("ada");
        assert_eq!(limiter.peek_now(&plans.of("ada").await.unwrap(), "ada").unwrap().used(), 5, "{large}");
        assert_eq!(admitted(&limiter, &plans, 10).await, 5, "{large}: 5 of 10 were used");
        // Back again, known once its time is over.
        buy(&free);
        advance(MINUTE).await;
        let denial = limiter.charge(&plans.of("ada").await.unwrap(), "ada").await.unwrap().denial().unwrap();
        assert_eq!((denial.statuses()[0].quota(), denial.statuses()[0].remaining()), (5, 0), "{small}");
    }
}

/// How many of so many charges are admitted, each under the plan as it is then.
async fn admitted<S: Store>(limiter: &Limiter<S>, plans: &Plans<String, Limit>, charges: usize) -> usize {
    let mut admitted = 0;
    for _ in 0..charges {
        let limit = plans.of("ada").await.unwrap();
        admitted += usize::from(limiter.charge(&limit, "ada").await.unwrap().may_proceed());
    }
    admitted
}
