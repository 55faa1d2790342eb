//! What tasks, controller and audit know of one another.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use rebate_core::{Fallback, Item, Limit, Limiter, Policy, Receipt};
use rebate_redis::RedisStore;

use crate::faults::Controller;
use crate::support::away::hasty;
use crate::support::scene::{limiter, limits, patient};

pub(crate) const QUOTA: u64 = 20;
/// For each style of charge.
pub(crate) const KEYS: usize = 3;
const STYLES: usize = 2;
const FALLBACKS: [Fallback; 3] = [Fallback::Error, Fallback::Deny, Fallback::Allow];

pub(crate) struct World {
    name: String,
    /// Two stores, as two processes have, through the faulty network.
    pub(crate) limiters: [Limiter<RedisStore>; 2],
    /// Past the network, patient.
    pub(crate) watching: Limiter<RedisStore>,
    /// The same limits with each fallback.
    limits: Vec<Vec<Limit>>,
    /// Charged along with others, to a key of the charge's own: tells whether that charge stands.
    pub(crate) trace: Limit,
    pub(crate) kind: Kind,
    /// By count: what is held at least. Added to after a charge, taken from before a refund: never more than is in use.
    held: Vec<AtomicI64>,
    /// The most there ever was.
    most_held: Vec<AtomicI64>,
    /// Of which so much was topped up while data was being lost.
    topped_up_amid: Vec<AtomicI64>,
    /// Odd while data is being lost; half of it, how often that was.
    pub(crate) era: AtomicU64,
    pub(crate) operations: AtomicU64,
    pub(crate) ended: AtomicBool,
    charges: Mutex<Vec<Arc<Charge>>>,
    faults: Mutex<Vec<String>>,
}

/// What the faults do to the data.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Kind {
    Keeps,
    LosesAll,
    LosesSome,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Outcome {
    Admitted,
    Denied,
    /// An error, a fallback's denial or an unchecked pass, of which it is said that it did not happen.
    DidNotHappen,
    /// The same, of which it is said that it may have.
    MayHaveHappened,
    /// The caller went away.
    Gone,
}

pub(crate) struct Charge {
    pub(crate) number: usize,
    /// The number of the limit, and the cost.
    pub(crate) items: Vec<(usize, u64)>,
    pub(crate) key: usize,
    pub(crate) is_traced: bool,
    pub(crate) is_once: bool,
    /// Before it was sent, and after its answer.
    pub(crate) eras: (u64, u64),
    pub(crate) state: Mutex<ChargeState>,
}

pub(crate) struct ChargeState {
    pub(crate) outcome: Outcome,
    pub(crate) token: Option<String>,
    /// By part, up to which total refunds were asked for: what is held is at least the rest.
    pub(crate) announced: Vec<u64>,
    /// By part, what refunds said that they gave back.
    pub(crate) given_back: Vec<u64>,
    /// The costs of a settlement that may have happened.
    pub(crate) unsettled: Option<Vec<u64>>,
    pub(crate) is_settled: bool,
}

impl World {
    pub(crate) fn new(name: String, kind: Kind, controller: &Controller) -> Self {
        let counts = limits(QUOTA, Fallback::Error).len() * KEYS * STYLES;
        let many = Policy::fixed(1_000_000, std::time::Duration::from_secs(86_400_000)).expect("a sound policy");
        let none = || (0..counts).map(|_| AtomicI64::new(0)).collect::<Vec<_>>();
        let world = World {
            name,
            kind,
            limiters: [0, 1].map(|_| limiter(hasty(controller.network.url()))),
            watching: limiter(patient(controller.past.url())),
            limits: FALLBACKS.iter().map(|&fallback| limits(QUOTA, fallback)).collect(),
            trace: Limit::of("trace", many).expect("a sound name").with_fallback(Fallback::Allow),
            held: none(),
            most_held: none(),
            topped_up_amid: none(),
            era: AtomicU64::new(0),
            operations: AtomicU64::new(0),
            ended: AtomicBool::new(false),
            charges: Mutex::default(),
            faults: Mutex::default(),
        };
        // A settlement tops up under limits that its store has met.
        for limiter in world.limiters.iter().chain([&world.watching]) {
            for limit in world.limits(0).iter().chain([&world.trace]) {
                limiter.register(limit).expect("no two of a name");
            }
        }
        world
    }

    /// Whether nothing was being lost from the first to the second.
    pub(crate) fn is_sound((began, ended): (u64, u64)) -> bool {
        began == ended && began & 1 == 0
    }

    pub(crate) fn limits(&self, fallback: usize) -> &[Limit] {
        &self.limits[fallback % FALLBACKS.len()]
    }

    pub(crate) fn era(&self) -> u64 {
        self.era.load(Ordering::SeqCst)
    }

    /// Each is charged in one style only: traced or plain.
    pub(crate) fn key_name(is_traced: bool, key: usize) -> String {
        format!("{}-{key}", if is_traced { "traced" } else { "plain" })
    }

    pub(crate) fn count(&self, is_traced: bool, limit: usize, key: usize) -> usize {
        (limit * KEYS + key) * STYLES + usize::from(is_traced)
    }

    pub(crate) fn counts(&self) -> impl Iterator<Item = (bool, usize, usize)> {
        let limits = self.limits[0].len();
        (0..limits).flat_map(|limit| (0..KEYS).flat_map(move |key| [(false, limit, key), (true, limit, key)]))
    }

    pub(crate) fn hold(&self, count: usize, units: i64) {
        let held = self.held[count].fetch_add(units, Ordering::SeqCst) + units;
        self.most_held[count].fetch_max(held, Ordering::SeqCst);
    }

    pub(crate) fn top_up(&self, count: usize, units: i64, eras: (u64, u64)) {
        if !World::is_sound(eras) {
            self.topped_up_amid[count].fetch_add(units, Ordering::SeqCst);
        }
        self.hold(count, units);
    }

    pub(crate) fn topped_up_amid(&self, count: usize) -> i64 {
        self.topped_up_amid[count].load(Ordering::SeqCst)
    }

    pub(crate) fn most_held(&self, count: usize) -> i64 {
        self.most_held[count].load(Ordering::SeqCst)
    }

    pub(crate) fn charges(&self) -> MutexGuard<'_, Vec<Arc<Charge>>> {
        self.charges.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    pub(crate) fn tell(&self, fault: String) {
        self.faults.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).push(fault);
    }
}

impl Charge {
    pub(crate) fn state(&self) -> MutexGuard<'_, ChargeState> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    pub(crate) fn trace_key(number: usize) -> String {
        format!("trace-{number}")
    }

    /// The items as they were charged.
    pub(crate) fn items<'a>(&self, world: &'a World, keys: &'a [String; 2]) -> Vec<Item<'a>> {
        items(world, 0, &self.items, self.is_traced, keys)
    }

    /// A settlement may have charged it something of another time.
    pub(crate) fn is_topped_up(&self) -> bool {
        let state = self.state();
        state.unsettled.is_some() || state.is_settled
    }

    pub(crate) fn keys(&self) -> [String; 2] {
        [World::key_name(self.is_traced, self.key), Charge::trace_key(self.number)]
    }

    /// The count of a part of its receipt; none of the trace's.
    pub(crate) fn count_of(&self, world: &World, receipt: &Receipt, part: usize) -> Option<usize> {
        let first = receipt.parts()[part].tops_up.map_or(part, usize::from);
        self.items.get(first).map(|&(limit, _)| world.count(self.is_traced, limit, self.key))
    }
}

pub(crate) fn items<'a>(
    world: &'a World,
    fallback: usize,
    charged: &[(usize, u64)],
    is_traced: bool,
    keys: &'a [String; 2],
) -> Vec<Item<'a>> {
    let limits = world.limits(fallback);
    let mut items: Vec<Item<'_>> =
        charged.iter().map(|&(limit, cost)| Item::new(&limits[limit], keys[0].as_str()).cost(cost)).collect();
    if is_traced {
        items.push(Item::new(&world.trace, keys[1].as_str()));
    }
    items
}

/// Prints the schedule where the test fails.
pub(crate) struct Told(pub(crate) Arc<World>);

impl Drop for Told {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let faults = self.0.faults.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            eprintln!("{}\n  {}", self.0.name, faults.join("\n  "));
        }
    }
}
