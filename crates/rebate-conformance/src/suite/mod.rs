//! The laws as cases.
//!
//! Every case is a function over a [`Harness`]. They stand in one list, from which
//! [`suite!`](crate::suite!) makes tests and [`cases`] makes values; so no store can leave one out.

#[macro_use]
mod list;

pub mod law_01_never_over;
pub mod law_02_all_or_nothing;
pub mod law_03_refund_is_exact;
pub mod law_04_each_unit_at_most_once;
pub mod law_05_never_across_windows;
pub mod law_06_retry_after_is_tight;
pub mod law_07_remaining_is_true;
pub mod law_08_billed_once;
pub mod law_09_one_meaning;
pub mod law_10_keys_do_not_meet;
pub mod law_11_time_does_not_betray;
pub mod law_12_forgetting_is_invisible;
pub mod law_13_looking_is_free;
pub mod law_14_trouble_is_said;
pub mod law_15_reservations_lapse;
mod scene;

pub use scene::{SAMPLES, Sample};

use crate::Harness;

/// One case of the suite.
#[derive(Clone, Copy)]
pub struct Case<H> {
    /// Its law.
    pub law: &'static str,
    /// Its name, unique in its law.
    pub name: &'static str,
    run: Run<H>,
}

#[doc(hidden)]
#[derive(Clone, Copy)]
pub enum Run<H> {
    One(fn(&H)),
    Each(fn(&H, &Sample)),
}

impl<H: Harness> Case<H> {
    /// Runs it, on every algorithm if it is about all of them.
    ///
    /// # Panics
    /// When the store does not keep the law.
    pub fn run(&self, harness: &H) {
        match self.run {
            Run::One(case) => case(harness),
            Run::Each(case) => SAMPLES.iter().for_each(|sample| case(harness, sample)),
        }
    }
}

macro_rules! table {
    ({} $($law:ident { $($kind:ident $case:ident $($need:ident)?;)* })*) => {
        /// Law and name of every case, in order.
        pub const CASES: &[(&str, &str)] = &[$($((stringify!($law), stringify!($case)),)*)*];

        /// Every case, to be run one by one.
        pub fn cases<H: Harness>() -> Vec<Case<H>> {
            vec![$($(Case {
                law: stringify!($law),
                name: stringify!($case),
                run: table!(@$kind $law::$case),
            },)*)*]
        }
    };
    (@one $law:ident::$case:ident) => { Run::One($law::$case::<H>) };
    (@each $law:ident::$case:ident) => { Run::Each($law::$case::<H>) };
}

__cases!(table {});

/// Runs a case on one algorithm, for the tests that [`suite!`](crate::suite!) makes.
#[doc(hidden)]
pub fn run_on<H: Harness>(harness: &H, case: fn(&H, &Sample), sample: &str) {
    let sample = SAMPLES.iter().find(|known| known.name == sample).expect("the list names samples only");
    case(harness, sample);
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_sample_has_its_tests() {
        assert!(__suite_samples!(names).into_iter().eq(super::SAMPLES.iter().map(|sample| sample.name)));
    }
}
