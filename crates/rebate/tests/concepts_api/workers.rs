//! Refunds from other processes, by the receipt that a task's file holds.

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use rebate_servers::{Server, until};
use serde_json::Value;

use crate::program::{Api, Folder, finish, program, worker};

const GENERATE: &str = "/api/concepts/generate";
const ELSEWHERE: [(&str, &str); 1] = [("WORKER", "elsewhere")];
const AT_ONCE: [(&str, &str); 1] = [("WORK_TIME", "0ms")];

/// What a sweep by a process of its own says.
fn sweep(server: &Server, tasks: &Folder, settings: &[(&str, &str)]) -> (Option<i32>, String, String) {
    let mut command = program(tasks, settings);
    command.env("STORE", server.url()).arg("sweep");
    finish(command)
}

/// How many attempts a user has left who has a task that hangs, or would have without it.
fn left(api: &Api, user: &str) -> Option<u64> {
    let answer = api.post(user, GENERATE, "hang");
    let own = u64::from(answer.status == 202);
    answer.short().1.map(|left| left + own)
}

#[test]
fn a_worker_gives_back_what_fails_by_the_systems_fault() {
    let (server, tasks) = (Server::start(), Folder::new());
    let api = Api::over(&server, &tasks, &ELSEWHERE);
    let task = |user, prompt| {
        let (answer, task) = api.submit(user, GENERATE, prompt);
        assert_eq!(answer.short(), (202, Some(9)));
        task
    };
    let [fails, rejected, done] = [task("ada", "fail"), task("grace", "reject"), task("eve", "a lighthouse")];
    let worker = worker(&server, &tasks, &AT_ONCE);
    api.wait("ada", &fails, "refunded");
    api.wait("grace", &rejected, "rejected");
    api.wait("eve", &done, "done");
    assert_eq!([left(&api, "ada"), left(&api, "grace"), left(&api, "eve")], [Some(10), Some(9), Some(9)]);
    let log = worker.stop();
    assert_eq!(log.matches("given_back=1").count(), 1, "{log}");
    assert!(log.lines().any(|line| line.contains("DEBUG") && line.contains("refunded")), "{log}");
    assert!(!log.contains("ada"), "{log}");
}

#[test]
fn both_limits_are_given_back() {
    let (server, tasks) = (Server::start(), Folder::new());
    let api = Api::over(&server, &tasks, &ELSEWHERE);
    let (_, task) = api.submit("ada", "/api/concepts/generate-with-palettes", "fail");
    let _worker = worker(&server, &tasks, &AT_ONCE);
    api.wait("ada", &task, "refunded");
    assert_eq!(left(&api, "ada"), Some(10));
    assert_eq!(api.post("ada", "/api/concepts/store", "a lighthouse").short(), (201, Some(9)));
}

#[test]
fn a_sweeper_gives_back_what_a_killed_worker_left_once() {
    let (server, tasks) = (Server::start(), Folder::new());
    let api = Api::over(&server, &tasks, &ELSEWHERE);
    let (_, task) = api.submit("ada", GENERATE, "hang");
    let mut killed = worker(&server, &tasks, &AT_ONCE);
    api.wait("ada", &task, "running");
    killed.kill();
    assert_eq!(sweep(&server, &tasks, &[]).1, "0 stuck, 0 settled, 0 not refunded\n", "it may still be worked on");
    assert_eq!(left(&api, "ada"), Some(9), "still running: nobody starts another");

    let now = [("STUCK_AFTER", "0ms")];
    let (status, said, log) = sweep(&server, &tasks, &now);
    assert_eq!((status, said.as_str()), (Some(0), "1 stuck, 1 settled, 0 not refunded\n"), "{log}");
    assert!(log.lines().any(|line| line.contains("WARN") && line.contains("a task is stuck")), "{log}");
    api.wait("ada", &task, "refunded");
    assert_eq!(sweep(&server, &tasks, &now).1, "0 stuck, 0 settled, 0 not refunded\n");
    assert_eq!(left(&api, "ada"), Some(10));
}

#[test]
fn a_refund_that_failed_is_made_when_the_store_is_back() {
    let server = Server::builder().persistent(true).start();
    let tasks = Folder::new();
    let api = Api::over(&server, &tasks, &ELSEWHERE);
    let (_, task) = api.submit("ada", GENERATE, "fail");
    server.kill();
    let worker = worker(&server, &tasks, &AT_ONCE);
    let line = worker.logged(&["refund failed"]);
    assert!(line.contains("ERROR") && !line.contains("ada"), "{line}");
    api.wait("ada", &task, "failed");
    let (status, said, log) = sweep(&server, &tasks, &[]);
    assert_eq!((status, said.as_str()), (Some(1), "0 stuck, 0 settled, 1 not refunded\n"), "{log}");
    server.restart();
    api.wait("ada", &task, "refunded");
    // The API's own connection finds the server by itself.
    until("attempts are counted again", || left(&api, "ada")).eq(&10).then_some(()).expect("all ten are there");
}

#[test]
fn many_workers_refund_each_task_once() {
    let (server, tasks) = (Server::start(), Folder::new());
    let api = Api::over(&server, &tasks, &ELSEWHERE);
    let users: Vec<_> = (0..20).map(|number| format!("user-{number}")).collect();
    let filed: Vec<_> = users.iter().map(|user| api.submit(user, GENERATE, "fail").1).collect();
    let workers = [(); 3].map(|()| worker(&server, &tasks, &AT_ONCE));
    for (user, task) in users.iter().zip(&filed) {
        api.wait(user, task, "refunded");
        assert_eq!(left(&api, user), Some(10));
    }
    let logs: String = workers.map(|worker| worker.stop()).concat();
    assert!(!logs.contains("ERROR"), "{logs}");
    let given_back: usize = logs.matches("given_back=1").count();
    assert_eq!(given_back, 20, "each unit was given back once: {logs}");
}

#[test]
fn the_operators_program_refunds_a_tasks_receipt() {
    let (server, tasks) = (Server::start(), Folder::new());
    let api = Api::over(&server, &tasks, &ELSEWHERE);
    let (_, task) = api.submit("ada", GENERATE, "hang");
    let id = task.rsplit('/').next().unwrap();
    let file = tasks.path().join(format!("open/{}/{id}.waiting", "616461"));
    let file: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    let token = file["receipt"].as_str().expect("the receipt's token");
    for said in ["/concepts/generate, user:ada: 1 given back now, 1 of 1 in all", "nothing more given back now"] {
        static BUILT: OnceLock<PathBuf> = OnceLock::new();
        let rebate = BUILT.get_or_init(|| crate::built::built("rebate", &["-p", "rebate-cli", "--bin", "rebate"]));
        let mut command = Command::new(rebate);
        command.env_remove("REBATE_SECRET").args(["refund", "--store", &server.url(), token]);
        let (status, answer, log) = finish(command);
        assert!(status == Some(0) && answer.contains(said), "{answer}{log}");
    }
    assert_eq!(left(&api, "ada"), Some(10), "while the task is still there");
}

#[test]
fn in_memory_the_apis_own_worker_refunds() {
    let tasks = Folder::new();
    let api = Api::start(&tasks, &AT_ONCE);
    let (_, task) = api.submit("ada", GENERATE, "fail");
    api.wait("ada", &task, "refunded");
    assert_eq!(left(&api, "ada"), Some(10));

    for role in ["worker", "sweep"] {
        let mut command = program(&tasks, &[]);
        command.arg(role);
        let (status, _, log) = finish(command);
        assert!(status == Some(1) && log.contains("give STORE=redis://"), "{log}");
    }
}

#[test]
fn what_the_memory_of_an_earlier_process_counted_is_expired_not_minted() {
    let tasks = Folder::new();
    let api = Api::start(&tasks, &ELSEWHERE);
    let (_, task) = api.submit("ada", GENERATE, "fail");
    api.process.stop();
    let api = Api::start(&tasks, &AT_ONCE);
    api.wait("ada", &task, "refunded");
    let line = api.process.logged(&["refunded", "expired=true"]);
    assert!(line.contains("given_back=0"), "{line}");
    assert_eq!(left(&api, "ada"), Some(10));
}

#[test]
fn one_users_task_is_not_anothers_to_see() {
    let tasks = Folder::new();
    let api = Api::start(&tasks, &AT_ONCE);
    for (prompt, state) in [("a lighthouse", "done"), ("hang", "running")] {
        let (_, task) = api.submit("ada", GENERATE, prompt);
        api.wait("ada", &task, state);
        assert_eq!(api.get("eve", &task).status, 404, "{state}");
    }
    for id in ["..", "../done/1", "%2e%2e%2f", "1"] {
        assert_eq!(api.raw("GET", "ada", &format!("/api/concepts/tasks/{id}")).status, 404, "{id}");
    }
}
