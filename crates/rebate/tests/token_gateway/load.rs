//! Clients that ask as fast as they are admitted, for several minutes of the clock that the test moves.

use std::time::Duration;

use serde_json::{Value, json};

use crate::client::{Client, asking_at_length, with};
use crate::gateway::Terms;
use crate::world::{World, terms};

/// Tokens per minute.
const QUOTA: u64 = 6060;
const USERS: [&str; 2] = ["ada", "eve"];
/// Of each user, at once.
const CLIENTS: u64 = 4;
const MINUTES: usize = 4;
/// How often within a minute the clients come back.
const ROUNDS: usize = 3;

/// Tokens of a prompt, and those said to it.
const ASKED: u64 = 60;
const SAID: u64 = 40;
const TRUE: u64 = ASKED + SAID;

/// What one client got before it was denied.
struct Got {
    tokens: u64,
    retry_after: u64,
}

/// What one user got in one minute, and how much of the minute's quota is used up by that.
#[derive(Debug)]
struct Minute {
    user: &'static str,
    tokens: u64,
    charged: u64,
}

fn world(settles: bool) -> World {
    World::in_memory(&Terms {
        minute: format!("{QUOTA}/minute"),
        day: "1000000/day".into(),
        settles,
        assumed: 0,
        ..terms()
    })
}

/// Every minute of every user. The clock stands while requests are under way.
fn load(world: &World, most: &Value, breaks: bool) -> Vec<Minute> {
    let mut minutes = Vec::new();
    for _ in 0..MINUTES {
        let mut tokens = [0; USERS.len()];
        for round in 1..=ROUNDS {
            let mut retry_after = 0;
            for (place, got) in world.run(all(&world.client, most, breaks)) {
                tokens[place] += got.tokens;
                retry_after = got.retry_after;
            }
            if round < ROUNDS {
                world.clock.advance(Duration::from_secs(15));
                continue;
            }
            for (user, tokens) in USERS.into_iter().zip(tokens) {
                minutes.push(Minute { user, tokens, charged: world.used(user)[0] });
            }
            world.clock.advance(Duration::from_secs(retry_after));
        }
    }
    minutes
}

async fn all(client: &Client, most: &Value, breaks: bool) -> Vec<(usize, Got)> {
    let mut tasks = Vec::new();
    for (place, user) in USERS.into_iter().enumerate() {
        for number in 0..CLIENTS {
            let (client, most) = (client.clone(), most.clone());
            tasks.push((place, tokio::spawn(async move { one(&client, user, number, &most, breaks).await })));
        }
    }
    let mut got = Vec::new();
    for (place, task) in tasks {
        got.push((place, task.await.expect("a client")));
    }
    got
}

/// A client asks until it is denied, now for a plain reply, now for a stream, now for one that breaks.
async fn one(client: &Client, user: &str, first: u64, most: &Value, breaks: bool) -> Got {
    let mut tokens = 0;
    for number in first.. {
        let told =
            if breaks && number % 4 == 3 { format!("say={SAID} break={}", SAID / 2) } else { format!("say={SAID}") };
        let asked = with(asking_at_length(&told, 4 * ASKED as usize), json!({"max_tokens": most}));
        let denied = if number % 2 == 0 {
            let answer = client.ask(user, &asked).await;
            tokens += answer.body["usage"]["total_tokens"].as_u64().unwrap_or(0);
            (answer.status != 200).then_some(answer)
        } else {
            match client.stream(user, &asked).await {
                Err(answer) => Some(answer),
                Ok(stream) => {
                    let whole = stream.whole().await;
                    tokens += if whole.ended { TRUE } else { ASKED + SAID / 2 };
                    assert_eq!(whole.ended, !told.contains("break"), "{whole:?}");
                    None
                }
            }
        };
        if let Some(denied) = denied {
            assert_eq!(denied.status, 429, "{denied:?}");
            return Got { tokens, retry_after: denied.retry_after().expect("a wait") };
        }
    }
    unreachable!("it asks until it is denied")
}

/// How much of the quotas was truly used, in hundredths.
fn share(minutes: &[Minute]) -> u64 {
    minutes.iter().map(|minute| minute.tokens).sum::<u64>() * 100 / (QUOTA * minutes.len() as u64)
}

/// Three times as much as is used: 300.
fn too_high() -> Value {
    json!(3 * TRUE - ASKED)
}

#[test]
fn estimates_three_times_too_high_cost_no_user_a_tenth_of_the_quota() {
    let world = world(true);
    let minutes = load(&world, &too_high(), true);
    assert_eq!(minutes.len(), MINUTES * USERS.len());
    for minute in &minutes {
        assert!(minute.tokens <= QUOTA && minute.tokens * 10 >= QUOTA * 9, "{minute:?}");
        assert_eq!(minute.charged, minute.tokens, "{minute:?}");
    }
    assert_eq!(world.gateway.shortfall(), 0, "no estimate was too low");
    for user in USERS {
        let all: u64 = minutes.iter().filter(|minute| minute.user == user).map(|minute| minute.tokens).sum();
        assert_eq!(world.used(user)[1], all, "the day has counted the same");
    }
}

#[test]
fn without_settling_the_same_load_reaches_a_third() {
    let minutes = load(&world(false), &too_high(), true);
    assert!((25..=34).contains(&share(&minutes)), "{} %: {minutes:?}", share(&minutes));
    assert!(minutes.iter().all(|minute| minute.tokens * 3 <= QUOTA), "{minutes:?}");
}

#[test]
fn estimates_that_are_too_low_pass_the_quota_by_the_shortfall_that_is_told() {
    let world = world(true);
    // Of the prompt alone: nothing is assumed of the reply.
    let minutes = load(&world, &Value::Null, false);
    for minute in &minutes {
        // Once one has fallen short there is nothing left to admit another: only those under way then may fall short too.
        let most = QUOTA + CLIENTS * (TRUE - ASKED);
        assert!(minute.tokens <= most && minute.tokens * 10 >= QUOTA * 9, "{minute:?}");
        assert!(minute.charged <= QUOTA, "{minute:?}");
    }
    let short: u64 = minutes.iter().map(|minute| minute.tokens - minute.charged).sum();
    assert_eq!(short, world.gateway.shortfall(), "{minutes:?}");
    assert!(short > 0, "the load was to fall short");
}
