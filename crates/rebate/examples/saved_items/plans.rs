//! What each plan allows: the policy that turns a user's plan into limits.

use std::time::Duration;

use rebate::{AnyStore, Error, Item, Limit, Limiter, Policy};

/// The limits: how many enrichments a day, by plan, and how many at once, for all.
#[derive(Debug)]
pub(crate) struct Plans {
    /// At most so many items of a user at once, from an item's creation until it is done.
    pub(crate) at_once: Limit,
    /// How long a place is kept when nobody renews it.
    pub(crate) lease: Duration,
    /// All are variants of the first: a user who changes plans keeps what is used.
    daily: Vec<(String, Limit)>,
}

impl Plans {
    /// `named` is each plan with its policy; the first is the one of users who have none.
    ///
    /// # Errors
    /// As [`Limit::new`] and [`Limit::variant`]; where there is no plan.
    pub(crate) fn new(
        limiter: &Limiter<AnyStore>,
        named: &[(String, String)],
        places: u64,
        lease: Duration,
    ) -> Result<Self, Error> {
        let at_once = limiter.register(&Limit::of("items-at-once", Policy::concurrency(places, lease)?)?)?;
        let mut daily: Vec<(String, Limit)> = Vec::with_capacity(named.len());
        for (name, policy) in named {
            let limit = match daily.first() {
                None => Limit::new("enrichments", policy)?,
                Some((_, first)) => first.variant(policy)?,
            };
            daily.push((name.clone(), limiter.register(&limit)?));
        }
        assert!(!daily.is_empty(), "there is a plan");
        Ok(Plans { at_once, lease, daily })
    }

    /// The plan of this name; the first for a user without one, or whose plan is no longer on offer.
    pub(crate) fn of(&self, plan: Option<&str>) -> (&str, &Limit) {
        let found = self.daily.iter().find(|(name, _)| Some(name.as_str()) == plan);
        let (name, limit) = found.unwrap_or(&self.daily[0]);
        (name, limit)
    }

    pub(crate) fn is_offered(&self, plan: &str) -> bool {
        self.daily.iter().any(|(name, _)| name == plan)
    }

    /// What an enrichment takes: a place, and one of the day.
    pub(crate) fn items<'a>(&'a self, daily: &'a Limit, key: &'a str) -> [Item<'a>; 2] {
        [Item::new(&self.at_once, key), Item::new(daily, key)]
    }
}

/// The key that a user is charged by.
pub(crate) fn key(user: &str) -> String {
    format!("user:{user}")
}
