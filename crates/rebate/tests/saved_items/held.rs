//! Places: kept from an item's creation until it is done, and no longer than somebody renews them.

use crate::scene::{LEASE, Scene, over_both_stores};
use crate::service::{Service, Trouble};

over_both_stores!(
    an_item_that_waits_with_no_worker_keeps_its_place,
    the_place_of_a_dead_renewer_frees_itself,
    what_lost_its_place_is_given_up_and_paid_back,
    what_lost_its_place_between_two_rounds_is_not_worked_on,
    what_is_started_has_a_whole_lease,
    what_could_not_be_finished_is_finished_by_the_next_step,
    a_round_of_renewals_settles_what_could_not_be,
    an_item_whose_receipt_cannot_be_read_costs_the_others_nothing,
);

/// Three items, which nobody works on.
fn three_waiting(scene: &Scene) {
    for number in 1..=3 {
        assert_eq!(scene.save("ada", &format!("request-{number}")).status, 202);
    }
}

fn an_item_that_waits_with_no_worker_keeps_its_place(scene: &Scene) {
    three_waiting(scene);
    let _running = scene.run(Service::start_next).unwrap().expect("an item waits");
    // For hours, by a round every third of a lease: two of them may be missed.
    for _ in 0..20 {
        scene.clock.advance(LEASE - std::time::Duration::from_micros(1));
        assert_eq!(scene.save("ada", "request-4").denied().0, "CONCURRENCY_LIMIT_EXCEEDED");
        assert_eq!(scene.run(Service::renew_all).unwrap(), 3);
    }
    assert_eq!(scene.used("ada"), ("3/50".into(), 3));
}

fn the_place_of_a_dead_renewer_frees_itself(scene: &Scene) {
    three_waiting(scene);
    scene.clock.advance(LEASE / 3);
    assert_eq!(scene.run(Service::renew_all).unwrap(), 3);
    // It dies here.
    scene.clock.advance(LEASE - std::time::Duration::from_micros(1));
    assert_eq!(scene.save("ada", "request-4").denied(), ("CONCURRENCY_LIMIT_EXCEEDED", 1));
    scene.clock.advance(std::time::Duration::from_micros(1));
    assert_eq!(scene.used("ada"), ("3/50".into(), 0), "the places are free, by nobody's doing");
    for number in 4..=6 {
        assert_eq!(scene.save("ada", &format!("request-{number}")).status, 202);
    }
    assert_eq!(scene.save("ada", "request-7").denied().0, "CONCURRENCY_LIMIT_EXCEEDED");
}

fn what_lost_its_place_is_given_up_and_paid_back(scene: &Scene) {
    three_waiting(scene);
    scene.enrich();
    scene.clock.advance(LEASE);
    assert_eq!(scene.save("ada", "request-4").status, 202);
    assert_eq!(scene.used("ada"), ("4/50".into(), 1));
    for round in 0..3 {
        assert_eq!(scene.run(Service::renew_all).unwrap(), 1, "{round}");
        assert_eq!(scene.used("ada"), ("2/50".into(), 1), "two were given back, once");
        assert_eq!(scene.number("SELECT used FROM usage"), 2);
    }
    assert_eq!(scene.number("SELECT COUNT(*) FROM ledger WHERE action = 'give back'"), 2);
    let states: Vec<_> = [1, 2, 3, 4].map(|id| scene.get("ada", &format!("/api/items/{id}"))).into();
    let states: Vec<_> = states.iter().map(|answer| answer.text("state")).collect();
    assert_eq!(states, ["done", "lapsed", "lapsed", "waiting"], "nothing is worked on without a place");
    scene.enrich();
    assert!(scene.run(Service::start_next).unwrap().is_none());
    assert_eq!(scene.get("eve", "/api/items/4").status, 404, "nobody else's to see");
}

fn what_lost_its_place_between_two_rounds_is_not_worked_on(scene: &Scene) {
    three_waiting(scene);
    scene.clock.advance(LEASE);
    assert_eq!(scene.save("ada", "request-4").status, 202);
    let started = scene.run(Service::start_next).unwrap().expect("one has its place");
    assert_eq!((started.id, started.state.as_str()), (4, "running"), "no round of renewals has been since");
    assert_eq!(scene.used("ada"), ("1/50".into(), 1), "the others are paid back");
    assert_eq!(scene.number("SELECT COUNT(*) FROM items WHERE state = 'lapsed'"), 3);
    assert!(scene.run(Service::start_next).unwrap().is_none());
}

fn what_is_started_has_a_whole_lease(scene: &Scene) {
    three_waiting(scene);
    scene.execute("UPDATE items SET receipt = 'of another store' WHERE id = 1");
    scene.clock.advance(LEASE - std::time::Duration::from_micros(1));
    let started = scene.run(Service::start_next).unwrap().expect("an item waits");
    assert_eq!(started.id, 2, "one whose receipt cannot be read does not hold up the others");
    scene.clock.advance(LEASE - std::time::Duration::from_micros(1));
    assert_eq!(scene.used("ada"), ("3/50".into(), 1));
}

fn what_could_not_be_finished_is_finished_by_the_next_step(scene: &Scene) {
    three_waiting(scene);
    scene.execute(
        "CREATE TRIGGER fault BEFORE UPDATE ON items WHEN NEW.state = 'done'
         BEGIN SELECT RAISE(ABORT, 'disk full'); END",
    );
    let mut worker = scene.worker();
    for _ in 0..3 {
        let failed = scene.block_on(worker.step());
        assert!(matches!(failed, Err(Trouble::Database(_))), "{failed:?}");
        assert_eq!(scene.run(Service::renew_all).unwrap(), 3);
        assert_eq!(scene.number("SELECT COUNT(*) FROM items WHERE state = 'running'"), 1, "nothing else is begun");
    }
    scene.execute("DROP TRIGGER fault");
    assert!(scene.block_on(worker.step()).unwrap());
    assert_eq!(scene.get("ada", "/api/items/1").text("state"), "done");
    assert_eq!(scene.used("ada"), ("3/50".into(), 2), "its place is free");
    // And on it goes.
    for more in [true, true, false] {
        assert_eq!(scene.block_on(worker.step()).unwrap(), more);
    }
    assert_eq!(scene.used("ada"), ("3/50".into(), 0));
}

fn a_round_of_renewals_settles_what_could_not_be(scene: &Scene) {
    // As `save` leaves it when its process ends after the commit: not settled.
    let saved = scene.run(|service| {
        let mut charged = None;
        let saved = service.database.transaction(|transaction| {
            service.save_in(transaction, "ada", "https://example.org/", "request-1", &mut charged)
        });
        drop(charged.map(rebate::Guard::keep));
        saved
    });
    assert!(saved.is_ok());
    assert_eq!(scene.run(Service::renew_all).unwrap(), 1);
    scene.clock.advance(LEASE - std::time::Duration::from_micros(1));
    assert_eq!(scene.run(Service::renew_all).unwrap(), 1);
    scene.clock.advance(LEASE / 2);
    assert_eq!(scene.used("ada"), ("1/50".into(), 1), "the day stays paid");
    scene.enrich();
    assert_eq!(scene.used("ada"), ("1/50".into(), 0));
}

fn an_item_whose_receipt_cannot_be_read_costs_the_others_nothing(scene: &Scene) {
    three_waiting(scene);
    scene.execute("UPDATE items SET receipt = 'of another store' WHERE id = 1");
    scene.clock.advance(LEASE / 2);
    assert_eq!(scene.run(Service::renew_all).unwrap(), 2);
    scene.clock.advance(LEASE / 2);
    assert_eq!(scene.used("ada"), ("3/50".into(), 2));
}
