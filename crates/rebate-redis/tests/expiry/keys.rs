//! What the server holds under a prefix, read as ARCHITECTURE.md describes it, and when that is to expire.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::SystemTime;

use rebate_core::engine::SETTLE_WITHIN;
use rebate_core::{Clock, Policy, Timestamp};
use rebate_servers::Server;
use redis::Value;

/// Microseconds.
type Micros = i64;

const MILLISECOND: Micros = 1000;

/// All keys and what they hold, and the time then. Notes and top-ups are told by the latest moment that counts in them.
const LOOK: &str = r"
    local found = {}
    for _, name in ipairs(redis.call('KEYS', ARGV[1] .. ':*')) do
        local kind, held = redis.call('TYPE', name).ok, nil
        if kind == 'zset' then
            held = redis.call('ZRANGE', name, 0, -1, 'WITHSCORES')
        elseif kind == 'hash' then
            held = redis.call('HGETALL', name)
        else
            held = redis.call('GET', name)
            if string.find(name, '}:i:', 1, true) then
                held = string.format('%.0f', cmsgpack.unpack(held)[1])
            elseif string.find(name, '}:t:', 1, true) then
                local top_ups = cmsgpack.unpack(held)
                local latest = top_ups[1] or 0
                for _, receipt in ipairs(top_ups[2]) do
                    latest = math.max(latest, receipt[3])
                end
                held = string.format('%.0f', latest)
            end
        end
        found[#found + 1] = { name, redis.call('PEXPIRETIME', name), held }
    end
    local time = redis.call('TIME')
    return { time[1] * 1000000 + time[2], found }
";

/// The time by which the store's counts go: the server's, or a clock of the caller's that a test moves. As that goes on with
/// the server's, what is kept for a time is kept for that time.
#[derive(Clone)]
pub(crate) struct Moved(Arc<AtomicI64>);

impl Moved {
    pub(crate) fn new() -> Self {
        Moved(Arc::new(AtomicI64::new(0)))
    }

    fn ahead(&self) -> Micros {
        self.0.load(Ordering::SeqCst)
    }
}

impl Clock for Moved {
    fn now(&self) -> Timestamp {
        let now = SystemTime::UNIX_EPOCH.elapsed().expect("after the epoch").as_micros() as Micros;
        Timestamp::from_micros((now + self.ahead()) as u64)
    }
}

/// When a key expires by the server's clock, and how long the operation took that said so.
struct Expiry {
    at_millis: i64,
    within: Micros,
}

/// A count's state as it stands in the documentation.
struct State {
    letter: char,
    has_reservations: bool,
    /// From then on it says nothing.
    end: Micros,
    /// For how much longer it may be kept, but for the grace.
    slack: Micros,
}

/// Looks at the keys after every operation.
pub(crate) struct Watch {
    connection: redis::Connection,
    prefix: &'static str,
    clock: Option<Moved>,
    begun: Micros,
    known: BTreeMap<String, Expiry>,
    /// For how long at most the limits are to be kept behind their last entry.
    longest: Micros,
    /// What kinds of keys were met: letters of states, else the letter in the key's name.
    pub(crate) met: BTreeSet<char>,
}

impl Watch {
    pub(crate) fn new(server: &Server, prefix: &'static str, clock: Option<Moved>) -> Self {
        let connection = server.client().get_connection().expect("a connection");
        let (known, met) = (BTreeMap::new(), BTreeSet::new());
        let mut watch = Watch { connection, prefix, clock, begun: 0, known, longest: 0, met };
        watch.begun = watch.now();
        watch
    }

    /// The server's time: before an operation.
    pub(crate) fn now(&mut self) -> Micros {
        let [seconds, micros]: [Micros; 2] = redis::cmd("TIME").query(&mut self.connection).expect("the time");
        seconds * 1_000_000 + micros
    }

    /// A limit will be charged, and with its first charge be written down.
    pub(crate) fn expect_limit(&mut self, policy: &Policy) {
        self.longest = self.longest.max(policy.longest().as_micros() as Micros);
    }

    pub(crate) fn has_clock(&self) -> bool {
        self.clock.is_some()
    }

    /// Moves the clock, and what is to expire with it, as if so much time had passed.
    pub(crate) fn move_clock(&mut self, millis: i64) {
        let clock = self.clock.as_ref().expect("a clock that can be moved");
        clock.0.fetch_add(millis * 1000, Ordering::SeqCst);
        let limits = format!("{}:{{limits}}", self.prefix);
        for (name, known) in self.known.iter_mut().filter(|(name, _)| **name != limits) {
            known.at_millis -= millis;
            let () = redis::cmd("PEXPIREAT")
                .arg(name)
                .arg(known.at_millis)
                .query(&mut self.connection)
                .expect("another expiry");
        }
    }

    /// Asserts of every key what is documented, after an operation that was sent at `before`.
    pub(crate) fn look(&mut self, before: Micros, what: &str) {
        let (after, found) = self.found();
        let mut changed = BTreeSet::new();
        let were: BTreeMap<String, i64> =
            self.known.iter().map(|(name, expiry)| (name.clone(), expiry.at_millis)).collect();
        for (name, &(at_millis, _)) in &found {
            assert!(at_millis > 0, "{name} never expires ({at_millis}): {what}");
            if self.known.get(name).is_none_or(|known| known.at_millis != at_millis) {
                changed.insert(name.clone());
                self.known.insert(name.clone(), Expiry { at_millis, within: after - before });
            }
        }
        self.known.retain(|name, _| found.contains_key(name));
        for (name, (_, held)) in &found {
            let (kind, count) = kind_of(name, self.prefix);
            self.met.insert(kind);
            match kind {
                'c' => {
                    let state = state_of(name, &found);
                    self.met.insert(state.letter);
                    self.met.extend(state.has_reservations.then_some('r'));
                    self.assert_ends(name, state.end, state.slack, &changed, what);
                }
                'i' => self.assert_ends(name, number(held), 0, &changed, what),
                't' => self.assert_ends(name, number(held) + SETTLE_WITHIN as Micros, 0, &changed, what),
                'l' => self.assert_limits(name, held, after, what),
                helper => {
                    let of = found.get(&count).map(|_| state_of(&count, &found).letter);
                    let is_its = helper == 'k' || matches!(of, Some('L' | 'C'));
                    match self.known.get(&count) {
                        Some(expiry) if is_its => assert_together(name, &self.known[name], expiry, what),
                        // The count may have expired a moment before.
                        _ if self.known[name].at_millis * 1000 - after <= self.known[name].within + MILLISECOND => {}
                        // What another algorithm has taken over is left to its expiry: that of the count as it was, also where
                        // something reserved was given back into that first.
                        _ => {
                            let apart = were.get(&count).map(|was| (was - self.known[name].at_millis).abs() * 1000);
                            let is_left = !changed.contains(name)
                                || apart.is_some_and(|apart| apart <= self.known[name].within + 2 * MILLISECOND);
                            assert!(!is_its && is_left, "{name} tells of nothing: {what}");
                        }
                    }
                }
            }
        }
    }

    /// It expires no earlier than the grace behind its end; and when it was given that expiry, it was none later either. What a
    /// refund takes away may end it sooner, and moves no expiry.
    fn assert_ends(&self, name: &str, end: Micros, slack: Micros, changed: &BTreeSet<String>, what: &str) {
        let (ahead, grace) = match &self.clock {
            Some(clock) => (clock.ahead(), 3_600_000_000),
            None => (0, 1_000_000),
        };
        let expiry = &self.known[name];
        // By the time that the count goes by.
        let (expires, due) = (expiry.at_millis * 1000 + ahead, end + grace);
        // The server tells its time by the millisecond, and may be held up between reading it and keeping something.
        let slip = MILLISECOND + expiry.within;
        assert!(expires + slip > due, "{name} expires {} us too early: {what}", due - expires);
        if changed.contains(name) {
            let due = due + slack;
            assert!(expires <= due + slip, "{name} expires {} us too late: {what}", expires - due);
        }
    }

    /// Written down behind the operations' backs, by real time: a day longer than anything charged counts.
    fn assert_limits(&self, name: &str, held: &Value, after: Micros, what: &str) {
        const DAY: Micros = 86_400_000_000;
        let at = self.known[name].at_millis * 1000;
        let written: BTreeMap<String, String> = redis::from_redis_value(held.clone()).expect("names and policies");
        for (limit, policy) in &written {
            let longest = Policy::parse(policy).expect("a policy").longest().as_micros() as Micros;
            assert!(at >= self.begun + longest + DAY, "{name} expires too early for {limit}, {policy}: {what}");
        }
        assert!(at <= after + self.longest + DAY + 1000, "{name} expires too late: {what}");
    }

    fn found(&mut self) -> (Micros, BTreeMap<String, (i64, Value)>) {
        let mut look = redis::cmd("EVAL");
        look.arg(LOOK).arg(0).arg(self.prefix);
        let (after, found): (Micros, Vec<(String, i64, Value)>) = look.query(&mut self.connection).expect("all keys");
        (after, found.into_iter().map(|(name, at_millis, held)| (name, (at_millis, held))).collect())
    }
}

/// What lies beside a count expires with it, but for what a slow operation lets pass between the two.
fn assert_together(name: &str, helper: &Expiry, count: &Expiry, what: &str) {
    let apart = (helper.at_millis - count.at_millis).abs() * 1000;
    let most = helper.within + count.within + 2 * MILLISECOND;
    assert!(apart <= most, "{name} expires {apart} us apart from its count: {what}");
}

/// `c`, `i` or `t`; `l` for the limits; of what lies beside a count its letter, and the count's name.
fn kind_of(name: &str, prefix: &str) -> (char, String) {
    let tag_and_rest = name.strip_prefix(prefix).and_then(|rest| rest.strip_prefix(":{")).expect("the store's prefix");
    let (tag, rest) = tag_and_rest.split_once('}').expect("a tag");
    if rest.is_empty() {
        assert_eq!(tag, "limits");
        return ('l', String::new());
    }
    let kind = rest.chars().nth(1).expect("a kind");
    // A limit, and of a group a key.
    let texts = 3 + usize::from(tag.starts_with('g'));
    match rest.rsplit_once(':') {
        Some((count, helper)) if kind == 'c' && rest.split(':').count() > texts => {
            (helper.chars().next().expect("a letter"), format!("{prefix}:{{{tag}}}{count}"))
        }
        _ => (kind, String::new()),
    }
}

fn state_of(name: &str, found: &BTreeMap<String, (i64, Value)>) -> State {
    let Value::BulkString(bytes) = &found[name].1 else { panic!("{name} is no state") };
    let (letter, has_reservations) = (char::from(bytes[7].to_ascii_uppercase()), bytes[7].is_ascii_lowercase());
    let at = |place: usize| {
        let bytes: [u8; 8] = bytes[8 * place..8 * place + 8].try_into().expect("eight bytes");
        f64::from_le_bytes(bytes) as Micros
    };
    let (end, slack) = match letter {
        'A' | 'D' | 'F' => (at(3), 0),
        // A refund may have moved it on to a bucket in which nothing is charged yet.
        'S' => (at(3) + at(9) * if at(4) > 0 { 2 } else { 1 }, 0),
        'B' => {
            let span = i128::from(at(5)) * i128::from(at(6)) / i128::from(at(7));
            (at(2) + Micros::from(at(3) > 0), span as Micros + 1)
        }
        'L' | 'C' => {
            let ends = [":e", ":f"].into_iter().filter_map(|helper| found.get(&format!("{name}{helper}")));
            let scores = ends.flat_map(|(_, held)| -> Vec<(Vec<u8>, f64)> {
                redis::from_redis_value(held.clone()).expect("names and ends")
            });
            // Of what was refunded whole the last units stand there too, made negative.
            (scores.map(|(_, end)| end as Micros).max().unwrap_or(0).max(0), at(11))
        }
        other => panic!("{name} is of no algorithm: {other}"),
    };
    State { letter, has_reservations, end, slack }
}

fn number(held: &Value) -> Micros {
    redis::from_redis_value(held.clone()).expect("a number")
}
