//! What a key has used, of what, until when.

mod common;

use std::time::Duration;

use common::{NOON, allowed, denied, limiter, run};
use rebate_core::{Item, Usage};

const TO_MIDNIGHT: Duration = Duration::from_secs(12 * 3600);

#[test]
fn used_of_what_until_when_and_nothing_is_charged() {
    let (limiter, _) = limiter();
    let day = limiter.limit("daily", "50/day").unwrap();
    let _kept = allowed(limiter.charge_all_now(&[Item::new(&day, "ada").cost(49)]));
    let told = Usage { limit: "daily".into(), used: 49, quota: 50, remaining: 1, reset_after: TO_MIDNIGHT };
    for _ in 0..3 {
        assert_eq!(limiter.usage_now(&day, "ada").unwrap(), told);
        assert_eq!(run(limiter.usage(&day, "ada")).unwrap(), told);
    }
    assert_eq!((told.to_string(), format!("[{told:>7}]")), ("49/50".into(), "[  49/50]".into()));
    assert_eq!(told.resets_at(NOON).to_string(), "2023-11-15T00:00:00Z");
    let _last = allowed(limiter.charge_now(&day, "ada"));
    let full = denied(limiter.charge_now(&day, "ada"));
    assert_eq!(Usage::of(&day, &full.statuses()[0]).to_string(), "50/50", "a denial's status tells it too");
    assert_eq!(limiter.usage_now(&day, "eve").unwrap().to_string(), "0/50");
}

#[test]
fn of_several_limits_in_the_order_asked_for() {
    let (limiter, _) = limiter();
    let [places, day] = [("places", "3 at once for 10m"), ("daily", "50/day")]
        .map(|(name, policy)| limiter.limit(name, policy).unwrap());
    let items = [Item::new(&places, "ada"), Item::new(&day, "ada"), Item::new(&day, "eve")];
    let _kept = allowed(limiter.charge_all_now(&items[..2]));
    let told = limiter.usage_all_now(&items).unwrap();
    let shown: Vec<_> = told.iter().map(|usage| format!("{} {usage}", usage.limit)).collect();
    assert_eq!(shown, ["places 1/3", "daily 1/50", "daily 0/50"]);
    assert_eq!(run(limiter.usage_all(&items)).unwrap(), told);
    assert!(limiter.usage_all_now(&[]).unwrap_err().is_invalid());
}

#[test]
fn another_plan_tells_its_own_quota_and_a_page_tells_the_same() {
    let (limiter, _) = limiter();
    let free = limiter.limit("daily", "50/day").unwrap();
    let pro = free.variant("500/day").unwrap();
    let keys: Vec<_> = (0..30).map(|number| format!("user:{number}")).collect();
    for key in &keys {
        let _kept = allowed(limiter.charge_all_now(&[Item::new(&free, &**key).cost(20)]));
    }
    assert_eq!(limiter.usage_now(&pro, "user:7").unwrap().to_string(), "20/500");
    let (mut seen, mut after) = (0, None);
    loop {
        let page = limiter.list_now(&pro, after, 10).unwrap();
        for (key, status) in &page.keys {
            assert_eq!(Usage::of(&pro, status), limiter.usage_now(&pro, key.as_ref()).unwrap());
            seen += 1;
        }
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(seen, keys.len());
}
