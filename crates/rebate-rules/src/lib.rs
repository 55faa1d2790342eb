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
//! A layer asks three things of a request: [`Rules::choose`] says which rule is for it, by method and path;
//! [`Charge::items`] what to charge, by the plan and key that a [`Subject`] tells; and, once it is answered,
//! [`Charge::refunds`] whether the charge is to be given back.
#![deny(missing_docs)]
#![forbid(unsafe_code)]

mod builder;
mod charge;
mod check;
mod declare;
mod methods;
mod nearest;
mod path;
mod problem;
mod read;
mod refunds;
mod router;
mod rules;
mod source;

pub use builder::{Rule, RulesBuilder};
pub use charge::{Charge, Chosen, Exemption, Items, MissingKey, Uncharged};
pub use problem::{Problem, Problems};
pub use refunds::Statuses;
pub use rules::{CheckedRule, OnMissingKey, OnTrouble, RuleLimit, Rules};
pub use source::{KeyBuffer, Source, Subject};
