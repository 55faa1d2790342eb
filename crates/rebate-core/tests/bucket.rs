//! The token bucket by brute force: exact rates, and refunds that never credit too much.

use std::time::Duration;

use rebate_core::algorithm::Verdict;
use rebate_core::algorithm::bucket::{Bucket, Level};
use rebate_core::{Algorithm, Marks, Policy, Retry, Units};

fn bucket(rate: u64, period: Duration, burst: u64) -> Bucket {
    match Policy::bucket(rate, period, burst).unwrap().algorithm() {
        Algorithm::Bucket(bucket) => *bucket,
        _ => unreachable!("a bucket is a bucket"),
    }
}

/// Polls every `every` microseconds for `span`, skipping the polls that the retry says are denied, and
/// counts what is admitted.
fn admitted(bucket: &Bucket, every: u64, span: u64) -> u64 {
    let (mut level, mut now, mut admitted) = (None::<Level>, 0, 0);
    while now < span {
        match bucket.charge(level, 1, now, 1) {
            Verdict::Admitted { state, .. } => {
                (level, admitted) = (Some(state), admitted + 1);
                // Several charges fit into one poll where the rate is higher than the polls.
            }
            Verdict::Denied { retry: Retry::AfterMicros(wait), .. } => {
                assert!(wait > 0, "denied, and admitted after no time");
                now += wait.div_ceil(every) * every;
            }
            Verdict::Denied { retry: Retry::Never, .. } => unreachable!("one unit always fits in time"),
        }
    }
    admitted
}

#[test]
fn ten_a_day_polled_every_17_milliseconds_is_ten_a_day() {
    let day = Duration::from_secs(86_400);
    for days in [1, 7, 365] {
        let span = days * day.as_micros() as u64;
        for burst in [1, 3, 10] {
            let count = admitted(&bucket(10, day, burst), 17_000, span);
            assert!((10 * days - 1..=10 * days + burst).contains(&count), "{count} in {days} days, burst {burst}");
        }
    }
}

#[test]
fn six_hundred_thousand_a_second_is_that_many() {
    for burst in [2, 10, 1000] {
        let count = admitted(&bucket(600_000, Duration::from_secs(1), burst), 1, 1_000_000);
        assert!((600_000..=600_000 + burst).contains(&count), "{count} in a second, burst {burst}");
    }
}

#[test]
fn rates_that_do_not_divide_their_period_lose_nothing() {
    for (rate, seconds) in [(3, 1), (7, 1), (1_000_003, 10), (999_983, 60)] {
        let period = Duration::from_secs(seconds);
        let count = admitted(&bucket(rate, period, 20), 1, period.as_micros() as u64);
        assert!((rate..=rate + 20).contains(&count), "{count} of {rate} in {seconds} s");
    }
}

/// Small random numbers, the same in every run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % end
    }
}

/// One admitted charge, and what brute force knows of it. Times are in fractions of a microsecond.
struct Charge {
    at: u64,
    instance: u64,
    units: Units,
    given_back: u64,
    /// Where it ends on the gross axis, which refunds do not lower, and the credits given at that end.
    end: i128,
    credited: i128,
}

struct History {
    bucket: Bucket,
    level: Option<Level>,
    marks: Marks,
    charges: Vec<Charge>,
    /// The end of the gross axis.
    gross: i128,
    identities: u64,
}

impl History {
    /// T, in fractions.
    fn unit(&self) -> i128 {
        i128::from(self.bucket.unit.micros) * self.denominator() + i128::from(self.bucket.unit.fraction)
    }

    fn denominator(&self) -> i128 {
        i128::from(self.bucket.denominator)
    }

    fn moment(&self, now: u64) -> i128 {
        i128::from(now) * self.denominator()
    }

    /// How far the bucket is from full.
    fn missing(&self, now: u64) -> i128 {
        let tat = |level: Level| i128::from(level.tat.micros) * self.denominator() + i128::from(level.tat.fraction);
        self.level.map_or(0, |level| (tat(level) - self.moment(now)).max(0))
    }

    /// How far it would be had the refunded units never been charged.
    fn missing_without_refunded(&self, now: u64) -> i128 {
        let tat = self.charges.iter().fold(0, |tat: i128, charge| {
            let kept = i128::from(charge.units.cost - charge.given_back);
            if kept == 0 { tat } else { tat.max(self.moment(charge.at)) + kept * self.unit() }
        });
        (tat - self.moment(now)).max(0)
    }

    fn charge(&mut self, cost: u64, now: u64) {
        self.identities += 1;
        let was_busy = self.missing(now) > 0;
        let fits = self.missing(now) + i128::from(cost) * self.unit() <= i128::from(self.bucket.burst) * self.unit();
        match self.bucket.charge(self.level, cost, now, self.identities) {
            Verdict::Denied { retry, status } => {
                assert!(!fits, "denied what fits");
                assert!(status.remaining() < cost, "a charge of what remains is admitted");
                if let Retry::AfterMicros(wait) = retry {
                    let admits = |at| matches!(self.bucket.charge(self.level, cost, at, 0), Verdict::Admitted { .. });
                    assert!(admits(now + wait) && !admits(now + wait - 1), "the wait is true and tight");
                }
            }
            Verdict::Admitted { state, grant, .. } => {
                assert!(fits, "admitted what does not fit");
                assert_eq!(was_busy, grant.instance != self.identities, "an idle bucket begins a busy period");
                if !was_busy {
                    (self.marks, self.gross) = (Marks::default(), self.moment(now));
                }
                self.gross += i128::from(cost) * self.unit();
                self.level = Some(state);
                let units = Units { cost, last: grant.last };
                let (end, instance) = (self.gross, grant.instance);
                self.charges.push(Charge { at: now, instance, units, given_back: 0, end, credited: 0 });
            }
        }
    }

    /// Refunds, and checks the credit against the rule of DESIGN.md section 3, told on the gross axis.
    fn refund(&mut self, at: usize, total: u64, now: u64) {
        let before = self.missing(now);
        let Some(mut level) = self.level else { return };
        let (instance, units) = (self.charges[at].instance, self.charges[at].units);
        let returned = self.bucket.refund(&mut level, &mut self.marks, instance, units, total, now);
        let alive = before > 0 && level.identity == instance;
        assert_eq!(returned.expired, !alive, "expired exactly when its busy period is over");
        if returned.expired {
            return;
        }
        let charge = &self.charges[at];
        assert_eq!(returned.now, total.min(units.cost).saturating_sub(charge.given_back));
        let same_period = |other: &&Charge| other.instance == instance && other.end <= charge.end;
        let given: i128 = self.charges.iter().filter(same_period).map(|other| other.credited).sum();
        let most = (charge.end - given - self.moment(now)).max(0);
        let credit = (i128::from(returned.now) * self.unit()).min(most);
        self.level = Some(level);
        assert_eq!(before - self.missing(now), credit, "credited by the rule");
        assert_eq!(returned.closed, self.missing(now) == 0);
        if returned.closed {
            self.level = None;
        }
        let charge = &mut self.charges[at];
        charge.given_back += returned.now;
        charge.credited += credit;
        assert_eq!(returned.in_all, charge.given_back);
    }
}

#[test]
fn refunds_never_credit_more_than_the_history_without_the_refunded_units_holds() {
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    let mut checked = 0;
    for _ in 0..100_000 {
        let (rate, period, burst) = (1 + dice.below(7), 1 + dice.below(24), 1 + dice.below(9));
        let mut history = History {
            bucket: bucket(rate, Duration::from_micros(period), burst),
            level: None,
            marks: Marks::default(),
            charges: Vec::new(),
            gross: 0,
            identities: 0,
        };
        let mut now = dice.below(50);
        for _ in 0..4 + dice.below(20) {
            now += if dice.below(3) == 0 { dice.below(2 * period) } else { dice.below(3) };
            if history.charges.is_empty() || dice.below(5) < 3 {
                history.charge(1 + dice.below(burst + 1), now);
            } else {
                let at = dice.below(history.charges.len() as u64) as usize;
                let total = dice.below(history.charges[at].units.cost + 2);
                history.refund(at, total, now);
                checked += 1;
            }
            let (held, least) = (history.missing(now), history.missing_without_refunded(now));
            assert!(held >= least, "over-credited: {held} missing, {least} at least");
        }
    }
    assert!(checked > 100_000, "{checked} refunds");
}

#[test]
fn a_refund_with_nothing_between_leaves_no_trace() {
    let bucket = bucket(10, Duration::from_secs(1), 20);
    let Verdict::Admitted { state: before, .. } = bucket.charge(None, 15, 1_000_000, 1) else { panic!("denied") };
    let Verdict::Admitted { state: mut level, grant, .. } = bucket.charge(Some(before), 5, 1_200_000, 2) else {
        panic!("denied")
    };
    let mut marks = Marks::default();
    let units = Units { cost: 5, last: grant.last };
    let returned = bucket.refund(&mut level, &mut marks, grant.instance, units, 5, 1_200_000);
    assert_eq!((returned.now, level.tat), (5, before.tat));
    let repeated = bucket.refund(&mut level, &mut marks, grant.instance, units, 5, 1_200_000);
    assert_eq!((repeated.now, repeated.in_all, level.tat), (0, 5, before.tat));
}
