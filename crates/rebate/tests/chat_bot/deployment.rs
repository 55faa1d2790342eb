//! What the example brings for its operator: the Redis settings on a real server, the compose file, the Makefile.

use std::path::{Path, PathBuf};
use std::process::Command;

use rebate_servers::{Server, until};
use yaml_rust2::{Yaml, YamlLoader};

use crate::bot::{Talk, program_at};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/chat_bot")
}

fn read(name: &str) -> String {
    std::fs::read_to_string(folder().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// A server that reads the example's own file, after settings by which it would keep nothing.
fn server() -> Server {
    Server::builder().argument("include", folder().join("redis.conf").to_str().expect("a path that is text")).start()
}

#[test]
fn a_real_server_takes_every_redis_setting() {
    let (server, file) = (server(), read("redis.conf"));
    let settings: Vec<_> = file.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
    assert!(
        ["appendonly yes", "appendfsync always", "maxmemory-policy noeviction"].iter().all(|s| settings.contains(s))
    );
    for setting in settings {
        let (name, value) = setting.split_once(' ').unwrap();
        let value = match value.strip_suffix("mb") {
            Some(megabytes) => (megabytes.parse::<u64>().unwrap() << 20).to_string(),
            None => value.trim_matches('"').to_owned(),
        };
        let answer: Vec<String> = redis::from_redis_value(server.command(&["CONFIG", "GET", name])).unwrap();
        assert_eq!(answer, [name, &value]);
    }
}

#[test]
fn counts_survive_a_server_that_is_killed() {
    let server = server();
    let mut bot = Talk::start(program_at(&server, &[]));
    for left in (20..30).rev() {
        let answer = bot.say("user-42\tada\thello");
        assert!(answer.contains(&format!("{left} of 30 left")), "{answer}");
    }
    let end = || server.ask(&["PEXPIRETIME", "rebate:{kuser-42}:c:messages"]).parse::<i64>().unwrap();
    let before = end();
    assert!(before > 0);
    server.kill();
    server.restart();
    assert_eq!(end(), before, "the budget ends when it did");
    // Its connection is gone, which it finds out by itself.
    let answer = until("the bot has found the server again", || {
        let answer = bot.say("user-42\tada\thello");
        answer.contains("passed on").then_some(answer)
    });
    assert!(answer.contains("19 of 30 left"), "{answer}");
    bot.end();
    // So does another process.
    let mut bot = Talk::start(program_at(&server, &[]));
    assert!(bot.say("user-42\tada\thello").contains("18 of 30 left"));
    bot.end();
}

/// No engine runs where the tests do: what it would read is held against the files and the program instead.
#[test]
fn the_compose_file_says_what_it_must() {
    let documents = YamlLoader::load_from_str(&read("compose.yaml")).expect("YAML");
    let [compose] = &documents[..] else { panic!("one document") };
    assert_eq!(keys(compose), ["services", "volumes"]);
    assert_eq!(keys(&compose["services"]), ["redis", "bot"]);
    let (redis, bot) = (&compose["services"]["redis"], &compose["services"]["bot"]);

    // Data in a volume that is declared, at the folder where the image's server writes.
    let volumes = texts(&redis["volumes"]);
    assert!(volumes.contains(&"redis-data:/data"), "{volumes:?}");
    assert_eq!(keys(&compose["volumes"]), ["redis-data"]);
    // The settings at the path that the command names, from the file that is here.
    let command = texts(&redis["command"]);
    let settings = format!("./redis.conf:{}:ro", command[1]);
    assert!(command[0] == "redis-server" && volumes.contains(&&*settings), "{command:?} {volumes:?}");
    assert!(texts(&redis["ports"]).iter().all(|port| port.starts_with("127.0.0.1:")), "open to this machine alone");
    assert_eq!(texts(&redis["healthcheck"]["test"])[0], "CMD-SHELL");
    assert_eq!(bot["depends_on"]["redis"]["condition"].as_str(), Some("service_healthy"));

    // Every setting of the program, with its default.
    let environment = &bot["environment"];
    let defaults = [
        ("REDIS_HOST", "redis"),
        ("REDIS_PORT", "6379"),
        ("MESSAGE_LIMIT", "${MESSAGE_LIMIT:-30}"),
        ("MESSAGE_LIMIT_TTL", "${MESSAGE_LIMIT_TTL:-86400}"),
        ("WHITELISTED_USERS", "${WHITELISTED_USERS:-}"),
    ];
    assert_eq!(keys(environment), defaults.map(|(name, _)| name));
    for (name, value) in defaults {
        assert_eq!(environment[name].as_str(), Some(value), "{name}");
    }

    // Built from the repository's root, by the Dockerfile here.
    let context = folder().join(bot["build"]["context"].as_str().unwrap());
    let file = context.join(bot["build"]["dockerfile"].as_str().unwrap());
    let same = |one: &Path, other: &Path| one.canonicalize().unwrap() == other.canonicalize().unwrap();
    assert!(same(&file, &folder().join("Dockerfile")));
    assert!(same(&context, &Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")));
    assert!(context.join("Cargo.lock").exists(), "--locked needs it");
}

#[test]
fn the_image_holds_the_bot_and_the_operators_program() {
    let file = read("Dockerfile");
    let oldest = env!("CARGO_PKG_RUST_VERSION");
    for part in [
        format!("FROM rust:{oldest}-").as_str(),
        "-p rebate --features redis --example chat_bot",
        "-p rebate-cli --bin rebate",
        "release/examples/chat_bot /source/target/release/rebate /usr/local/bin/",
        "ENTRYPOINT [\"chat_bot\"]",
    ] {
        assert!(file.contains(part), "{part}");
    }
}

#[test]
fn the_operators_command_is_at_hand() {
    let status = made("budget-status");
    assert!(status.ends_with("status --store redis://127.0.0.1:7000 --limit messages"), "{status}");
    assert!(status.contains("-p rebate-cli --bin rebate --"), "{status}");
    let within = made("budget-status-container");
    let wanted = r#"docker compose exec bot sh -c 'exec rebate status --store "redis://$REDIS_HOST:$REDIS_PORT" --limit messages'"#;
    assert_eq!(within, wanted);
    assert!(made("run").ends_with("cargo run --quiet -p rebate --features redis --example chat_bot -- messages.txt"));
    assert_eq!(made("up"), "docker compose up --build --detach --wait");
    assert_eq!(made("down"), "docker compose down");
}

/// What `make` would run for a target.
fn made(target: &str) -> String {
    let mut command = Command::new("make");
    command.args(["--no-print-directory", "--dry-run", target]).current_dir(folder());
    // Where these tests are themselves run by make, its settings are not for this one.
    for name in ["MAKEFLAGS", "MFLAGS", "MAKELEVEL", "REDIS_HOST", "MESSAGES", "REBATE", "COMPOSE"] {
        command.env_remove(name);
    }
    command.env("REDIS_PORT", "7000");
    let output = command.output().unwrap_or_else(|error| panic!("make: {error}; `apt-get install make`"));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn keys(yaml: &Yaml) -> Vec<String> {
    let hash = yaml.as_hash().expect("a mapping");
    hash.keys().map(|key| key.as_str().expect("a text").to_owned()).collect()
}

fn texts(yaml: &Yaml) -> Vec<&str> {
    yaml.as_vec().expect("a list").iter().map(|entry| entry.as_str().expect("a text")).collect()
}
