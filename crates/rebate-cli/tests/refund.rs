//! `rebate refund`, `peek` and `reset`: another process than the one that charged.

mod support {
    pub(crate) mod program;
    pub(crate) mod run;
    pub(crate) mod service;
}

use rebate::{Item, KeyRef, Limit, Limiter, Receipt, RedisStore};
use rebate_servers::Server;
use serde_json::Value;
use support::program::program;
use support::run::{run, run_command};
use support::service::{Service, failure, runtime, server, text};

/// What only refunds are tested by.
impl Service {
    fn signed(secret: &[u8]) -> Self {
        let limiter = |store| Limiter::signed(store, secret).expect("a long secret");
        Self::with(server().url(), RedisStore::builder(server().url()), limiter)
    }

    fn used(&self, limit: &Limit, key: &str) -> u64 {
        runtime().block_on(self.limiter.peek(limit, key)).expect("the server answers").used()
    }

    fn reset(&self, limit: &Limit, key: &str) {
        assert!(runtime().block_on(self.limiter.reset(limit, key)).expect("the server answers"));
    }

    fn token(&self, receipt: &Receipt) -> String {
        self.limiter.token(receipt).expect("the receipt is of this store")
    }
}

#[test]
fn what_one_process_charged_another_one_gives_back() {
    let service = Service::new();
    let limit = service.limit("attempts", "3/day from first");
    let kept = service.charge(&limit, "user:42", 1);
    let token = service.token(&service.charge(&limit, "user:42", 2));
    assert!(!service.charge_all(&[Item::new(&limit, "user:42")]).may_proceed(), "there is no room");
    let told = service.told("refund", &[&token]);
    assert!(
        told.starts_with("attempts, user:42: 2 given back now, 2 of 2 in all; used 1 of 3, 2 remaining, "),
        "{told}"
    );
    assert!(service.charge_all(&[Item::new(&limit, "user:42").cost(2)]).may_proceed(), "there is room again");
    let told = service.told("refund", &[&token]);
    assert!(told.contains("nothing more given back now, 2 of 2 in all before; used 3 of 3, 0 remaining"), "{told}");
    assert_eq!(service.used(&limit, "user:42"), 3);
    drop(kept);
}

#[test]
fn in_part_and_from_standard_input() {
    let service = Service::new();
    let [day, log] = [service.limit("day", "100/day from first"), service.limit("log", "10/day sliding log")];
    let key = KeyRef::in_group("acme", "user:42");
    let charged = service.charge_all(&[Item::new(&day, key).cost(5), Item::new(&log, key).cost(2)]);
    let token = service.token(&charged.receipt().expect("there is room"));
    let output = run(&service.line("refund", &["--json", "--up-to=3", "-"]), format!("  {token}\n").as_bytes());
    assert!(output.status.success(), "{}", text(&output.stderr));
    let told: Value = serde_json::from_slice(&output.stdout).expect("one JSON object");
    assert_eq!((&told["store"], &told["given_back"], &told["replay"]), (&"redis".into(), &5.into(), &false.into()));
    let [day, log] = [&told["parts"][0], &told["parts"][1]];
    assert_eq!((&day["limit"], &day["group"], &day["key"]), (&"day".into(), &"acme".into(), &"user:42".into()));
    assert_eq!((&day["cost"], &day["given_back"], &day["given_back_in_all"]), (&5.into(), &3.into(), &3.into()));
    assert_eq!(
        (&day["expired"], &day["status"]["used"], &day["status"]["quota"]),
        (&false.into(), &2.into(), &100.into())
    );
    assert_eq!((&log["given_back"], &log["status"]["remaining"]), (&2.into(), &10.into()));
    let told = service.json("refund", &[&token]);
    assert_eq!((&told["given_back"], &told["parts"][0]["given_back_in_all"]), (&2.into(), &5.into()), "the rest");
    let told = service.told("refund", &["--up-to=0", &token]);
    assert!(told.contains("day, user:42 of group acme: "), "{told}");
}

#[test]
fn what_has_expired_is_said_and_changes_nothing() {
    let service = Service::new();
    let limit = service.limit("day", "10/day from first");
    let token = service.token(&service.charge(&limit, "a", 2));
    service.reset(&limit, "a");
    let told = service.told("refund", &[&token]);
    assert!(told.contains("day, a: expired, nothing given back now, 0 of 2 in all"), "{told}");
    assert!(told.contains("or was reset"), "{told}");
    drop(service.charge(&limit, "a", 7));
    let told = service.json("refund", &[&token]);
    assert_eq!((&told["parts"][0]["expired"], &told["given_back"]), (&true.into(), &0.into()));
    assert_eq!(service.used(&limit, "a"), 7);
    // Under another prefix it was never charged.
    let elsewhere = Service::new();
    let told = elsewhere.json("refund", &[&token]);
    assert_eq!((&told["parts"][0]["expired"], &told["parts"][0]["status"]), (&true.into(), &Value::Null));
}

#[test]
fn each_fault_of_a_token_has_words_of_its_own() {
    let (service, signed) = (Service::new(), Service::signed(b"a secret of services"));
    let limit = service.limit("day", "10/day from first");
    let token = service.token(&service.charge(&limit, "a", 2));
    let signed_token = signed.token(&signed.charge(&limit, "a", 2));
    let file = std::env::temp_dir().join(format!("rebate-secret-{}", std::process::id()));
    std::fs::write(&file, "a secret of others\n").expect("a file can be written");
    let secret = format!("--secret-file={}", file.display());
    let cut = &token[..token.len() - 7];
    let later = token.replacen("r1", "r2", 1);
    for (service, line, says) in [
        (&service, &["hello"][..], "the token is malformed"),
        (&service, &["r1%%%"], "the token is malformed"),
        (&service, &[cut], "the token is truncated"),
        (&service, &[&later], "the token is of another version"),
        (
            &service,
            &["--name=other", &token],
            "the token is of another store: the token is of the store `redis`, this is `other`",
        ),
        (&signed, &[&signed_token], "the token is signed: "),
        (&signed, &[&secret, &signed_token], "the token is forged: the token's signature does not fit"),
        (&signed, &[&secret, &token], "the token is forged: the token is not signed"),
        (&service, &["--secret-file=/no/such/file", &token], "/no/such/file cannot be read"),
        (&service, &[""], "the token is truncated"),
    ] {
        let (status, errors) = failure(&service.run("refund", line));
        assert!(status == Some(2) && errors.contains(says), "{line:?}: {errors}");
        assert!(!errors.contains(&token[8..]), "a token is a credential: {errors}");
    }
    for input in [&b""[..], b" \n", b"\xff\xfe"] {
        let (status, errors) = failure(&run(&service.line("refund", &["-"]), input));
        assert!(status == Some(2) && errors.contains("standard input is "), "{errors}");
    }
    assert_eq!((service.used(&limit, "a"), signed.used(&limit, "a")), (2, 2), "none gave anything back");
    std::fs::write(&file, "a secret of services\r\n").expect("a file can be written");
    assert_eq!(signed.json("refund", &["--up-to=1", &secret, &signed_token])["given_back"], 1);
    std::fs::remove_file(&file).expect("the file can be removed");
    let mut command = program(&signed.line("refund", &[&signed_token]));
    let output = run_command(command.env("REBATE_SECRET", "a secret of services"), b"");
    assert!(text(&output.stdout).contains("1 given back now, 2 of 2 in all"), "{}", text(&output.stderr));
}

#[test]
fn a_server_that_is_away_is_the_stores_trouble() {
    let service = Service::new();
    let token = service.token(&service.charge(&service.limit("day", "10/day from first"), "a", 2));
    for (url, code, says) in
        [("redis://127.0.0.1:1", Some(1), "127.0.0.1:1: cannot connect"), ("memory", Some(2), "live in the process")]
    {
        let (status, errors) = failure(&run(&["refund", "--store", url, &token], b""));
        assert!(status == code && errors.contains(says), "{errors}");
    }
}

#[test]
fn peek_and_reset_know_the_limit_from_the_store_or_are_told() {
    let service = Service::new();
    let limit = service.limit("day", "10/day from first");
    drop(service.charge(&limit, "user:1", 4));
    drop(service.charge(&limit, KeyRef::in_group("acme", "user:1"), 1));
    service.await_written_down(1);
    let told = service.told("peek", &["--limit=day", "user:1"]);
    assert!(told.starts_with("day (10/day from first), user:1: used 4 of 10, 6 remaining, resets in "), "{told}");
    let told = service.json("peek", &["--limit=day=7/day from first", "--group=acme", "user:1"]);
    let numbers = (&told["used"], &told["remaining"], &told["quota"]);
    assert_eq!(numbers, (&1.into(), &6.into(), &7.into()));
    assert_eq!((&told["limit"], &told["group"], &told["key"]), (&"day".into(), &"acme".into(), &"user:1".into()));
    let (status, errors) = failure(&service.run("peek", &["--limit=hour", "user:1"]));
    assert!(status == Some(2) && errors.contains("no limit called `hour` is written down, only `day`"), "{errors}");
    let told = service.told("reset", &["--limit=day", "user:1"]);
    assert!(told.contains("day, user:1: forgotten"), "{told}");
    let told = service.told("reset", &["--limit=day", "user:1"]);
    assert!(told.contains("nothing to forget"), "{told}");
    assert_eq!(service.used(&limit, "user:1"), 0);
    assert_eq!(service.json("peek", &["--limit=day", "--group=acme", "user:1"])["used"], 1, "another key");
}

#[test]
fn over_tls_with_the_operators_own_authority() {
    let server = Server::builder().tls().start();
    let service = Service::with(server.tls_url(), RedisStore::builder(server.url()), Limiter::new);
    let limit = service.limit("day", "10/day from first");
    let token = service.token(&service.charge(&limit, "a", 2));
    let authority = format!("--ca-file={}", server.certificate_authority().display());
    assert_eq!(service.json("refund", &[&authority, &token])["given_back"], 2);
    let (status, errors) = failure(&service.run("refund", &[&token]));
    assert!(status == Some(1) && errors.contains("ertificate"), "{errors}");
}
