//! What rules say, before it is checked: the same from a file and from code.

use std::fmt;

use crate::problem::Where;

/// Something that was said, and where.
#[derive(Clone, Debug, Default)]
pub(crate) struct Said<T> {
    pub(crate) value: T,
    pub(crate) place: Where,
}

impl<T> Said<T> {
    pub(crate) fn here(value: T) -> Self {
        Said { value, place: Where::Here }
    }
}

pub(crate) type Text = Said<String>;

/// Everything.
#[derive(Clone, Debug, Default)]
pub(crate) struct Declared {
    /// Whether anything is limited at all.
    pub(crate) off: bool,
    pub(crate) base: Option<Text>,
    pub(crate) ipv6_prefix: Option<Said<u64>>,
    pub(crate) defaults: Settings,
    pub(crate) limits: Vec<SharedLimit>,
    pub(crate) plans: Option<Plans>,
    pub(crate) exempt: Exempt,
    pub(crate) rules: Vec<RuleDeclared>,
}

/// A limit that rules name.
#[derive(Clone, Debug)]
pub(crate) struct SharedLimit {
    pub(crate) name: Text,
    /// `None` where it was said wrongly.
    pub(crate) policy: Option<Text>,
    pub(crate) code: Option<Text>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Plans {
    pub(crate) place: Where,
    pub(crate) by: Option<Text>,
    pub(crate) default: Option<Text>,
    pub(crate) plans: Vec<Plan>,
}

#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) name: Text,
    pub(crate) limits: Vec<SharedLimit>,
}

#[derive(Clone, Default)]
pub(crate) struct Exempt {
    pub(crate) paths: Vec<Text>,
    pub(crate) prefixes: Vec<Text>,
    pub(crate) methods: Vec<Text>,
    pub(crate) keys: Vec<Text>,
    pub(crate) networks: Vec<Text>,
}

impl fmt::Debug for Exempt {
    /// Of the keys only their number: they may be personal data.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exempt")
            .field("paths", &self.paths)
            .field("prefixes", &self.prefixes)
            .field("methods", &self.methods)
            .field("keys", &self.keys.len())
            .field("networks", &self.networks)
            .finish()
    }
}

/// What may be said for one rule or, as defaults, for all.
#[derive(Clone, Debug, Default)]
pub(crate) struct Settings {
    pub(crate) key: Option<Text>,
    pub(crate) group: Option<Text>,
    pub(crate) refund: Option<Vec<Text>>,
    pub(crate) refund_grpc: Option<Vec<Text>>,
    pub(crate) on_unavailable: Option<Text>,
    pub(crate) on_full: Option<Text>,
    pub(crate) on_missing_key: Option<Text>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct RuleDeclared {
    pub(crate) place: Where,
    pub(crate) name: Option<Text>,
    pub(crate) path: Option<Text>,
    pub(crate) prefix: Option<Text>,
    pub(crate) methods: Option<Vec<Text>>,
    /// Whether its path was said, be it wrongly.
    pub(crate) placed: bool,
    /// Whether any of its limits was said, be it wrongly.
    pub(crate) charges: bool,
    pub(crate) limit: Option<Text>,
    pub(crate) code: Option<Text>,
    pub(crate) limits: Vec<Use>,
    pub(crate) limits_of: Vec<Text>,
    pub(crate) cost: Option<Said<u64>>,
    pub(crate) settings: Settings,
}

/// A shared limit as a rule charges it.
#[derive(Clone, Debug)]
pub(crate) struct Use {
    pub(crate) limit: Text,
    pub(crate) cost: Option<Said<u64>>,
}
