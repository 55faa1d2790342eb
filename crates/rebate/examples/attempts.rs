//! Attempts that are given back when the work fails: charge, guard, refund.
//!
//! `cargo run --example attempts`

use rebate::{Decision, Limiter, MemoryStore};

fn main() -> Result<(), rebate::Error> {
    let limiter = Limiter::new(MemoryStore::new());
    let attempts = limiter.limit("attempts", "2/month")?;
    for (number, works) in [false, true, true, true].into_iter().enumerate() {
        match limiter.charge_now(&attempts, "user:42")? {
            Decision::Allowed(receipt) => {
                let guard = limiter.guard(receipt);
                if generate(works).is_ok() {
                    drop(guard.keep());
                } // else the guard is dropped here, and gives the attempt back
                let left = limiter.peek_now(&attempts, "user:42")?.remaining();
                println!("attempt {number}: {}, {left} left", if works { "done" } else { "failed, given back" });
            }
            Decision::Denied(denial) => println!("attempt {number}: denied, {} s to wait", seconds(&denial)),
            Decision::Unchecked(trouble) => println!("attempt {number}: not counted ({})", trouble.error()),
        }
    }
    Ok(())
}

fn seconds(denial: &rebate::Denial) -> u64 {
    denial.retry_after().map_or(u64::MAX, |wait| wait.as_secs() + 1)
}

fn generate(works: bool) -> Result<(), &'static str> {
    if works { Ok(()) } else { Err("the model is busy") }
}
