//! Against real servers. No test waits for a time; those of timeouts set them short and ask what was answered.

mod faults;
mod one;
mod several;
#[cfg(feature = "tls")]
mod tls;

use std::error::Error as _;

use rebate_servers::{Server, until};

use super::*;

/// Adds to a key, tells it, and fails after a write.
const SOURCE: &str = "#!lua name=linktest
redis.register_function('count_test', function(keys, arguments)
  return redis.call('INCRBY', keys[1], arguments[1])
end)
redis.register_function('fail_test', function(keys, arguments)
  redis.call('INCRBY', keys[1], arguments[1])
  return redis.call('LPUSH', keys[1], 'x')
end)
redis.register_function('both_test', function(keys, arguments)
  redis.call('INCRBY', keys[1], arguments[1])
  return redis.call('INCRBY', keys[2], arguments[1])
end)
redis.register_function{function_name = 'look_test', flags = {'no-writes'}, callback = function(keys, arguments)
  return redis.call('GET', keys[1])
end}
";

fn library() -> Arc<Library> {
    Arc::new(Library { source: SOURCE.into(), suffix: "_test".into() })
}

/// Patient, since these tests share their processors; a test of timeouts sets its own.
fn patient(settings: Settings) -> Settings {
    settings.connect_timeout(Duration::from_secs(20)).call_timeout(Duration::from_secs(20))
}

/// For tests in which nothing is to be awaited for long.
fn hasty(settings: Settings) -> Settings {
    settings.connect_timeout(Duration::from_millis(500)).call_timeout(Duration::from_millis(200))
}

fn link(settings: Settings) -> Link {
    Link::new(settings, library()).unwrap()
}

fn function(function: &'static str, key: &str) -> Call {
    Call {
        function,
        keys: SmallVec::from_vec(vec![key.as_bytes().to_vec()]),
        arguments: SmallVec::from_vec(vec![b"1".to_vec()]),
        reads_only: false,
        repeatable: false,
    }
}

fn count(key: &str) -> Call {
    function("count", key)
}

fn look(key: &str) -> Call {
    Call { reads_only: true, ..function("look", key) }
}

async fn counted(link: &Link, key: &str) -> i64 {
    redis::from_redis_value(link.call(count(key)).await.unwrap()).unwrap()
}

/// What the server has in a key, asked past the link.
fn held(server: &Server, key: &str) -> Option<String> {
    redis::from_redis_value(server.command(&["GET", key])).unwrap()
}

fn calls(server: &Server, command: &str) -> u64 {
    let line = server.information(&format!("cmdstat_{command}")).unwrap_or_default();
    line.strip_prefix("calls=").and_then(|rest| rest.split(',').next()).map_or(0, |calls| calls.parse().unwrap())
}

/// Calls until one succeeds.
async fn recovered(link: &Link, key: &str) -> i64 {
    let begun = Instant::now();
    loop {
        match link.call(count(key)).await {
            Ok(value) => return redis::from_redis_value(value).unwrap(),
            Err(error) => {
                assert!(error.is_unavailable(), "{error}");
                assert!(begun.elapsed() < Duration::from_secs(60), "does not recover: {error}");
                sleep(Duration::from_millis(5)).await;
            }
        }
    }
}
