//! limitador in memory: a fixed window from the first charge, one variable naming the key.

use std::collections::HashMap;

use ::limitador::RateLimiter;
use ::limitador::limit::{Context, Limit, Namespace};

use super::{Candidate, Outcome, PERIOD_DAYS, Role, Side};

struct Limitador {
    limiter: RateLimiter,
    namespace: Namespace,
}

impl Limitador {
    fn new(outcome: Outcome) -> Self {
        let variables = vec!["user".try_into().expect("an expression")];
        let limit = Limit::new("bench", u64::from(outcome.quota()), PERIOD_DAYS * 86_400, vec![], variables);
        // Room for every key: it evicts live ones when its cache is full.
        let limiter = RateLimiter::new(4_000_000);
        limiter.add_limit(limit);
        Limitador { limiter, namespace: "bench".into() }
    }
}

impl Side for Limitador {
    #[inline]
    fn charge(&self, key: &String) -> bool {
        let context = Context::from(HashMap::from([("user".to_owned(), key.clone())]));
        let result = self.limiter.check_rate_limited_and_update(&self.namespace, &context, 1).expect("no trouble");
        !result.limited
    }
}

pub(super) const FIXED: Candidate =
    Candidate { name: "limitador", role: Role::Other, shorter: 20, make: |outcome| Box::new(Limitador::new(outcome)) };
