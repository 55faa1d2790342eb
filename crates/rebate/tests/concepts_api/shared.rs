//! Counts in Redis: of several processes, and of a process after a restart.

use std::thread;

use rebate_servers::Server;

use crate::program::{Api, Folder};

const STORE: &str = "/api/concepts/store";

#[test]
fn a_restart_keeps_counts_in_redis_and_forgets_those_in_memory() {
    let (server, tasks) = (Server::start(), Folder::new());
    for (over, kept) in [(Some(&server), 6), (None, 9)] {
        let start = || match over {
            Some(server) => Api::over(server, &tasks, &[]),
            None => Api::start(&tasks, &[]),
        };
        let api = start();
        for left in [9, 8, 7] {
            assert_eq!(api.post("ada", STORE, "a lighthouse").short(), (201, Some(left)));
        }
        api.process.stop();
        assert_eq!(start().post("ada", STORE, "a lighthouse").short(), (201, Some(kept)));
    }
}

#[test]
fn two_instances_share_counts_exactly() {
    let server = Server::start();
    let folders = [Folder::new(), Folder::new()];
    let apis = folders.each_ref().map(|tasks| Api::over(&server, tasks, &[]));
    assert_eq!(apis[0].post("ada", STORE, "a lighthouse").short(), (201, Some(9)));
    assert_eq!(apis[1].post("ada", STORE, "a lighthouse").short(), (201, Some(8)));

    let one = |api| (0..10).map(|_| Api::post(api, "grace", STORE, "a lighthouse").short()).collect::<Vec<_>>();
    let answers: Vec<_> = thread::scope(|scope| {
        let threads: Vec<_> = apis.iter().cycle().take(4).map(|api| scope.spawn(move || one(api))).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    let mut left: Vec<_> = answers.iter().filter(|answer| answer.0 == 201).filter_map(|answer| answer.1).collect();
    left.sort_unstable();
    assert_eq!(left, (0..10).collect::<Vec<_>>(), "each attempt was given once");
    assert_eq!(answers.iter().filter(|answer| answer.0 == 429).count(), 30);
}

#[test]
fn a_409_of_one_instance_gives_back_in_the_other() {
    let (server, tasks) = (Server::start(), Folder::new());
    let apis = [(); 2].map(|()| Api::over(&server, &tasks, &[("WORKER", "elsewhere")]));
    apis[0].submit("ada", "/api/concepts/generate", "hang");
    for api in apis.iter().cycle().take(8) {
        assert_eq!(api.post("ada", "/api/concepts/generate", "hang").short(), (409, Some(9)));
    }
}
