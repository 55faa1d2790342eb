//! The item, the ledger and the charge: all of it or nothing, and once.

use std::thread;

use rebate::Guard;

use crate::scene::{LEASE, Scene, over_both_stores};
use crate::service::{Service, Trouble};

over_both_stores!(
    the_same_request_sent_twice_is_billed_once,
    sent_at_once_it_is_billed_once_too,
    of_many_at_once_three_are_admitted,
    what_is_rolled_back_is_given_back,
    a_charge_whose_process_died_is_found_by_the_next_try,
    a_charge_whose_process_died_gives_itself_back,
    the_key_of_what_was_paid_back_is_charged_anew,
);

fn books(scene: &Scene) -> [i64; 3] {
    ["SELECT COUNT(*) FROM items", "SELECT COUNT(*) FROM ledger", "SELECT COALESCE(SUM(used), 0) FROM usage"]
        .map(|select| scene.number(select))
}

fn the_same_request_sent_twice_is_billed_once(scene: &Scene) {
    let first = scene.save("ada", "request-1");
    let again = scene.save("ada", "request-1");
    assert_eq!((first.status, again.status), (202, 202));
    assert_eq!([&first, &again].map(|answer| answer.header("idempotency-replayed")), [Some("false"), Some("true")]);
    assert_eq!(first.body["id"], again.body["id"]);
    assert_eq!((again.quota()[1], scene.used("ada"), books(scene)), (1, ("1/50".into(), 1), [1, 1, 1]));
    // Also when it is done, and when nothing is left.
    scene.enrich();
    for number in 2..=50 {
        assert_eq!(scene.save("ada", &format!("request-{number}")).status, 202);
        scene.enrich();
    }
    let again = scene.save("ada", "request-1");
    assert_eq!((again.status, &again.body["id"], again.text("state")), (202, &first.body["id"], "done"));
    // A key is one of its user's, and of one item.
    assert_eq!(scene.save("eve", "request-1").header("idempotency-replayed"), Some("false"));
    let other = scene.save_url("ada", "request-1", "https://example.net/");
    assert_eq!((other.status, other.text("code")), (422, "KEY_OF_ANOTHER_REQUEST"));
    assert_eq!((scene.used("ada").0, books(scene)), ("50/50".into(), [51, 51, 51]));
}

fn sent_at_once_it_is_billed_once_too(scene: &Scene) {
    let answers: Vec<_> = thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(|| scene.save("ada", "request-1"))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(answers.iter().all(|answer| answer.status == 202 && answer.body["id"] == answers[0].body["id"]));
    let new = answers.iter().filter(|answer| answer.header("idempotency-replayed") == Some("false")).count();
    assert_eq!((new, scene.used("ada"), books(scene)), (1, ("1/50".into(), 1), [1, 1, 1]));
}

fn of_many_at_once_three_are_admitted(scene: &Scene) {
    let mut statuses: Vec<_> = thread::scope(|scope| {
        let save = |number| scene.save("ada", &format!("request-{number}")).status;
        let threads: Vec<_> = (0..12).map(|number| scope.spawn(move || save(number))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    statuses.sort_unstable();
    assert_eq!(statuses, [[202; 3].as_slice(), &[429; 9]].concat());
    assert_eq!((scene.used("ada"), books(scene)), (("3/50".into(), 3), [3, 3, 3]));
}

fn what_is_rolled_back_is_given_back(scene: &Scene) {
    let kept = scene.save("ada", "kept");
    assert_eq!(kept.status, 202);
    // At the last statement, and at the commit: the row that is referred to is missing by then.
    let faults = [
        "CREATE TRIGGER fault BEFORE INSERT ON ledger BEGIN SELECT RAISE(ABORT, 'disk full'); END",
        "CREATE TABLE missing (item INTEGER REFERENCES items (id) DEFERRABLE INITIALLY DEFERRED);
         CREATE TRIGGER fault AFTER INSERT ON ledger BEGIN INSERT INTO missing VALUES (-1); END",
    ];
    for fault in faults {
        scene.execute(fault);
        for _ in 0..5 {
            let failed = scene.save("ada", "request-1");
            assert_eq!((failed.status, failed.text("code")), (500, "INTERNAL_ERROR"));
            assert_eq!((scene.used("ada"), books(scene)), (("1/50".into(), 1), [1, 1, 1]));
        }
        scene.execute("DROP TRIGGER fault");
    }
    // Its key is as good as new.
    assert_eq!(scene.save("ada", "request-1").header("idempotency-replayed"), Some("false"));
    assert_eq!((scene.used("ada"), books(scene)), (("2/50".into(), 2), [2, 2, 2]));
}

/// The process ends before the commit: the database rolls back, and nobody is left to refund.
fn charge_and_die(scene: &Scene) {
    let mut charged = None;
    let died = scene.run(move |service| {
        let died: Result<(), _> = service.database.transaction(|transaction| {
            service.save_in(transaction, "ada", "https://example.org/", "request-1", &mut charged)?;
            Err(Trouble::KeyOfAnother)
        });
        drop(charged.map(Guard::keep));
        died
    });
    assert!(matches!(died, Err(Trouble::KeyOfAnother)), "{died:?}");
    assert_eq!((scene.used("ada"), books(scene)), (("1/50".into(), 1), [0, 0, 0]));
}

fn a_charge_whose_process_died_is_found_by_the_next_try(scene: &Scene) {
    charge_and_die(scene);
    let answer = scene.save("ada", "request-1");
    assert_eq!((answer.status, answer.quota()[1]), (202, 1), "{answer:?}");
    assert_eq!((scene.used("ada"), books(scene)), (("1/50".into(), 1), [1, 1, 1]));
    // It is settled: the day stays paid.
    scene.clock.advance(2 * LEASE);
    assert_eq!(scene.used("ada"), ("1/50".into(), 0));
}

fn a_charge_whose_process_died_gives_itself_back(scene: &Scene) {
    charge_and_die(scene);
    scene.clock.advance(LEASE);
    assert_eq!(scene.used("ada"), ("0/50".into(), 0));
    let answer = scene.save("ada", "request-1");
    assert_eq!((answer.status, answer.quota()[1]), (202, 1), "{answer:?}");
    assert_eq!((scene.used("ada"), books(scene)), (("1/50".into(), 1), [1, 1, 1]));
}

fn the_key_of_what_was_paid_back_is_charged_anew(scene: &Scene) {
    let mut last = 0;
    // As often as it lapses.
    for lapsed in 0..3 {
        for replayed in ["false", "true"] {
            let answer = scene.save("ada", "request-1");
            assert_eq!((answer.status, answer.header("idempotency-replayed")), (202, Some(replayed)), "{answer:?}");
            let id = answer.body["id"].as_i64().expect("a number");
            assert_eq!((id > last, answer.text("state")), (replayed == "false", "waiting"));
            last = id;
        }
        assert_eq!((scene.used("ada"), books(scene)), (("1/50".into(), 1), [lapsed + 1, 2 * lapsed + 1, 1]));
        scene.clock.advance(LEASE);
        assert_eq!(scene.run(Service::renew_all).unwrap(), 0);
        assert_eq!((scene.used("ada"), books(scene)[2]), (("0/50".into(), 0), 0));
    }
    assert_eq!(scene.save("ada", "request-1").status, 202);
    scene.enrich();
    assert_eq!(scene.save("ada", "request-1").text("state"), "done");
    assert_eq!((scene.used("ada"), books(scene)), (("1/50".into(), 0), [4, 7, 1]));
}
