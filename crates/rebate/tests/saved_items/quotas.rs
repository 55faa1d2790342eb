//! Who may have how much enriched, and what answers say of it.

use rebate_servers::Server;

use crate::scene::{LEASE, Scene, over_both_stores};

/// From noon to midnight.
const TO_MIDNIGHT: u64 = 12 * 3600;

over_both_stores!(
    fifty_pass_and_the_51st_is_denied,
    three_at_once_and_the_fourth_is_denied,
    another_plan_holds_at_once_and_keeps_the_count,
    asking_costs_nothing,
);

fn fifty_pass_and_the_51st_is_denied(scene: &Scene) {
    for used in 1..=50 {
        let answer = scene.save("ada", &format!("request-{used}"));
        assert_eq!((answer.status, answer.quota()), (202, [50, used, 50 - used, TO_MIDNIGHT]), "{answer:?}");
        assert_eq!(answer.body["used_today"], used, "the ledger counts along");
        scene.enrich();
    }
    let denied = scene.save("ada", "request-51");
    assert_eq!(denied.denied(), ("DAILY_QUOTA_EXCEEDED", TO_MIDNIGHT));
    assert_eq!((denied.quota(), &denied.body["quota"]), ([50, 50, 0, TO_MIDNIGHT], &50.into()));
    assert_eq!(scene.used("ada"), ("50/50".into(), 0), "no place was taken by what was denied");
    assert_eq!(scene.save("eve", "request-1").status, 202, "others have their own");
    // The next day all of it is there again, exactly when it was said.
    scene.clock.advance(std::time::Duration::from_secs(TO_MIDNIGHT) - std::time::Duration::from_micros(1));
    assert_eq!(scene.save("ada", "request-51").status, 429);
    scene.clock.advance(std::time::Duration::from_micros(1));
    let answer = scene.save("ada", "request-51");
    assert_eq!((answer.status, answer.quota()), (202, [50, 1, 49, 2 * TO_MIDNIGHT]));
    assert_eq!(answer.body["used_today"], 1);
}

fn three_at_once_and_the_fourth_is_denied(scene: &Scene) {
    for number in 1..=3 {
        assert_eq!(scene.save("ada", &format!("request-{number}")).status, 202);
    }
    // Two of them running, one waiting.
    let running = [(); 2].map(|()| scene.run(|service| service.start_next()).unwrap().expect("an item waits"));
    let denied = scene.save("ada", "request-4");
    assert_eq!(denied.denied(), ("CONCURRENCY_LIMIT_EXCEEDED", LEASE.as_secs()));
    assert_eq!(denied.quota(), [50, 3, 47, TO_MIDNIGHT], "the day was not charged");
    assert_eq!((&denied.body["used"], &denied.body["limit"]), (&3.into(), &"items-at-once".into()));
    assert_eq!(scene.used("ada"), ("3/50".into(), 3));

    let first = running[0].clone();
    assert!(scene.run(move |service| service.finish(&first)).unwrap());
    assert_eq!(scene.used("ada"), ("3/50".into(), 2), "the place is free, the day is paid");
    let [first, again] = [running[0].clone(), running[0].clone()];
    assert!(!scene.run(move |service| service.finish(&first)).unwrap(), "it is done once");
    assert_eq!(scene.get("ada", &format!("/api/items/{}", again.id)).text("state"), "done");
    assert_eq!(scene.save("ada", "request-4").status, 202);
    assert_eq!(scene.save("ada", "request-5").denied().0, "CONCURRENCY_LIMIT_EXCEEDED");
    assert_eq!(scene.used("ada"), ("4/50".into(), 3));
}

fn another_plan_holds_at_once_and_keeps_the_count(scene: &Scene) {
    for number in 0..50 {
        assert_eq!(scene.save("ada", &format!("request-{number}")).status, 202);
        scene.enrich();
    }
    assert_eq!(scene.save("ada", "one-more").denied().0, "DAILY_QUOTA_EXCEEDED");
    let changed = scene.change_plan("ada", "pro");
    assert_eq!((changed.status, changed.text("plan"), changed.text("shown")), (200, "pro", "50/500"));
    let answer = scene.save("ada", "one-more");
    assert_eq!((answer.status, answer.quota()), (202, [500, 51, 449, TO_MIDNIGHT]));
    assert_eq!(answer.body["used_today"], 51);
    // And back: what was used stays used.
    assert_eq!(scene.change_plan("ada", "free").text("shown"), "50/50");
    assert_eq!(scene.save("ada", "another").denied().0, "DAILY_QUOTA_EXCEEDED");
    assert_eq!(scene.change_plan("ada", "pro").text("shown"), "51/500");
    assert_eq!(scene.change_plan("ada", "gold").text("code"), "PLAN_UNKNOWN");
    assert_eq!(scene.used("ada").0, "51/500");
}

fn asking_costs_nothing(scene: &Scene) {
    for number in 0..49 {
        assert_eq!(scene.save("ada", &format!("request-{number}")).status, 202);
        scene.enrich();
    }
    for _ in 0..5 {
        let told = scene.get("ada", "/api/quota");
        assert_eq!((told.status, told.text("shown"), told.quota()), (200, "49/50", [50, 49, 1, TO_MIDNIGHT]));
        let daily = serde_json::json!({
            "limit": "enrichments", "used": 49, "quota": 50, "remaining": 1, "reset_micros": TO_MIDNIGHT * 1_000_000,
        });
        assert_eq!(told.body["daily"], daily);
    }
    assert_eq!(scene.number("SELECT COUNT(*) FROM ledger"), 49);
}

#[test]
fn of_a_limit_of_two_the_third_fails() {
    for server in [None, Some(Server::start())] {
        let scene = Scene::new(server, "2/day");
        for number in 1..=2 {
            assert_eq!(scene.save("ada", &format!("request-{number}")).status, 202);
        }
        assert_eq!(scene.save("ada", "request-3").denied(), ("DAILY_QUOTA_EXCEEDED", TO_MIDNIGHT));
    }
}

#[test]
fn where_both_deny_the_day_is_said() {
    let scene = Scene::new(None, "3/day");
    for number in 1..=3 {
        assert_eq!(scene.save("ada", &format!("request-{number}")).status, 202);
    }
    assert_eq!(scene.save("ada", "request-4").denied(), ("DAILY_QUOTA_EXCEEDED", TO_MIDNIGHT));
}
