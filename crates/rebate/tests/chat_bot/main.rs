//! Scenario C from end to end: the example as operating system processes, over a real Redis.

mod bot;
#[allow(dead_code, reason = "the bot reads more of it than its tests do")]
#[path = "../../examples/chat_bot/budget.rs"]
mod budget;
#[path = "../common/built.rs"]
mod built;
mod deployment;

use std::collections::HashSet;
use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use bot::{Talk, feed, finish, program, program_at, run};
use budget::{Budget, Standing, Verdict};
use rebate::{ManualClock, RedisStore, Timestamp};
use rebate_servers::{Server, until};

const DAY: Duration = Duration::from_secs(86_400);

/// So many messages of one user.
fn messages(user_id: &str, user_name: &str, count: usize) -> String {
    format!("{user_id}\t{user_name}\thello\n").repeat(count)
}

#[test]
fn thirty_pass_and_the_next_is_dropped_and_logged() {
    let server = Server::start();
    let input = messages("user-4711", "ada", 31) + &messages("user-4712", "grace", 1);
    let said = run(program_at(&server, &[]), &input);
    assert_eq!(said.status, Some(0), "{}", said.log);
    for (index, answer) in said.answers[..30].iter().enumerate() {
        let (number, left) = (index + 1, 29 - index);
        let wanted = format!("{number}\t…11\tpassed on (5 characters)\t{left} of 30 left, resets in ");
        assert!(answer.starts_with(&wanted), "{answer}");
    }
    // From the first message on, to the second.
    assert!(said.answers[0].ends_with("resets in 24h 0m 0s"), "{}", said.answers[0]);
    assert!(said.answers[30].starts_with("31\t…11\tdropped\t0 of 30 left, resets in "), "{}", said.answers[30]);
    assert!(said.answers[31].contains("passed on") && said.answers[31].contains("29 of 30"), "another user's budget");
    assert_eq!(said.answers.len(), 32);

    let dropped: Vec<_> = said.log.lines().filter(|line| line.contains("dropped:")).collect();
    assert_eq!(dropped.len(), 1, "{}", said.log);
    assert!(
        dropped[0].starts_with("WARN line 31: message of user …11 dropped: over budget, 0 of 30"),
        "{}",
        dropped[0]
    );
    assert!(said.log.contains("INFO 31 passed on, 1 dropped, 0 lines could not be read"), "{}", said.log);
    let all = said.answers.concat() + &said.log;
    assert!(!all.contains("user-471") && !all.contains("ada"), "nobody's id or name is told: {all}");

    // Another day's process finds the count.
    let said = run(program_at(&server, &[]), &messages("user-4711", "ada", 1));
    assert!(said.answers[0].contains("dropped"), "{}", said.answers[0]);
}

#[test]
fn whitelisted_names_always_pass_and_their_ids_are_not_charged() {
    let server = Server::start();
    let settings = [("MESSAGE_LIMIT", "1"), ("WHITELISTED_USERS", " ada, grace ,")];
    let input = messages("7", "ada", 3) + &messages("8", "grace", 3);
    let said = run(program_at(&server, &settings), &input);
    assert_eq!((said.count("passed on"), said.count("never limited")), (6, 6), "{:?}", said.answers);
    assert_eq!(server.ask(&["DBSIZE"]), "0", "nothing was counted");

    // Names are listed, ids are not; and a name must be the whole one.
    let said =
        run(program_at(&server, &settings), "ada\tmallory\thello\nada\tad\thello\n7\teve\thello\n7\tada\thello\n");
    let dropped: Vec<_> = said.answers.iter().map(|answer| answer.contains("dropped")).collect();
    assert_eq!(dropped, [false, true, false, false], "{:?}", said.answers);
}

#[test]
fn processes_at_once_share_one_budget_exactly() {
    let server = Server::start();
    let barrier = Barrier::new(2);
    let talk = || {
        let mut bot = Talk::start(program_at(&server, &[]));
        assert!(bot.say("user-41\tgrace\thello").contains("passed on"), "it is connected");
        barrier.wait();
        let answers: Vec<_> = (0..40).map(|_| bot.say("user-42\tada\thello")).collect();
        (answers, bot.end())
    };
    let said = thread::scope(|scope| [scope.spawn(talk), scope.spawn(talk)].map(|thread| thread.join().unwrap()));
    let count = |what| said.iter().flat_map(|(answers, _)| answers).filter(|answer| answer.contains(what)).count();
    assert_eq!((count("passed on"), count("dropped")), (30, 50));
    let mut left: Vec<_> = said.iter().flat_map(|(answers, _)| answers).filter_map(|answer| left(answer)).collect();
    left.sort_unstable();
    assert!(left.into_iter().eq(0..30), "each unit was given once");
    assert_eq!(said.iter().map(|(_, log)| log.matches("dropped: over budget").count()).sum::<usize>(), 50);
}

/// What a message that was passed on has left.
fn left(answer: &str) -> Option<u64> {
    answer.split_once("passed on (5 characters)\t")?.1.split_once(" of 30 left")?.0.parse().ok()
}

#[test]
fn the_first_message_leaves_nothing_without_its_end() {
    let server = Server::start();
    let mut bot = Talk::start(program_at(&server, &[]));
    let calls = || server.ask(&["INFO", "commandstats"]).lines().filter_map(fcalls).sum::<u64>();
    let answer = bot.say("user-42\tada\thello");
    assert!(answer.ends_with("29 of 30 left, resets in 24h 0m 0s"), "{answer}");

    // The limit is written down for operators, by a call that no message waits for.
    until("the limit is written down", || (server.ask(&["EXISTS", "rebate:{limits}"]) == "1").then_some(()));
    let keys: Vec<String> = redis::from_redis_value(server.command(&["KEYS", "*"])).unwrap();
    assert!(keys.iter().any(|key| key.contains(":c:messages")), "{keys:?}");
    let left = |key: &String| server.ask(&["PTTL", key]).parse::<i64>().unwrap();
    assert!(keys.iter().all(|key| left(key) > 0), "every key has an expiry: {keys:?}");
    // It was so at every moment: one message is one call, which the server runs whole or not at all.
    let before = calls();
    let resets: Vec<_> = (0..5).map(|_| bot.say("user-42\tada\thello")).collect();
    assert_eq!(calls() - before, 5);
    // The first message's end stays that of the budget.
    let resets: Vec<_> = resets.iter().map(|answer| answer.rsplit_once("resets in ").unwrap().1.to_owned()).collect();
    assert!(resets.iter().all(|reset| reset == "24h 0m 0s" || reset.starts_with("23h ")), "{resets:?}");
    bot.end();
}

/// How often a function was called, in a line of INFO.
fn fcalls(line: &str) -> Option<u64> {
    line.strip_prefix("cmdstat_fcall:calls=")?.split(',').next()?.parse().ok()
}

/// The bot's own budget, over the server, on a clock that the test moves.
#[tokio::test]
async fn it_resets_a_day_after_the_first_message_to_the_microsecond() {
    let server = Server::start();
    // Half past ten in the evening: midnight is of no account.
    let first = Timestamp::from_secs(1_700_000_000 / 86_400 * 86_400 + 81_000);
    let clock = ManualClock::at(first);
    let store = RedisStore::builder(server.url()).clock(clock.clone()).build().unwrap();
    let budget = Budget::new(store, 30, DAY, HashSet::new()).unwrap();
    let charge = || async { budget.charge("user-42", "ada").await.unwrap() };
    let at = |remaining, reset_after| Standing { remaining, quota: 30, reset_after };
    let passed = |verdict: Verdict| match verdict {
        Verdict::Passed(standing) => Some(standing),
        _ => None,
    };
    let dropped = |verdict: Verdict| match verdict {
        Verdict::OverBudget(standing) => Some(standing),
        _ => None,
    };

    assert_eq!(passed(charge().await), Some(at(29, DAY)));
    clock.advance(Duration::from_secs(6 * 3600));
    for remaining in (0..29).rev() {
        assert_eq!(passed(charge().await), Some(at(remaining, DAY * 3 / 4)));
    }
    assert_eq!(dropped(charge().await), Some(at(0, DAY * 3 / 4)));
    clock.advance(DAY * 3 / 4 - Duration::from_micros(1));
    assert_eq!(dropped(charge().await), Some(at(0, Duration::from_micros(1))), "a microsecond early");
    clock.advance(Duration::from_micros(1));
    assert_eq!(passed(charge().await), Some(at(29, DAY)), "24 hours after the first one, all are there again");
}

#[test]
fn while_redis_is_away_messages_are_dropped_and_logged_and_then_they_pass_again() {
    let server = Server::builder().persistent(true).start();
    let mut bot = Talk::start(program_at(&server, &[("WHITELISTED_USERS", "grace")]));
    assert!(bot.say("user-4711\tada\thello").contains("29 of 30"));
    server.kill();
    // More than it takes to be refused at once.
    for _ in 0..8 {
        assert!(bot.say("user-4711\tada\thello").ends_with("…11\tdropped\tRedis is away"));
    }
    assert!(bot.say("user-4712\tgrace\thello").contains("never limited"), "who is never limited needs no Redis");
    server.restart();
    let answer = until("messages pass again", || {
        let answer = bot.say("user-4711\tada\thello");
        answer.contains("passed on").then_some(answer)
    });
    assert!(answer.contains("28 of 30"), "none that was dropped was charged: {answer}");
    let log = bot.end();
    assert!(log.matches("ERROR line").count() >= 8 && !log.contains("user-4711"), "{log}");
}

#[test]
fn it_starts_before_redis_does_and_says_so() {
    let server = Server::start();
    server.kill();
    let said = run(program_at(&server, &[]), &messages("user-4711", "ada", 1));
    assert!(said.log.contains("WARN Redis does not answer as yet: "), "{}", said.log);
    assert_eq!((said.status, said.count("dropped")), (Some(0), 1), "{:?}", said.answers);
}

#[test]
fn what_is_not_set_has_its_default() {
    // Empty is not set: so compose files write it.
    for settings in
        [&[][..], &[("REDIS_HOST", ""), ("REDIS_PORT", ""), ("MESSAGE_LIMIT", ""), ("MESSAGE_LIMIT_TTL", " ")]]
    {
        let said = run(program(settings), "");
        let wanted = "INFO 30 messages in the 24h 0m 0s after a user's first, counted in Redis at redis:6379; \
                      users never limited: 0\n";
        assert!(said.log.starts_with(wanted), "{}", said.log);
    }
}

#[test]
fn settings_take_hold() {
    let server = Server::start();
    let settings = [("MESSAGE_LIMIT", "2"), ("MESSAGE_LIMIT_TTL", "5430"), ("WHITELISTED_USERS", "ada,grace")];
    let said = run(program_at(&server, &settings), &messages("user-42", "eve", 3));
    assert!(said.log.contains("INFO 2 messages in the 1h 30m 30s") && said.log.contains("never limited: 2"));
    assert!(said.answers[0].ends_with("1 of 2 left, resets in 1h 30m 30s"), "{:?}", said.answers);
    assert_eq!((said.count("passed on"), said.count("dropped")), (2, 1));
}

#[test]
fn wrong_settings_are_named_with_what_would_be_right() {
    let cases = [
        ("REDIS_HOST", "redis://redis", "give a host's name or address alone, such as `redis`"),
        ("REDIS_HOST", "two hosts", "give a host's name"),
        ("REDIS_PORT", "0", "give a number from 1 to 65535"),
        ("REDIS_PORT", "65536", "give a number from 1 to 65535"),
        ("REDIS_PORT", "tcp://10.0.0.1:6379", "Kubernetes"),
        ("MESSAGE_LIMIT", "0", "give a whole number from 1 to "),
        ("MESSAGE_LIMIT", "-1", "such as `30`"),
        ("MESSAGE_LIMIT", "thirty", "such as `30`"),
        ("MESSAGE_LIMIT", "99999999999999999999", "such as `30`"),
        ("MESSAGE_LIMIT_TTL", "24h", "give whole seconds from 1 to "),
        ("MESSAGE_LIMIT_TTL", "0", "such as `86400`"),
        ("MESSAGE_LIMIT_TTL", "3155760001", "from 1 to 3155760000"),
        ("WHITELISTED_USERS", "ada\ngrace", "with commas between them"),
    ];
    for (name, value, right) in cases {
        let said = run(program(&[(name, value)]), "");
        let start = format!("ERROR {name} is `{}`: ", value.escape_debug());
        assert_eq!(said.status, Some(2), "{name}={value}: {}", said.log);
        assert!(said.log.starts_with(&start) && said.log.contains(right), "{name}={value}: {}", said.log);
        assert_eq!(said.log.lines().count(), 1, "{}", said.log);
    }
    let said = run(program(&[("REDIS_PORT", "x"), ("MESSAGE_LIMIT", "y"), ("REDIS_HOST", "me:secret@redis")]), "");
    assert_eq!(said.log.lines().count(), 3, "all that is wrong at once: {}", said.log);
    assert!(!said.log.contains("secret"), "{}", said.log);
}

#[cfg(unix)]
#[test]
fn settings_that_are_no_text_are_refused() {
    use std::os::unix::ffi::OsStrExt;
    let mut command = program(&[]);
    command.env("WHITELISTED_USERS", std::ffi::OsStr::from_bytes(b"ad\xff"));
    let said = run(command, "");
    assert!(said.log.starts_with("ERROR WHITELISTED_USERS is `ad\u{fffd}`, which is not UTF-8"), "{}", said.log);
    assert_eq!(said.status, Some(2));
}

#[test]
fn bad_lines_are_told_by_number_and_stop_nothing() {
    let server = Server::start();
    let long = "x".repeat(16 * 1024);
    let lines: [(&[u8], &str); 10] = [
        (b"user-42\tada\thello\r\n", ""),
        (b"just words\n", "it has no tab instead of two"),
        (b"user-42\tada\n", "it has one tab instead of two"),
        (b"\n", "it is empty"),
        (b"\tada\thello\n", "its user id is empty"),
        (b"user-42\t \thello\n", "its user name is empty"),
        (b"user-42\tada\t\n", "its text is empty"),
        (b"user-42\tad\xffa\thello\n", "byte 11 is not UTF-8"),
        (b"", "it is longer than 16384 bytes"),
        (b"", "its user id is longer than 128 bytes"),
    ];
    let mut input = Vec::new();
    for (number, (line, _)) in lines.iter().enumerate() {
        match number {
            8 => input.extend_from_slice(format!("user-42\tada\t{long}\n").as_bytes()),
            9 => input.extend_from_slice(format!("{}\tada\thello\n", &long[..129]).as_bytes()),
            _ => input.extend_from_slice(line),
        }
    }
    // The last line needs no end, and a text may hold tabs.
    input.extend_from_slice(b"user-42\tada\tone\ttwo");
    let said = finish(feed(program_at(&server, &[]), &input));
    assert_eq!(said.status, Some(0), "{}", said.log);
    assert_eq!(said.answers.len(), 2, "{:?}", said.answers);
    assert!(said.answers[0].starts_with("1\t…2\tpassed on (5 characters)\t29 of 30"), "{:?}", said.answers);
    assert!(said.answers[1].starts_with("11\t…2\tpassed on (7 characters)\t28 of 30"), "{:?}", said.answers);
    for (number, (_, fault)) in (1..).zip(lines).filter(|(_, (_, fault))| !fault.is_empty()) {
        let wanted = format!("WARN line {number}: {fault}; it would be user-id<TAB>user-name<TAB>text\n");
        assert!(said.log.contains(&wanted), "{wanted}\n{}", said.log);
    }
    assert!(said.log.contains("INFO 2 passed on, 0 dropped, 9 lines could not be read"), "{}", said.log);
}

#[test]
fn messages_come_from_a_file_too() {
    let server = Server::start();
    let mut command = program_at(&server, &[]);
    command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/chat_bot/messages.txt"));
    let said = run(command, "");
    assert_eq!((said.count("passed on"), said.status), (4, Some(0)), "{:?} {}", said.answers, said.log);

    let mut command = program_at(&server, &[]);
    command.arg("/nowhere/messages.txt");
    let said = run(command, "");
    assert!(said.log.starts_with("ERROR cannot read /nowhere/messages.txt: "), "{}", said.log);
    assert_eq!(said.status, Some(1));
    for arguments in [&["--help"][..], &["one", "two"]] {
        let mut command = program(&[]);
        command.args(arguments);
        let said = run(command, "");
        assert!(said.log.starts_with("usage: chat_bot [FILE]"), "{}", said.log);
        assert_eq!(said.status, Some(2));
    }
}
