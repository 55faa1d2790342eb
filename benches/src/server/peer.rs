//! limitador's Redis storage, asked directly: the counters are made beforehand, which spares it the search for limits and
//! the evaluation of expressions.

use std::collections::HashMap;
use std::sync::Arc;

use limitador::counter::Counter;
use limitador::limit::{Context, Limit};
use limitador::storage::redis::AsyncRedisStorage;
use limitador::storage::{AsyncCounterStorage, Authorization};

use super::{Charger, Machine};
use crate::workload;

/// One or several limits of each of some keys.
#[derive(Clone)]
pub struct Limitador {
    storage: AsyncRedisStorage,
    counters: Arc<[Vec<Counter>]>,
}

impl Limitador {
    /// So many limits of so many keys, none of which is ever reached.
    ///
    /// # Panics
    /// When the server does not answer.
    pub fn new(machine: &Machine, limits: usize, keys: usize) -> Self {
        let storage = machine.runtime.block_on(AsyncRedisStorage::new(&machine.server.url())).expect("a connection");
        let limits: Vec<Arc<Limit>> = (0..limits)
            .map(|at| {
                let variables = vec!["user".try_into().expect("an expression")];
                let days = 20_000 + 1000 * at as u64 + limits as u64;
                Arc::new(Limit::new("bench", 1_000_000_000, days * 86_400, vec![], variables))
            })
            .collect();
        let counters = |number| {
            let context = Context::from(HashMap::from([("user".to_owned(), workload::key(number))]));
            let counter =
                |limit: &Arc<Limit>| Counter::new(Arc::clone(limit), &context).expect("a key").expect("a counter");
            limits.iter().map(counter).collect()
        };
        Limitador { storage, counters: (0..keys).map(counters).collect() }
    }
}

impl Charger for Limitador {
    async fn charge(&self, number: usize) -> bool {
        let mut counters = self.counters[number % self.counters.len()].clone();
        let answer = self.storage.check_and_update(&mut counters, 1).await.expect("no trouble");
        matches!(answer, Authorization::Ok)
    }
}
