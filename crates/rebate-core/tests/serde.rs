//! Public data types in a serde format, and back.
#![cfg(feature = "serde")]

mod common;

use std::fmt::Debug;

use common::{NOON, allowed, denied, limiter};
use rebate_core::{
    CalendarUnit, Fallback, Item, Limit, PartRenewal, Policy, Refund, Renewal, Retry, Settled, Shortfall, Status,
    Timestamp, Usage,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{from_str, from_value, json, to_string, to_value};

#[track_caller]
fn both_ways<T: Serialize + DeserializeOwned + PartialEq + Debug>(value: T, written: serde_json::Value) {
    assert_eq!(to_value(&value).unwrap(), written);
    assert_eq!(from_value::<T>(written).unwrap(), value);
    // And from text, which lends its strings where the value lends none.
    assert_eq!(from_str::<T>(&to_string(&value).unwrap()).unwrap(), value);
}

#[test]
fn limits_and_their_parts() {
    both_ways(Policy::parse("10/second burst 20").unwrap(), json!("10/second burst 20"));
    both_ways(CalendarUnit::Month, json!("month"));
    both_ways(Fallback::Allow, json!("allow"));
    both_ways(Shortfall::TakeWhatIsThere, json!("take_what_is_there"));
    both_ways(NOON, json!(1_699_963_200_000_000u64));
    assert_eq!(from_value::<Timestamp>(json!(u64::MAX)).unwrap(), Timestamp::MAX);
    let limit = Limit::new("generate", "10/month").unwrap();
    both_ways(limit.clone(), json!({"name": "generate", "policy": "10/month"}));
    let written = json!({"name": "generate", "policy": "10/month", "fallback": "deny"});
    both_ways(limit.with_fallback(Fallback::Deny), written.clone());
    assert_eq!(from_value::<Limit>(written).unwrap().fallback(), Fallback::Deny);
    // A name with an escape in it cannot be lent from the text.
    assert_eq!(from_str::<Limit>(r#"{"name":"gen\u0065rate","policy":"10\/month"}"#).unwrap(), limit);
}

#[test]
fn what_is_wrong_is_said() {
    let error = from_value::<Policy>(json!("10/fortnight")).unwrap_err().to_string();
    assert!(error.contains("fortnight") && error.contains('^'), "{error}");
    for wrong in [
        json!({"name": "a\"b", "policy": "10/month"}),
        json!({"name": "", "policy": "10/month"}),
        json!({"name": "a", "policy": "0/month"}),
        json!({"name": "a"}),
        json!({"name": "a", "policy": "10/month", "fallbak": "deny"}),
    ] {
        assert!(from_value::<Limit>(wrong.clone()).is_err(), "{wrong}");
    }
}

#[test]
fn usage() {
    let (limiter, _) = limiter();
    let daily = limiter.limit("daily", "50/day").unwrap();
    let _kept = allowed(limiter.charge_all_now(&[Item::new(&daily, "k").cost(49)]));
    let usage: Usage = limiter.usage_now(&daily, "k").unwrap();
    let written = json!({"limit": "daily", "used": 49, "quota": 50, "remaining": 1, "reset_micros": 43_200_000_000u64});
    both_ways(usage, written);
}

#[test]
fn answers() {
    let (limiter, _) = limiter();
    let limit = limiter.limit("generate", "2/hour burst 9").unwrap();
    let mut receipt = allowed(limiter.charge_all_now(&[Item::new(&limit, "k").cost(9)]));
    let status = receipt.statuses()[0];
    both_ways(status, json!({"item": 0, "quota": 9, "remaining": 0, "reset_micros": 16_200_000_000u64}));
    let denied_by = denied(limiter.charge_now(&limit, "k")).statuses()[0];
    let mut written = to_value(denied_by).unwrap();
    assert_eq!(written["denied"], json!({"after_micros": 1_800_000_000}));
    assert_eq!(from_value::<Status>(written.take()).unwrap(), denied_by);
    both_ways(Retry::Never, json!("never"));

    let settled = limiter.settle_now(&mut receipt, 7, Shortfall::Refuse).unwrap().settled().unwrap();
    let read: Settled = from_str(&to_string(&settled).unwrap()).unwrap();
    assert_eq!(read.parts, settled.parts);
    assert_eq!(read.parts[0].given_back, 2);

    let refund = limiter.refund_now(&mut receipt).unwrap();
    let read: Refund = from_str(&to_string(&refund).unwrap()).unwrap();
    assert_eq!((read.given_back(), read.parts), (7, refund.parts));
    both_ways(PartRenewal::NotALease, json!("not_a_lease"));

    let jobs = limiter.limit("jobs", "1 at once for 10m").unwrap();
    let renewal = limiter.renew_now(&allowed(limiter.charge_now(&jobs, "k"))).unwrap();
    let written = json!({"parts": [{"until": 1_699_963_800_000_000u64}]});
    assert_eq!(to_value(&renewal).unwrap(), written);
    assert_eq!(from_value::<Renewal>(written).unwrap().parts, renewal.parts);
}
