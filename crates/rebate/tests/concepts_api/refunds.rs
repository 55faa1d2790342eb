//! Attempts given back.

use std::thread;

use serde_json::json;

use crate::program::{Api, Folder, shipped_rules};

#[test]
fn a_409_gives_the_attempt_back_and_says_so_at_once() {
    let tasks = Folder::new();
    let api = Api::start(&tasks, &[]);
    let (answer, _) = api.submit("ada", "/api/concepts/generate", "hang");
    assert_eq!(answer.short(), (202, Some(9)));
    for _ in 0..20 {
        let answer = api.post("ada", "/api/concepts/generate", "a lighthouse");
        assert_eq!(answer.short(), (409, Some(9)), "as before it was sent");
    }
    // Of two limits both.
    for _ in 0..20 {
        let answer = api.post("ada", "/api/concepts/generate-with-palettes", "a lighthouse");
        assert_eq!(answer.status, 409);
        let told = answer.header("ratelimit").unwrap();
        assert!(told.contains("\"/concepts/generate\";r=9;") && told.contains("\"/concepts/store\";r=10;"), "{told}");
    }
    assert_eq!(api.post("ada", "/api/concepts/store", "a lighthouse").short(), (201, Some(9)));
}

#[test]
fn of_many_at_once_one_starts_and_the_others_cost_nothing() {
    let tasks = Folder::new();
    let api = Api::start(&tasks, &[]);
    let answers: Vec<_> = thread::scope(|scope| {
        let threads: Vec<_> =
            (0..9).map(|_| scope.spawn(|| api.post("ada", "/api/concepts/refine", "hang").status)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let count = |status| answers.iter().filter(|answer| **answer == status).count();
    assert_eq!((count(202), count(409)), (1, 8), "{answers:?}");
    assert_eq!(api.post("ada", "/api/concepts/refine", "hang").short(), (409, Some(9)));
}

#[test]
fn other_statuses_give_back_by_configuration() {
    let tasks = Folder::new();
    let api = Api::start(&tasks, &[]);
    assert_eq!(api.get("ada", "/api/concepts/store").short(), (405, Some(10)));
    let nothing = Some(json!({}));
    assert_eq!(api.send("POST", "ada", "/api/concepts/store", nothing.clone()).short(), (422, Some(9)), "not this one");

    let rules = shipped_rules().replace("refund = [405, 409]", "refund = [409, \"4xx\"]");
    let rules = tasks.write("rules.toml", &rules);
    let api = Api::start(&tasks, &[("RULES", &rules)]);
    assert_eq!(api.send("POST", "ada", "/api/concepts/store", nothing).short(), (422, Some(10)));
    assert_eq!(api.post("ada", "/api/concepts/store", "a lighthouse").short(), (201, Some(9)));
}

#[test]
fn a_handler_refunds_by_hand() {
    let tasks = Folder::new();
    let api = Api::start(&tasks, &[("WORK_TIME", "0ms")]);
    for _ in 0..3 {
        assert_eq!(api.exports_left("ada"), 50);
    }
    assert_eq!(api.get("ada", "/api/storage/concept/9").short(), (404, Some(29)), "another 404 is charged");
    assert_eq!(api.post("ada", "/api/storage/store", "a lighthouse").status, 201);
    let answer = api.send("POST", "ada", "/api/export/process", Some(json!({"concept": 1})));
    assert_eq!(answer.short(), (200, Some(49)), "so is one that is done");
}

#[test]
fn a_fault_of_the_systems_own_gives_back_by_hand() {
    let tasks = Folder::new();
    let api = Api::start(&tasks, &[]);
    // Where tasks are filed is no folder any more.
    std::fs::remove_dir_all(tasks.path().join("new")).unwrap();
    std::fs::write(tasks.path().join("new"), "").unwrap();
    let answer = api.post("ada", "/api/concepts/generate", "a lighthouse");
    assert_eq!(answer.short(), (500, Some(10)), "{answer:?}");
}

#[test]
fn a_task_that_was_accepted_is_the_tasks_to_pay() {
    let tasks = Folder::new();
    let rules = tasks.write("rules.toml", &shipped_rules().replace("[405, 409]", "[201, 202]"));
    let api = Api::start(&tasks, &[("RULES", &rules)]);
    // Not even what gives back other charges gives this one back: from there on only the worker may.
    assert_eq!(api.post("ada", "/api/concepts/store", "a lighthouse").short(), (201, Some(10)));
    assert_eq!(api.post("ada", "/api/concepts/generate", "a lighthouse").short(), (202, Some(9)));
}
