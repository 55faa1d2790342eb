//! What must be so in the end.

use std::time::{Duration, Instant};

use rebate_core::{Decision, Idempotency, Item, Settlement, Shortfall};
use rebate_servers::Server;

use crate::support::away::once_answered;
use crate::support::scene::{every_key_expires, used};
use crate::world::{Charge, KEYS, Kind, Outcome, QUOTA, World};

/// All is well again, and no task is left.
pub(crate) async fn audit(world: &World, server: &Server) {
    resolve(world).await;
    every_key_expires(server);
    assert_held(world);
    assert_given_back(world);
    // What is given back for callers who left may still be under way: asked until it is so.
    let begun = Instant::now();
    while let Err(difference) = books(world).await {
        assert!(begun.elapsed() < Duration::from_secs(30), "{difference}");
    }
    give_all_back(world).await;
    let begun = Instant::now();
    while let Err(difference) = remains(world).await {
        assert!(begun.elapsed() < Duration::from_secs(30), "{difference}");
    }
    every_key_expires(server);
    let outcomes = |outcome| world.charges().iter().filter(|charge| charge.state().outcome == outcome).count();
    assert!(outcomes(Outcome::Admitted) > 50 && outcomes(Outcome::Denied) > 0, "hardly anything was charged");
}

/// Repeats what may have happened and may be repeated: charges with an idempotency key, and settlements.
async fn resolve(world: &World) {
    let charges = world.charges().clone();
    for charge in charges {
        let (outcome, token, unsettled) = {
            let state = charge.state();
            (state.outcome, state.token.clone(), state.unsettled.clone())
        };
        if charge.is_once && outcome == Outcome::MayHaveHappened {
            let (keys, text) = (charge.keys(), format!("once-{}", charge.number));
            let items = charge.items(world, &keys);
            let decision =
                once_answered(async || world.watching.charge_once(&items, Idempotency::new(&text)).await).await;
            let mut state = charge.state();
            state.outcome = Outcome::Denied;
            if let Decision::Allowed(receipt) = decision {
                state.outcome = Outcome::Admitted;
                state.token = Some(world.watching.token(&receipt).expect("every receipt has a token"));
            }
        } else if let (Some(costs), Some(token)) = (unsettled, token) {
            let mut receipt = world.watching.receipt(&token).expect("a token of this store");
            let settlement = once_answered(async || {
                world.watching.settle_parts(&mut receipt, &costs, Shortfall::TakeWhatIsThere).await
            });
            assert!(matches!(settlement.await, Settlement::Settled(_)));
            charge.state().token = Some(world.watching.token(&receipt).expect("every receipt has a token"));
        }
    }
}

/// Never over: of no count was more held at once than its quota and what the losses let in besides.
fn assert_held(world: &World) {
    let losses = (world.era() / 2) as i64;
    for (is_traced, limit, key) in world.counts() {
        let count = world.count(is_traced, limit, key);
        let besides = match world.kind {
            Kind::Keeps => 0,
            Kind::LosesAll => losses * QUOTA as i64,
            Kind::LosesSome => {
                let charges = world.charges();
                let lost = charges.iter().filter(|charge| charge.is_traced == is_traced && charge.key == key);
                let lost = lost.filter(|charge| !World::is_sound(charge.eras));
                let lost: u64 =
                    lost.flat_map(|charge| &charge.items).filter(|item| item.0 == limit).map(|item| item.1).sum();
                lost as i64 + world.topped_up_amid(count)
            }
        };
        let held = world.most_held(count);
        let name = world.limits(0)[limit].name();
        assert!(held <= QUOTA as i64 + besides, "{name} {key}: {held} were held at once, {besides} of them for losses");
    }
}

/// Each unit at most once.
fn assert_given_back(world: &World) {
    for charge in world.charges().iter() {
        let state = charge.state();
        let Some(token) = &state.token else { continue };
        let receipt = world.watching.receipt(token).expect("a token of this store");
        for (part, told) in receipt.parts().iter().zip(&state.given_back) {
            assert!(*told <= part.cost, "{told} units of {} were given back", part.cost);
        }
    }
}

/// Every count's units in use are those of the charges that stand.
async fn books(world: &World) -> Result<(), String> {
    let charges = world.charges().clone();
    let mut standing = vec![0; world.counts().count()];
    let mut uncertain = standing.clone();
    let untold: Vec<_> = charges.iter().filter(|charge| charge.state().token.is_none()).collect();
    for (charge, stands) in untold.iter().zip(traces(world, &untold).await) {
        let outcome = charge.state().outcome;
        if stands && matches!(outcome, Outcome::Denied | Outcome::DidNotHappen) {
            return Err(format!("charge {} happened: {outcome:?}", charge.number));
        }
        for &(limit, cost) in &charge.items {
            let count = world.count(charge.is_traced, limit, charge.key);
            match charge.is_traced {
                true => standing[count] += if stands { cost } else { 0 },
                false if matches!(outcome, Outcome::MayHaveHappened | Outcome::Gone) => uncertain[count] += cost,
                false => {}
            }
        }
    }
    for charge in &charges {
        let Some(token) = charge.state().token.clone() else { continue };
        let mut receipt = world.watching.receipt(&token).expect("a token of this store");
        let nothing = vec![0; receipt.parts().len()];
        // Changes nothing, and tells what was given back in all; expired is what no longer counts.
        let refund = world.watching.refund_parts(&mut receipt, &nothing).await.expect("an answer");
        for (part, told) in refund.parts.iter().enumerate() {
            if let (Some(count), false) = (charge.count_of(world, &receipt, part), told.expired) {
                standing[count] += receipt.parts()[part].cost - told.in_all;
            }
        }
    }
    if world.kind == Kind::LosesSome {
        // Units of a receipt that was lost are another's by now, and stand but once.
        return Ok(());
    }
    for ((is_traced, limit, key), used) in all_used(world).await {
        let count = world.count(is_traced, limit, key);
        let (least, most) = (standing[count], standing[count] + uncertain[count]);
        if used < least || used > most || least > QUOTA {
            let name = world.limits(0)[limit].name();
            return Err(format!("{name} {key}, traced {is_traced}: {used} in use, but {least} to {most} stand"));
        }
    }
    Ok(())
}

/// Refunds every receipt whole, each of two copies.
async fn give_all_back(world: &World) {
    let charges = world.charges().clone();
    for charge in charges.iter().chain(&charges) {
        let Some(token) = charge.state().token.clone() else { continue };
        let mut receipt = world.watching.receipt(&token).expect("a token of this store");
        let _ = world.watching.refund(&mut receipt).await.expect("an answer");
    }
}

/// Then only charges of which nobody knows are left: no more than those that may have happened.
async fn remains(world: &World) -> Result<(), String> {
    let charges = world.charges().clone();
    let untold: Vec<_> = charges.iter().filter(|charge| charge.state().token.is_none()).collect();
    let stands = traces(world, &untold).await;
    for ((is_traced, limit, key), used) in all_used(world).await {
        let of_it = untold.iter().zip(&stands).filter(|(charge, _)| charge.is_traced == is_traced && charge.key == key);
        let units =
            |charge: &Charge| charge.items.iter().filter(|item| item.0 == limit).map(|item| item.1).sum::<u64>();
        let (mut most, mut traced) = (0, 0);
        for (charge, stands) in of_it {
            if matches!(charge.state().outcome, Outcome::MayHaveHappened | Outcome::Gone) {
                most += units(charge);
            }
            traced += if *stands { units(charge) } else { 0 };
        }
        let exact = is_traced && world.kind != Kind::LosesSome;
        if used > most || (exact && used != traced) {
            let name = world.limits(0)[limit].name();
            return Err(format!(
                "{name} {key}, traced {is_traced}: {used} remain in use, {traced} of them traced, {most} may have happened"
            ));
        }
    }
    Ok(())
}

/// Of each charge whether its trace stands; of plain ones, no.
async fn traces(world: &World, charges: &[&std::sync::Arc<Charge>]) -> Vec<bool> {
    let mut stand = Vec::new();
    for charges in charges.chunks(100) {
        let keys: Vec<String> = charges.iter().map(|charge| Charge::trace_key(charge.number)).collect();
        let items: Vec<Item<'_>> = keys.iter().map(|key| Item::new(&world.trace, key.as_str())).collect();
        let statuses = once_answered(async || world.watching.peek_all(&items).await).await;
        stand.extend(statuses.iter().map(|status| status.used() > 0));
    }
    stand
}

async fn all_used(world: &World) -> Vec<((bool, usize, usize), u64)> {
    let mut all = Vec::new();
    for is_traced in [false, true] {
        for key in 0..KEYS {
            let used = used(&world.watching, world.limits(0), &World::key_name(is_traced, key)).await;
            all.extend(used.into_iter().enumerate().map(|(limit, used)| ((is_traced, limit, key), used)));
        }
    }
    all
}
