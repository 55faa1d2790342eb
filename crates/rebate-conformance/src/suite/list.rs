//! The list of cases, and the tests made of it.

/// The one list. `each` runs on every algorithm, `one` brings its own limits; a capability that a case
/// needs stands behind its name. Hands the list to another macro of this crate, with tokens before it.
#[doc(hidden)]
#[macro_export]
macro_rules! __cases {
    (table $prefix:tt) => { $crate::__cases!(@list [table] $prefix); };
    ($use:ident $prefix:tt) => { $crate::__cases!(@list [$crate::$use] $prefix); };
    (@list [$($use:tt)*] $prefix:tt) => {
        $($use)*! { $prefix
            law_01_never_over {
                each concurrent_units_admit_exactly_the_quota;
                each costs_add_up_to_the_quota;
                each concurrent_refunds_free_exactly_what_they_gave;
                each random_histories_stay_within_the_quota;
                one a_fractional_rate_is_kept;
                one a_slow_rate_polled_often_is_kept;
                one a_fast_rate_is_kept;
                each a_lowered_quota_holds;
                each variants_in_turn_hold_their_quotas;
                each variants_at_once_share_the_larger_quota;
            }
            law_02_all_or_nothing {
                each every_item_is_taken;
                each a_denial_leaves_every_state;
                each the_same_count_twice_is_summed;
                one a_denial_names_its_limits;
                one many_keys_of_one_group;
                one groups_are_charged_together across_groups;
                one across_groups_all_or_an_error;
                each opposite_orders_agree;
                one one_name_is_one_limit;
                one one_charge_names_one_variant;
            }
            law_03_refund_is_exact {
                each at_once_it_is_as_if_neither_had_happened;
                each later_it_is_as_if_neither_had_happened;
                each with_others_between_theirs_stay;
                each with_others_between_as_time_passes;
                each a_part_refund_leaves_the_rest;
                each what_is_given_back_can_be_charged;
                one a_bucket_gives_no_refilled_units_back;
                one a_buckets_refunds_know_each_other;
                one a_from_first_window_closes_when_empty;
                one a_sliding_refund_reaches_its_own_bucket;
                each what_one_variant_took_is_given_back_under_another;
            }
            law_04_each_unit_at_most_once {
                each repeats_change_nothing;
                each totals_are_absolute;
                each stale_copies_refund_nothing_more;
                each repeats_after_others_change_nothing;
                each concurrent_copies_give_back_once;
                each past_the_bound_the_oldest_expire;
                each an_expired_part_blocks_no_other;
                each each_part_has_its_own_total;
                each settling_holds_the_true_cost;
                each a_top_up_repeated_charges_nothing;
                each concurrent_settlements_top_up_once;
                each a_top_up_too_high_is_refused_or_cut;
                each a_settlement_is_all_or_nothing;
                one past_the_bound_top_ups_expire;
                one after_a_day_nothing_is_topped_up;
                one a_top_up_is_charged_now;
                one a_released_lease_is_gone;
                one a_lease_told_is_the_one_charged;
                each a_top_up_goes_by_the_variant_charged;
            }
            law_05_never_across_windows {
                each a_later_window_gets_nothing;
                each a_windows_end_is_the_end;
                each a_reset_ends_the_instance;
                each a_lost_store_creates_nothing;
                each forged_numbers_refund_nothing;
                each expired_tells_what_was_given_back;
                each another_window_under_the_name_starts_afresh;
                each a_settlement_reaches_no_later_window;
                one a_closed_window_does_not_come_back;
                one no_other_lease_is_renewed;
                one another_stores_receipt_is_an_error;
            }
            law_06_retry_after_is_tight {
                each the_wait_is_tight;
                each the_wait_is_tight_later;
                each a_refund_shortens_the_wait;
                each above_the_quota_is_never;
                each the_reset_is_tight;
                each the_longest_wait_counts;
                each the_wait_under_a_smaller_variant_is_tight;
            }
            law_07_remaining_is_true {
                each remaining_is_what_fits;
                each every_answer_tells_the_same;
                each each_limit_tells_its_own;
                each a_list_tells_the_same;
                one the_largest_quota_is_exact;
                each each_variant_tells_its_own;
            }
            law_08_billed_once {
                each a_replay_is_not_billed;
                each a_replay_comes_before_any_denial;
                each a_denial_is_not_remembered;
                each a_full_refund_frees_the_key;
                one an_ended_lease_keeps_no_key;
                one another_charge_is_a_conflict;
                one a_lifetime_ends;
                one a_key_is_known_in_its_scope_only;
                each a_guard_refunds_no_replay;
                each concurrent_copies_are_billed_once;
                each a_reset_leaves_the_key;
                each a_settlement_to_nothing_frees_the_key;
                one keys_may_be_any_bytes;
                each a_replay_is_one_under_another_variant;
            }
            law_09_one_meaning {
                one windows_are_aligned_to_the_epoch;
                one calendar_units_are_the_calendars;
                one days_follow_summer_time;
                one a_from_first_window_begins_with_its_charge;
                one the_sliding_counter_is_cloudflares;
                one a_bucket_fills_by_its_rate;
                one gcra_conforms_to_virtual_scheduling;
                one a_log_forgets_each_charge_in_turn;
                one leases_end_when_they_say;
                one the_day_of_the_header_draft;
                each another_quota_keeps_what_was_used;
                one another_rate_keeps_missing_tokens;
                each a_variant_keeps_what_was_used;
                one a_variants_rate_keeps_missing_tokens;
                one leases_are_told_as_they_are;
                each only_concurrency_limits_have_leases;
            }
            law_10_keys_do_not_meet {
                one bytes_are_only_bytes;
                one names_and_keys_do_not_run_together;
                one groups_and_keys_do_not_run_together;
                one prefixes_are_other_keys;
                one long_keys_are_told_apart;
                one longer_keys_are_refused;
                one idempotency_keys_do_not_meet;
            }
            law_11_time_does_not_betray {
                each a_small_step_back_grants_nothing;
                each a_trembling_clock_grants_nothing;
                each a_small_step_back_keeps_receipts;
                each a_long_step_back_is_followed;
                each waits_are_bounded;
                each the_ends_of_time_are_times;
                each no_clock_value_panics;
                each a_forward_jump_is_time;
            }
            law_12_forgetting_is_invisible {
                one a_full_store_says_so memory_cap;
                one live_counts_go_on_when_full memory_cap;
                one no_room_for_one_takes_none memory_cap;
                one expired_counts_make_room memory_cap;
                one an_ended_log_makes_room_for_other_keys memory_cap;
                one ended_idempotency_keys_make_room_for_other_keys memory_cap;
                one ended_top_ups_make_room_for_other_keys memory_cap;
                one what_has_ended_makes_room_for_top_ups memory_cap;
                one what_has_ended_makes_room_for_refunds memory_cap;
                one idempotency_keys_are_within_the_cap memory_cap;
                one long_keys_are_within_the_cap memory_cap;
                one the_fallback_decides_when_full memory_cap;
                each what_is_over_is_as_if_it_never_was;
                each what_still_counts_is_kept;
            }
            law_13_looking_is_free {
                each looking_creates_nothing;
                each looking_moves_nothing;
                each a_look_is_no_act_in_time;
                each a_look_neither_takes_nor_gives;
                one asking_who_holds_what_changes_nothing;
            }
            law_14_trouble_is_said {
                each a_bad_request_has_not_happened;
                each a_bad_refund_has_not_happened;
                each a_denial_is_an_answer;
                each a_dropped_guard_refunds;
                each a_dropped_guard_refunds_top_ups;
                each a_dropped_charge_is_given_back;
                each a_dropped_charge_with_a_key_is_found_again;
                each an_error_leaves_the_receipt_usable;
                one a_name_taken_is_said;
            }
            law_15_reservations_lapse {
                each it_counts_until_its_end;
                each whoever_looks_first_finds_it_given_back;
                each each_ends_in_its_own_time;
                each it_is_given_back_once;
                each a_refund_does_not_end_it;
                each what_is_settled_stands;
                each a_refused_settlement_does_not_end_it;
                each a_late_settlement_charges_nothing_again;
                each a_later_window_gets_nothing;
                each a_reset_forgets_it;
                each its_key_is_free_then;
                each a_replay_shares_it;
                each each_limit_of_a_charge_lapses;
                each another_variant_gives_it_back;
                one leases_end_by_themselves;
                one its_time_has_bounds;
            }
        }
    };
}

/// Makes a test of every case of every law for the store of a [`Harness`](crate::Harness), in modules
/// named after the laws: `law_04_each_unit_at_most_once::repeats_change_nothing::bucket`.
///
/// Cases that need what the store cannot do are ignored, with the reason given; that it is the same
/// that [`Harness::capabilities`](crate::Harness::capabilities) says is a test too.
///
/// ```text
/// suite!(MyHarness);
/// suite!(MyHarness, without across_groups: "a cluster charges one slot at once");
/// suite!(MyHarness, without memory_cap: "the server has one");
/// suite!(MyHarness, without across_groups: "…", without memory_cap: "…");
/// ```
#[macro_export]
macro_rules! suite {
    ($harness:expr $(, without across_groups: $groups:literal)? $(, without memory_cap: $cap:literal)? $(,)?) => {
        $crate::__cases!(__suite_laws { ($harness) [$($groups)?] [$($cap)?] });

        #[test]
        fn capabilities_are_as_declared() {
            let can = $crate::Harness::capabilities(&$harness);
            let without: (&[&str], &[&str]) = (&[$($groups)?], &[$($cap)?]);
            assert_eq!((can.across_groups, can.memory_cap), (without.0.is_empty(), without.1.is_empty()));
        }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __suite_laws {
    ($with:tt $($law:ident { $($kind:ident $case:ident $($need:ident)?;)* })*) => {
        $(mod $law {
            #[allow(unused_imports, reason = "where the harness is named by a path")]
            use super::*;
            $($crate::__suite_case! { $with $law $kind $case $($need)? })*
        })*
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __suite_case {
    ($with:tt $law:ident each $case:ident) => {
        mod $case {
            #[allow(unused_imports, reason = "where the harness is named by a path")]
            use super::*;
            $crate::__suite_samples! { $with $law $case }
        }
    };
    ({ ($harness:expr) $groups:tt $cap:tt } $law:ident one $case:ident) => {
        #[test]
        fn $case() {
            $crate::suite::$law::$case(&$harness);
        }
    };
    ({ ($harness:expr) [$($reason:literal)?] $cap:tt } $law:ident one $case:ident across_groups) => {
        #[test]
        $(#[ignore = $reason])?
        fn $case() {
            $crate::suite::$law::$case(&$harness);
        }
    };
    ({ ($harness:expr) $groups:tt [$($reason:literal)?] } $law:ident one $case:ident memory_cap) => {
        #[test]
        $(#[ignore = $reason])?
        fn $case() {
            $crate::suite::$law::$case(&$harness);
        }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __suite_samples {
    ({ ($harness:expr) $groups:tt $cap:tt } $law:ident $case:ident) => {
        $crate::__suite_samples! { @list @tests ($harness) ($crate::suite::$law::$case) }
    };
    (names) => { $crate::__suite_samples! { @list @names } };
    (@list $($then:tt)*) => {
        $crate::__suite_samples! { $($then)*
            aligned calendar from_first sliding sliding_log bucket bucket_fraction concurrency
        }
    };
    (@tests $harness:tt $case:tt $($sample:ident)*) => {
        $(#[test]
        fn $sample() {
            $crate::suite::run_on(&$harness, $case, stringify!($sample));
        })*
    };
    (@names $($sample:ident)*) => { [$(stringify!($sample)),*] };
}
