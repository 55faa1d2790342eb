//! `rebate leases`: who holds what, from another process than those that hold it.

mod support {
    pub(crate) mod program;
    pub(crate) mod run;
    pub(crate) mod service;
}

use rebate::{KeyRef, Limiter, RedisStore};
use support::program::program;
use support::run::run_command;
use support::service::{Service, failure, runtime, server, text};

#[test]
fn who_holds_what_and_an_operator_frees_it() {
    let service = Service::new();
    let places = service.limit("running", "3 at once for 10m");
    let _held = [service.charge(&places, "user:42", 2), service.charge(&places, "user:42", 1)];
    let _other = service.charge(&places, KeyRef::in_group("acme", "user:42"), 1);
    service.await_written_down(1);
    let line = ["--limit=running", "user:42"];
    let told = service.told("leases", &line);
    let lines: Vec<_> = told.lines().collect();
    assert_eq!((lines.len(), lines[0]), (3, "running (3 at once for 10m), user:42: 3 of 3 held"), "{told}");
    assert!(lines[1].starts_with("  2 units, ends in ") && lines[2].starts_with("  1 unit, ends in "), "{told}");

    let report = service.json("leases", &line);
    let leases = report["leases"].as_array().expect("a list");
    assert_eq!((&report["limit"], &report["key"]), (&"running".into(), &"user:42".into()));
    assert_eq!((&report["quota"], &report["used"], &leases[0]["units"]), (&3.into(), &3.into(), &2.into()));
    let ends: Vec<_> = leases.iter().map(|lease| lease["until_micros"].as_u64().expect("a moment")).collect();
    assert!(ends.is_sorted() && ends[0] > 0, "{ends:?}");
    let token = leases[0]["token"].as_str().expect("a token");
    assert!(lines[1].ends_with(token), "{told}");

    let refunded = service.told("refund", &[token]);
    assert!(refunded.starts_with("running, user:42: 2 given back now, 2 of 2 in all; used 1 of 3"), "{refunded}");
    let report = service.json("leases", &line);
    assert_eq!((&report["used"], report["leases"].as_array().map(Vec::len)), (&1.into(), Some(1)));
    let report = service.json("leases", &["--limit=running", "--group=acme", "--key", "user:42"]);
    assert_eq!((&report["used"], &report["group"]), (&1.into(), &"acme".into()));
}

#[test]
fn whoever_holds_nothing_is_no_trouble_and_a_limit_without_leases_is_said() {
    let service = Service::new();
    let given = "--limit=running=3 at once for 10m";
    assert_eq!(service.told("leases", &[given, "a"]), "running (3 at once for 10m), a: 0 of 3 held\n");
    for line in [&[given][..], &[given, "a", "--key=a"]] {
        let (status, errors) = failure(&service.run("leases", line));
        assert!(status == Some(2) && errors.contains("KEY"), "{errors}");
    }
    let (status, errors) = failure(&service.run("leases", &["--limit=day=10/day", "a"]));
    assert!(status == Some(2) && errors.contains("has no leases; ask for those of a limit such as"), "{errors}");
}

#[test]
fn where_services_sign_their_tokens_so_does_it() {
    let secret = "a secret of sixteen bytes or more";
    let limiter = |store| Limiter::signed(store, secret.as_bytes()).expect("a long secret");
    let service = Service::with(server().url(), RedisStore::builder(server().url()), limiter);
    let places = service.limit("running", "3 at once for 10m");
    let _held = service.charge(&places, "a", 1);
    service.await_written_down(1);
    let told = run_command(
        program(&service.line("leases", &["--limit=running", "--json", "a"])).env("REBATE_SECRET", secret),
        b"",
    );
    let report: serde_json::Value =
        serde_json::from_slice(&told.stdout).unwrap_or_else(|_| panic!("{}", text(&told.stderr)));
    let token = report["leases"][0]["token"].as_str().expect("a token");
    let mut receipt = service.limiter.receipt(token).expect("it is signed");
    let refund = runtime().block_on(service.limiter.refund(&mut receipt)).expect("the server answers");
    assert_eq!(refund.given_back(), 1);
}
