//! Rule files of the Rebate rate limiter: which request is charged to which limits.
//!
//! ```
//! use rebate_rules::{Chosen, Rules};
//!
//! let rules = Rules::parse(r#"
//!     base = "/api"
//!
//!     [exempt]
//!     paths = ["/health"]
//!     methods = ["OPTIONS"]
//!
//!     [[rule]]
//!     path = "/concepts/generate"
//!     limit = "10/month"
//!     refund = [409]
//!
//!     [[rule]]
//!     path = "/concepts/store"
//!     limit = "10/month"
//!
//!     [[rule]]
//!     path = "/concepts/generate-with-palettes"
//!     limits_of = ["/concepts/generate", "/concepts/store"]
//! "#)?;
//! let Chosen::Charged(charge) = rules.choose("POST", "/api/concepts/generate") else { panic!("charged") };
//! assert_eq!(charge.rule().name(), "/concepts/generate");
//! assert!(charge.refunds(409));
//! assert!(matches!(rules.choose("GET", "/api/health"), Chosen::Exempt(_)));
//! # Ok::<(), rebate_rules::Problems>(())
//! ```
//!
//! # What a rule file says
//!
//! ```
//! # let text = r#"
//! base = "/api"                      # what every path begins with; all outside is never limited
//! enabled = true                     # false: nothing is limited, the file is checked all the same
//!
//! [client]
//! ipv6_prefix = 64                   # how much of an IPv6 address is a key
//!
//! [defaults]                         # of every rule, which may each say otherwise
//! key = "user"                       # who is charged: user, ip, header:NAME, fixed:TEXT, function:NAME
//! refund = [409, "5xx"]              # statuses that give the charge back
//! refund_grpc = ["ABORTED"]
//! on_unavailable = "allow"           # while the store is away: allow, or deny (503)
//! on_full = "allow"                  # while it is full; Redis at its maxmemory: of counts that it has, too
//! on_missing_key = "deny"            # deny (401 for a user, else 400), skip (not charged), or another source
//!
//! [limits]                           # shared, by name
//! daily = "50/day"
//! burst = { policy = "10/second burst 20", code = "TOO_FAST" }
//!
//! [plans]                            # the same names under other policies
//! by = "header:x-plan"               # or function:NAME; a header only where a gateway sets it
//! default = "free"                   # of a request that names none
//! [plans.free]
//! daily = "50/day"
//! [plans.pro]
//! daily = "1000/day"                 # what was used stays used
//! [plans.staff]
//! daily = "unlimited"
//!
//! [exempt]                           # never limited
//! paths = ["/health"]
//! prefixes = ["/auth"]
//! methods = ["OPTIONS"]
//! keys = ["user:admin"]
//! networks = ["10.0.0.0/8"]
//!
//! [[rule]]
//! path = "/concepts/{id}/generate"   # {id} is one segment, whatever it is
//! limit = "10/month"                 # its own, named as the rule
//! code = "MONTHLY_QUOTA_EXCEEDED"    # what a denied client is told; made from the limit's name unless said
//!
//! [[rule]]
//! name = "storage"                   # the path's text unless said
//! prefix = "/storage"                # /storage and all below it
//! methods = ["GET", "POST"]          # all unless said; GET is HEAD too, unless a rule names that
//! limits = ["daily", { limit = "burst", cost = 2 }]
//! cost = 1                           # of each limit that says none
//! group = "header:x-org"             # keys of one group can be charged together on a cluster
//!
//! [[rule]]
//! path = "/both"
//! limits_of = ["storage"]            # other rules' limits, at their costs
//! group = "header:x-org"             # as theirs: else they are counted apart
//! # "#;
//! # let rules = rebate_rules::Rules::parse(text)?;
//! # assert_eq!((rules.warnings(), rules.rules().len()), (&[][..], 3));
//! # Ok::<(), rebate_rules::Problems>(())
//! ```
//!
//! A plan that a header names is the client's word: where no gateway sets the header, or strips a client's own, anybody
//! takes the plan they like. Let `by` be a function there, which looks at who the user is.
//!
//! A group that is missing is denied (and skipped where `on_missing_key = "skip"`), also where `on_missing_key` names another
//! source: that stands for the key alone.
//!
//! The most specific rule is chosen, by path and then by method, whatever their order. Paths are compared decoded, without
//! doubled slashes, dots and a slash at the end; one that servers may read in several ways is charged by the rules of
//! [every reading](Rules::choose). Letters' case matters.
//!
//! A layer asks three things of a request: [`Rules::choose`] says which rule is for it, by method and path;
//! [`Charge::items`] what to charge, by the plan and key that a [`Subject`] tells; and, once it is answered,
//! [`Charge::refunds`] whether the charge is to be given back.
#![deny(missing_docs)]
#![forbid(unsafe_code)]

mod beaten;
mod builder;
mod charge;
mod check;
mod declare;
mod methods;
mod nearest;
mod path;
mod problem;
mod read;
mod readings;
mod refunds;
mod router;
mod rules;
mod source;

pub use beaten::Precedence;
pub use builder::{Rule, RulesBuilder};
pub use charge::{Charge, Chosen, Exemption, Items, MissingKey, Uncharged};
pub use problem::{Problem, Problems};
pub use refunds::Statuses;
pub use rules::{CheckedRule, OnMissingKey, OnTrouble, RuleLimit, Rules};
pub use source::{KeyBuffer, Source, Subject};
