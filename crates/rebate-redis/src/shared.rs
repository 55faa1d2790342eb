//! What all clones of a store share, and what every operation needs.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, RwLock};

use rebate_core::{
    Algorithm, Clock, Error, Identity, KeyRef, Limit, LimitIndex, LimitRef, Part, Receipt, Status, Timestamp,
};
use redis::Value;
use smallvec::{SmallVec, smallvec};
use tokio::runtime::Handle;

use crate::item::{Prepared, number};
use crate::keys::{CountName, DIGEST_MARK, Names, escaped};
use crate::late::Owed;
use crate::link::{Call, Link};
use crate::view::{View, headers, status};

pub(crate) struct Shared {
    pub(crate) identity: Identity,
    pub(crate) names: Names,
    pub(crate) link: Link,
    /// A caller's clock, under test; else the server's time counts.
    pub(crate) clock: Option<Box<dyn Clock>>,
    /// For how much longer than needed the server keeps what it is told, in microseconds.
    pub(crate) grace: u64,
    /// By the limits' numbers.
    prepared: RwLock<Vec<Option<Arc<Prepared>>>>,
    random: RandomState,
    drawn: AtomicU64,
    runtime: OnceLock<Handle>,
    /// This machine's time: nothing is decided by it.
    local: Box<dyn Clock>,
}

impl Shared {
    pub(crate) fn new(
        identity: Identity,
        names: Names,
        link: Link,
        clock: Option<Box<dyn Clock>>,
        local: Box<dyn Clock>,
    ) -> Self {
        // A caller's clock may stand still while the server's time goes on.
        let grace = if clock.is_some() { 3_600_000_000 } else { 1_000_000 };
        Shared {
            identity,
            names,
            link,
            clock,
            grace,
            prepared: RwLock::default(),
            random: RandomState::new(),
            drawn: AtomicU64::new(0),
            runtime: OnceLock::new(),
            local,
        }
    }

    /// A random identity.
    #[inline]
    pub(crate) fn fresh(&self) -> u64 {
        loop {
            // Keyed SipHash of a number used once. The scripts compare it as a double: those that equal nothing will not do,
            // nor zero, which stands for no instance.
            let fresh = self.random.hash_one(self.drawn.fetch_add(1, Ordering::Relaxed));
            let double = f64::from_bits(fresh);
            if double.is_finite() && double != 0.0 {
                return fresh;
            }
        }
    }

    /// The time argument of every function.
    #[inline]
    pub(crate) fn time(&self) -> Vec<u8> {
        match &self.clock {
            None => Vec::new(),
            Some(clock) => clock.now().as_micros().to_string().into_bytes(),
        }
    }

    /// About the time, as far as this process knows.
    pub(crate) fn about_now(&self) -> u64 {
        match &self.clock {
            None => self.local.now().as_micros(),
            Some(clock) => clock.now().as_micros(),
        }
    }

    /// The limit with this place, made ready.
    #[inline]
    pub(crate) fn prepared(&self, index: LimitIndex, limit: &Limit) -> Arc<Prepared> {
        let prepared = self.prepared.read().unwrap_or_else(|poisoned| poisoned.into_inner());
        match prepared.get(index.limit as usize) {
            Some(Some(prepared)) => Arc::clone(prepared),
            _ => {
                drop(prepared);
                self.prepare(index, limit)
            }
        }
    }

    #[cold]
    fn prepare(&self, index: LimitIndex, limit: &Limit) -> Arc<Prepared> {
        let mut prepared = self.prepared.write().unwrap_or_else(|poisoned| poisoned.into_inner());
        let place = index.limit as usize;
        if prepared.len() <= place {
            prepared.resize(place + 1, None);
        }
        Arc::clone(prepared[place].get_or_insert_with(|| Arc::new(Prepared::new(limit, self.grace))))
    }

    /// Writes a limit down on the server from time to time, for operators. Nobody waits for it, nor hears of a failure.
    #[inline]
    pub(crate) fn write_down(&self, prepared: &Prepared) {
        if prepared.is_due(self.about_now()) {
            self.write_down_now(prepared);
        }
    }

    #[cold]
    fn write_down_now(&self, prepared: &Prepared) {
        let limit = &prepared.limit;
        let keep = limit.policy().longest().as_millis() as u64 + 86_400_000;
        let writing = self.link.call(Call {
            function: "rebate_write_limit",
            keys: smallvec![self.names.limits()],
            arguments: smallvec![
                limit.name().as_bytes().to_vec(),
                limit.policy().to_string().into_bytes(),
                keep.to_string().into_bytes(),
            ],
            reads_only: false,
            repeatable: false,
        });
        tokio::spawn(async move { drop(writing.await) });
    }

    /// The limit that a part names, if it is known here, and that last entered under its name.
    pub(crate) fn limit_of<'a>(&'a self, part: &Part) -> Option<(&'a Limit, LimitIndex)> {
        match &part.limit {
            LimitRef::Index(index) => Some((self.identity.limit(*index)?, self.identity.index(*index)?)),
            LimitRef::Name(name) => {
                let (_, index) = self.identity.by_name(name)?;
                Some((self.identity.limit(index.limit)?, index))
            }
        }
    }

    /// The name of a part's limit.
    pub(crate) fn limit_name<'a>(&'a self, part: &'a Part) -> Result<&'a str, Error> {
        match &part.limit {
            LimitRef::Name(name) => Ok(name),
            LimitRef::Index(index) => self
                .identity
                .limit(*index)
                .map(Limit::name)
                .ok_or_else(|| Error::invalid("the receipt names a limit that its store has never met")),
        }
    }

    /// The count that a part was taken from.
    pub(crate) fn count_of(&self, part: &Part) -> Result<Vec<u8>, Error> {
        Ok(self.names.count(&escaped(self.limit_name(part)?), part.key()).name)
    }

    /// The note of a receipt's idempotency key.
    pub(crate) fn note_of(&self, receipt: &Receipt) -> Option<Vec<u8>> {
        receipt.idempotency().map(|note| self.names.note(note.scope.as_ref(), &note.key))
    }

    pub(crate) fn count(&self, prepared: &Prepared, key: KeyRef<'_>) -> CountName {
        self.names.count(&prepared.name, key)
    }

    /// The status of a part's count: under the limit it was last charged under while it says anything, else under the one
    /// that the receipt names.
    pub(crate) fn status_of_part(&self, part: &Part, view: Option<&View>, now: u64) -> Option<Status> {
        let known = self.limit_of(part);
        if let Some(status) = view.and_then(|view| view.own_status(known.map(|(limit, _)| limit), now)) {
            return Some(status);
        }
        let (limit, index) = known?;
        Some(status(None, limit, &self.prepared(index, limit).shape, now))
    }

    /// On a cluster, names among a call's keys what lies beside counts that may be of entries: while a slot moves to another
    /// node, the server then says so instead of answering by half of the state.
    pub(crate) fn name_helpers<'a>(&self, call: &mut Call, counts: impl Iterator<Item = (usize, Option<&'a Limit>)>) {
        if !self.link.is_cluster() {
            return;
        }
        for (at, limit) in counts {
            let of_entries =
                |limit: &Limit| matches!(limit.policy().algorithm(), Algorithm::Log(_) | Algorithm::Concurrency(_));
            let helpers: &[&[u8]] = if limit.is_none_or(of_entries) { &[b":e", b":p", b":f"] } else { &[] };
            let long: &[&[u8]] = if call.keys[at].contains(&DIGEST_MARK) { &[b":k"] } else { &[] };
            for helper in helpers.iter().chain(long) {
                let name = [&call.keys[at], *helper].concat();
                call.keys.push(name);
            }
        }
    }

    /// The runtime of the store's calls, for what is left to do when one is dropped elsewhere.
    pub(crate) fn runtime(&self) -> Option<Handle> {
        Handle::try_current().ok().or_else(|| self.runtime.get().cloned())
    }

    /// Remembers the runtime that the store is used in.
    #[inline]
    pub(crate) fn note_runtime(&self) {
        if self.runtime.get().is_none()
            && let Ok(runtime) = Handle::try_current()
        {
            let _ = self.runtime.set(runtime);
        }
    }

    /// Gives back what a late answer says was charged, as well as it can.
    ///
    /// # Errors
    /// Why it cannot.
    pub(crate) async fn give_back_answer(&self, answer: &Value, owed: &[Owed]) -> Result<(), Error> {
        // Only the states of what was admitted are told in one text; a denial's begins with its time.
        let Value::BulkString(answer) = answer else { return Ok(()) };
        let states = headers(answer);
        if states.is_empty() {
            return Ok(());
        }
        let mut call = Call {
            function: "rebate_refund",
            keys: SmallVec::new(),
            arguments: smallvec![self.time(), Vec::new()],
            reads_only: false,
            repeatable: true,
        };
        for (state, owed) in states.into_iter().zip(owed) {
            let Some(Some(view)) = View::read(state) else { continue };
            call.keys.push(owed.count.clone());
            call.arguments.push(part_argument(view.instance, view.last(), owed.cost, owed.cost, 0));
        }
        let parts = call.keys.len();
        self.name_helpers(&mut call, (0..parts).map(|at| (at, None)));
        // Until the server answers, the breaker keeps this short.
        self.link.call(call).await.map(drop)
    }
}

/// A part of a refund as its function reads it.
pub(crate) fn part_argument(instance: u64, last: u64, cost: u64, total: u64, known: u64) -> Vec<u8> {
    let mut argument = Vec::with_capacity(40);
    argument.extend_from_slice(&instance.to_le_bytes());
    argument.extend([last, cost, total, known].into_iter().flat_map(number));
    argument
}

/// The bytes of a part of an answer.
pub(crate) fn bytes(value: &Value) -> Option<&[u8]> {
    match value {
        Value::BulkString(bytes) => Some(bytes),
        Value::SimpleString(text) => Some(text.as_bytes()),
        _ => None,
    }
}

pub(crate) fn whole_number(value: &Value) -> Option<u64> {
    match value {
        Value::Int(number) => u64::try_from(*number).ok(),
        _ => None,
    }
}

/// What a function answered cannot be read: a fault of ours, or something between here and the server.
#[cold]
pub(crate) fn unreadable(function: &str) -> Error {
    Error::unavailable(format!("the server's answer to {function} cannot be read; is it Redis 7 or Valkey?"), true)
}

pub(crate) fn timestamp(micros: u64) -> Timestamp {
    Timestamp::from_micros(micros)
}
