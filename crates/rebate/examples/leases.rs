//! At most so many at once, and so many a day, in one charge: releasing the place keeps the day's count.
//!
//! `cargo run --example leases`

use std::time::Duration;

use rebate::{Item, Limiter, ManualClock, MemoryStore, Timestamp};

fn main() -> Result<(), rebate::Error> {
    let clock = ManualClock::at(Timestamp::from_secs(1_700_000_000));
    let limiter = Limiter::new(MemoryStore::builder().clock(clock.clone()).build()?);
    let places = limiter.limit("running", "2 at once for 10m")?;
    let day = limiter.limit("runs", "50/day")?;
    let run = || limiter.charge_all_now(&[Item::new(&places, "user:42"), Item::new(&day, "user:42")]);
    let show = |when: &str| -> Result<(), rebate::Error> {
        let (running, today) = (limiter.peek_now(&places, "user:42")?, limiter.peek_now(&day, "user:42")?);
        println!("{when}: {} running, {}/{} today", running.used(), today.used(), today.quota());
        Ok(())
    };

    let (Some(mut first), Some(second)) = (run()?.receipt(), run()?.receipt()) else { return Ok(()) };
    show("two started")?;
    if let Some(wait) = run()?.denial().and_then(|denial| denial.retry_after()) {
        println!("a third: denied, {} s to wait", wait.as_secs());
    }

    // The place is free again; the day is not refunded.
    limiter.release_now(&mut first)?;
    show("one finished")?;

    clock.advance(Duration::from_secs(9 * 60));
    println!("renewed: {}", limiter.renew_now(&second)?.all_renewed());
    clock.advance(Duration::from_secs(9 * 60));
    show("18 minutes later")?;
    clock.advance(Duration::from_secs(60));
    show("its renewer died")?;
    Ok(())
}
