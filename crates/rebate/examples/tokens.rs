//! Costs that are known afterwards, from elsewhere: settle an estimate, write a receipt down, refund it.
//!
//! `cargo run --example tokens`

use rebate::{Decision, Idempotency, Item, Limiter, MemoryStore, Shortfall};

fn main() -> Result<(), rebate::Error> {
    let limiter = Limiter::new(MemoryStore::new());
    let minute = limiter.limit("tokens-minute", "1000/minute burst 1000")?;
    let day = limiter.limit("tokens-day", "10000/day")?;

    // Both limits or neither, billed once however often the request is sent.
    let estimate = [Item::new(&minute, "user:42").cost(400), Item::new(&day, "user:42").cost(400)];
    let decision = limiter.charge_once_now(&estimate, Idempotency::new("request-7"))?;
    let Decision::Allowed(mut receipt) = decision else {
        println!("not now: {decision:?}");
        return Ok(());
    };
    let again = limiter.charge_once_now(&estimate, Idempotency::new("request-7"))?.receipt();
    println!("sent twice, billed once: {}", again.is_some_and(|receipt| receipt.is_replay()));

    // It took 550, which is more than was estimated.
    if let Some(settled) = limiter.settle_now(&mut receipt, 550, Shortfall::TakeWhatIsThere)?.settled() {
        let topped_up: Vec<u64> = settled.parts.iter().map(|part| part.topped_up).collect();
        println!("settled at 550, charged in addition for each limit: {topped_up:?}");
    }

    // A worker reads the token back, and needs no limit for it: the work came to nothing after all.
    let token = limiter.token(&receipt)?;
    println!("a token of {} bytes", token.len());
    let mut copy = limiter.receipt(&token)?;
    println!("given back: {}", limiter.refund_now(&mut copy)?.given_back());
    println!("given back again: {}", limiter.refund_now(&mut receipt)?.given_back());
    println!("left today: {}", limiter.peek_now(&day, "user:42")?.remaining());
    Ok(())
}
