//! Broken stores: each is one step away from a right one, and killed by the case named for it.
//!
//! They prove that the cases can fail. All are the one store of `store.rs`, whose steps look at the
//! [`Fault`] they are to commit.

mod book;
mod reserved;
mod store;

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use rebate_core::ManualClock;

pub use store::BrokenStore;

use crate::Harness;

macro_rules! faults {
    ($($(#[$text:meta])* $fault:ident => $law:ident::$case:ident,)*) => {
        /// What a broken store does wrong.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Fault {
            $($(#[$text])* $fault,)*
        }

        impl Fault {
            /// All of them, in the order of their laws.
            pub const ALL: &[Fault] = &[$(Fault::$fault,)*];

            /// Law and name of the case that must kill it.
            pub fn killed_by(self) -> (&'static str, &'static str) {
                match self {
                    $(Fault::$fault => (stringify!($law), stringify!($case)),)*
                }
            }
        }
    };
}

faults! {
    /// Decides on a copy that it read before, and writes the copy back.
    DecidesOnACopy => law_01_never_over::concurrent_units_admit_exactly_the_quota,
    /// Charges a unit where the cost is more.
    CountsCallsNotCosts => law_01_never_over::costs_add_up_to_the_quota,
    /// Charges under the variant that a count was opened under.
    KeepsTheFirstVariant => law_01_never_over::variants_in_turn_hold_their_quotas,
    /// Charges the items one by one, and keeps those before the one that was denied.
    KeepsWhatItTookBeforeADenial => law_02_all_or_nothing::a_denial_leaves_every_state,
    /// Charges the same limit and key named twice once.
    DropsDuplicates => law_02_all_or_nothing::the_same_count_twice_is_summed,
    /// Credits a bucket with all that is given back, refilled or not.
    CreditsOutright => law_03_refund_is_exact::a_bucket_gives_no_refilled_units_back,
    /// Answers a refund, and gives nothing back.
    RefundsACopy => law_03_refund_is_exact::at_once_it_is_as_if_neither_had_happened,
    /// Takes a refund's total as that much more.
    AddsTotals => law_04_each_unit_at_most_once::totals_are_absolute,
    /// Forgets which units were given back.
    ForgetsRefunds => law_04_each_unit_at_most_once::stale_copies_refund_nothing_more,
    /// Forgets which receipts it topped up.
    ForgetsTopUps => law_04_each_unit_at_most_once::a_top_up_repeated_charges_nothing,
    /// Tops up under the variant that it met last.
    TopsUpUnderTheLastVariant => law_04_each_unit_at_most_once::a_top_up_goes_by_the_variant_charged,
    /// Refunds no part when one has expired.
    BlocksOnAnExpiredPart => law_04_each_unit_at_most_once::an_expired_part_blocks_no_other,
    /// Refunds into whatever instance is there now.
    IgnoresTheInstance => law_05_never_across_windows::a_later_window_gets_nothing,
    /// Opens a count where a refund finds none.
    CreatesWhatIsGone => law_05_never_across_windows::a_lost_store_creates_nothing,
    /// Renews whatever lease is there now.
    RenewsAnyLease => law_05_never_across_windows::no_other_lease_is_renewed,
    /// Tells waits in whole seconds, rounded down.
    RetriesEarly => law_06_retry_after_is_tight::the_wait_is_tight,
    /// Tells waits in whole seconds, rounded up.
    RetriesLate => law_06_retry_after_is_tight::the_wait_is_tight_later,
    /// Says "in a minute" where it is never.
    SaysLaterForNever => law_06_retry_after_is_tight::above_the_quota_is_never,
    /// Tells one unit more than there is.
    TellsOneTooMany => law_07_remaining_is_true::remaining_is_what_fits,
    /// Tells in an admission what there was before it.
    TellsWhatWas => law_07_remaining_is_true::every_answer_tells_the_same,
    /// Bills a request again that it has billed.
    BillsAgain => law_08_billed_once::a_replay_is_not_billed,
    /// Asks the limits before it looks for a replay.
    AsksTheLimitsFirst => law_08_billed_once::a_replay_comes_before_any_denial,
    /// Remembers a denial under the idempotency key.
    RemembersDenials => law_08_billed_once::a_denial_is_not_remembered,
    /// Keeps the key of a request that was refunded whole.
    NeverFreesTheKey => law_08_billed_once::a_full_refund_frees_the_key,
    /// Knows an idempotency key in every scope.
    ForgetsTheScope => law_08_billed_once::a_key_is_known_in_its_scope_only,
    /// Lets its windows begin half a minute early.
    HasWindowsOfItsOwn => law_09_one_meaning::windows_are_aligned_to_the_epoch,
    /// Reads a clock that shows every tenth second.
    ReadsACoarseClock => law_09_one_meaning::gcra_conforms_to_virtual_scheduling,
    /// Opens a count anew when it is charged under another variant.
    StartsAfreshUnderAVariant => law_09_one_meaning::a_variant_keeps_what_was_used,
    /// Tells released leases until they would have ended.
    TellsReleasedLeases => law_09_one_meaning::leases_are_told_as_they_are,
    /// Joins the limit's name and the key with a colon.
    JoinsNamesWithColons => law_10_keys_do_not_meet::names_and_keys_do_not_run_together,
    /// Joins the group and the key.
    JoinsGroups => law_10_keys_do_not_meet::groups_and_keys_do_not_run_together,
    /// Does not look at groups.
    IgnoresGroups => law_10_keys_do_not_meet::groups_and_keys_do_not_run_together,
    /// Ends a key at its first NUL.
    EndsKeysAtNul => law_10_keys_do_not_meet::bytes_are_only_bytes,
    /// Takes a window for over when the clock is before its start.
    FollowsEveryStepBack => law_11_time_does_not_betray::a_small_step_back_grants_nothing,
    /// Waits until the clock is where it was, however far it stepped back.
    WaitsForItsTime => law_11_time_does_not_betray::a_long_step_back_is_followed,
    /// Makes room by forgetting a count that is in use.
    EvictsLiveCounts => law_12_forgetting_is_invisible::live_counts_go_on_when_full,
    /// Never forgets.
    NeverTidies => law_12_forgetting_is_invisible::expired_counts_make_room,
    /// Tidies up where the charge's own keys are, and in no other shard.
    TidiesOneShard => law_12_forgetting_is_invisible::an_ended_log_makes_room_for_other_keys,
    /// Keeps top-ups when they can be repeated no more.
    KeepsEndedTopUps => law_12_forgetting_is_invisible::ended_top_ups_make_room_for_other_keys,
    /// Tidies up for charges, and not for settlements.
    TopsUpWithoutTidying => law_12_forgetting_is_invisible::what_has_ended_makes_room_for_top_ups,
    /// Forgets a second too early.
    ForgetsEarly => law_12_forgetting_is_invisible::what_still_counts_is_kept,
    /// Carries what a window used over into the next.
    CarriesOver => law_12_forgetting_is_invisible::what_is_over_is_as_if_it_never_was,
    /// Looks by charging a unit and refunding it.
    LooksByCharging => law_13_looking_is_free::looking_creates_nothing,
    /// Does not put back the count that it looked at.
    ForgetsWhatItLookedAt => law_13_looking_is_free::looking_moves_nothing,
    /// Renews the leases that it is asked for.
    RenewsWhatItTells => law_13_looking_is_free::asking_who_holds_what_changes_nothing,
    /// Charges the items before it has checked them all.
    ChecksTooLate => law_14_trouble_is_said::a_bad_request_has_not_happened,
    /// Does nothing when a receipt is handed back from a drop.
    IgnoresHandBacks => law_14_trouble_is_said::a_dropped_guard_refunds,
    /// Keeps a charge whose caller went away.
    KeepsLateCharges => law_14_trouble_is_said::a_dropped_charge_is_given_back,
    /// Never gives back what was reserved.
    NeverLapses => law_15_reservations_lapse::it_counts_until_its_end,
    /// Ends reservations a microsecond early.
    LapsesEarly => law_15_reservations_lapse::it_counts_until_its_end,
    /// Ends reservations a microsecond late.
    LapsesLate => law_15_reservations_lapse::it_counts_until_its_end,
    /// Gives back as of the moment at which it looks.
    LapsesWhenLookedAt => law_15_reservations_lapse::whoever_looks_first_finds_it_given_back,
    /// Lists counts without giving back what has ended.
    ListsWhatLapsed => law_15_reservations_lapse::whoever_looks_first_finds_it_given_back,
    /// Gives back at the end what was refunded before.
    LapsesWhatWasRefunded => law_15_reservations_lapse::a_refund_does_not_end_it,
    /// Takes a refund for a settlement.
    EndsWithARefund => law_15_reservations_lapse::a_refund_does_not_end_it,
    /// Gives back what was settled.
    LapsesThoughSettled => law_15_reservations_lapse::what_is_settled_stands,
    /// Takes a settlement that it refused for one.
    EndsWithARefusal => law_15_reservations_lapse::a_refused_settlement_does_not_end_it,
    /// Gives back into whatever window is there at the end.
    LapsesIntoAnyWindow => law_15_reservations_lapse::a_later_window_gets_nothing,
    /// Keeps the idempotency key of a charge that it gave back.
    KeepsLapsedKeys => law_15_reservations_lapse::its_key_is_free_then,
    /// Begins a reservation anew when its request is sent again.
    ProlongsWithReplays => law_15_reservations_lapse::a_replay_shares_it,
}

/// Gives the suite stores with a fault, or right ones.
#[derive(Clone, Copy, Debug)]
pub struct BrokenHarness(
    /// What they do wrong.
    pub Option<Fault>,
);

impl Harness for BrokenHarness {
    type Store = BrokenStore;

    fn store(&self, clock: &ManualClock) -> BrokenStore {
        BrokenStore::new(self.0, clock, usize::MAX)
    }

    fn capped_store(&self, clock: &ManualClock, bytes: usize) -> Option<BrokenStore> {
        Some(BrokenStore::new(self.0, clock, bytes))
    }

    fn forgets_expired(&self) -> bool {
        true
    }

    fn block_on<F: Future>(&self, future: F) -> F::Output {
        let mut future = pin!(future);
        loop {
            if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                return output;
            }
        }
    }
}
