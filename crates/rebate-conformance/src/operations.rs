//! Random sequences of operations, small enough in everything that edges are hit.

use std::time::Duration;

use proptest::prelude::*;
use rebate_core::{CalendarUnit, Policy};

/// One thing done to a store. Numbers that choose (a limit, a key, a receipt) are taken modulo
/// what there is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Charges; the receipt is kept.
    Charge {
        /// What is charged.
        items: Vec<Billed>,
        /// Under an idempotency key.
        once: Option<Bearing>,
        /// Reserved for so many microseconds.
        reserved: Option<u64>,
    },
    /// Gives back.
    Refund {
        /// Which of the receipts kept.
        receipt: u8,
        /// The totals of its parts, in turns; `u64::MAX` for all.
        totals: Vec<u64>,
    },
    /// Fixes the true cost.
    Settle {
        /// Which of the receipts kept.
        receipt: u8,
        /// The costs of its first parts, in turns.
        costs: Vec<u64>,
        /// Whether to take what is there, rather than refuse.
        take: bool,
    },
    /// Renews leases.
    Renew {
        /// Which of the receipts kept.
        receipt: u8,
    },
    /// Writes a receipt's token and reads it: a copy more is kept, or takes the place of the receipt.
    Copy {
        /// Which of the receipts kept.
        receipt: u8,
        /// Whether the receipt is dropped.
        replaces: bool,
    },
    /// Looks.
    Peek {
        /// At what.
        items: Vec<Billed>,
    },
    /// Forgets a count.
    Reset {
        /// The limit.
        limit: u8,
        /// The key.
        key: u8,
    },
    /// Lists a limit's keys.
    List {
        /// The limit.
        limit: u8,
    },
    /// Asks who holds a limit's leases.
    Leases {
        /// The limit.
        limit: u8,
        /// The key.
        key: u8,
        /// Whether the receipts told are kept.
        keep: bool,
    },
    /// Lets a limit's name stand for another of its policies.
    Replace {
        /// The limit.
        limit: u8,
        /// Which policy.
        policy: u8,
    },
    /// Moves the clock.
    Clock(Move),
    /// Charges one unit many times and gives every other one back: more than is remembered.
    RefundMany {
        /// The limit.
        limit: u8,
        /// The key.
        key: u8,
        /// How often.
        times: u16,
        /// Units of each charge, one less of which is given back when it is more than one.
        cost: u8,
    },
    /// Charges one unit many times and settles every one higher: more than is remembered.
    SettleMany {
        /// The limit.
        limit: u8,
        /// The key.
        key: u8,
        /// How often.
        times: u16,
    },
}

/// One item of a charge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Billed {
    /// The limit.
    pub limit: u8,
    /// Which of its variants, those that its other policies can be; 0 is the one that its name was made to stand for.
    pub variant: u8,
    /// Whether the limit is meant that the name stood for before it was last replaced.
    pub stale: bool,
    /// The key.
    pub key: u8,
    /// How many units.
    pub cost: u64,
}

/// An idempotency key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bearing {
    /// Which key; 255 is an empty one.
    pub key: u8,
    /// Within which item's key.
    pub scope: u8,
    /// For how long, in microseconds.
    pub lifetime: u64,
}

/// How the clock moves, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Move {
    /// Later.
    Forward(u64),
    /// Earlier.
    Back(u64),
    /// To the last retry or reset that was told, and so many microseconds later.
    ToLast(i8),
    /// To a moment.
    To(u64),
}

/// The names of the limits, and each one's policies: the first is what it stands for at first.
pub(crate) fn limits() -> Vec<(&'static str, Vec<Policy>)> {
    let seconds = Duration::from_secs;
    let micros = Duration::from_micros;
    let fixed = |quota, window| Policy::fixed(quota, window);
    let day = |quota, zone| Policy::calendar(quota, CalendarUnit::Day, zone);
    let century = seconds(36_525 * 86_400);
    let pool = [
        ("aligned", vec![fixed(5, seconds(10)), fixed(2, seconds(10)), fixed(9, seconds(10)), fixed(5, seconds(7))]),
        (
            "first",
            vec![
                Policy::from_first(4, seconds(10)),
                Policy::from_first(8, seconds(10)),
                fixed(4, seconds(10)),
                Policy::from_first(3, micros(3)),
            ],
        ),
        (
            "calendar",
            vec![
                day(5, "Europe/Berlin"),
                day(3, "Europe/Berlin"),
                Policy::calendar(5, CalendarUnit::Week, "America/New_York"),
                Policy::calendar(5, CalendarUnit::Month, "UTC"),
            ],
        ),
        (
            "sliding",
            vec![
                Policy::sliding(6, seconds(10)),
                Policy::sliding(3, seconds(10)),
                Policy::sliding(6, micros(10_000_019)),
                Policy::sliding(5, micros(7)),
            ],
        ),
        (
            "log",
            vec![
                Policy::sliding_log(5, seconds(10)),
                Policy::sliding_log(2, seconds(10)),
                Policy::sliding_log(7, seconds(4)),
                Policy::concurrency(5, seconds(10)),
            ],
        ),
        (
            "bucket",
            vec![
                Policy::bucket(7, seconds(10), 5),
                Policy::bucket(7, seconds(10), 3),
                Policy::bucket(3, seconds(10), 6),
                Policy::bucket(7, seconds(1), 5),
            ],
        ),
        (
            "leases",
            vec![
                Policy::concurrency(4, seconds(10)),
                Policy::concurrency(2, seconds(10)),
                Policy::concurrency(4, seconds(3)),
                fixed(4, seconds(10)),
            ],
        ),
        ("wide bucket", vec![Policy::bucket(1000, micros(7), 2000), Policy::bucket(1, seconds(1), 1000)]),
        ("wide aligned", vec![fixed(1000, seconds(60)), fixed(1 << 52, seconds(60))]),
        ("wide sliding", vec![Policy::sliding(1000, seconds(60)), Policy::sliding(1 << 32, seconds(60))]),
        ("wide log", vec![Policy::sliding_log(1000, seconds(60)), Policy::concurrency(1000, seconds(60))]),
        ("wide first", vec![Policy::from_first(1000, seconds(60))]),
        // The ends of what can be built.
        (
            "century",
            vec![
                Policy::from_first(10, century),
                fixed(1 << 52, century),
                Policy::sliding(1 << 32, century),
                Policy::sliding_log(5, century),
            ],
        ),
        (
            "century bucket",
            vec![
                Policy::bucket(10, century, 10),
                Policy::bucket(10, century, 7),
                Policy::bucket(3, century, 3),
                Policy::bucket(7, century, 7),
            ],
        ),
        ("century leases", vec![Policy::concurrency(4, century), Policy::sliding(7, century)]),
        (
            "odd bucket",
            vec![
                Policy::bucket(1_000_000_007, seconds(3600), 4_000_000),
                Policy::bucket(999_983, seconds(3600), 4_000_000),
                Policy::bucket(1, seconds(3600), 800_000),
            ],
        ),
        (
            "micro",
            vec![Policy::bucket(3, micros(1), 9), Policy::bucket(5, micros(1), 9), Policy::sliding(3, micros(1))],
        ),
        (
            "odd calendar",
            vec![
                Policy::calendar(5, CalendarUnit::Year, "America/St_Johns"),
                Policy::calendar(5, CalendarUnit::Month, "Pacific/Apia"),
            ],
        ),
    ];
    let good =
        |policies: Vec<Result<Policy, _>>| policies.into_iter().map(|policy| policy.expect("in bounds")).collect();
    assert_eq!(pool.len(), usize::from(LIMITS), "or some are never drawn");
    pool.into_iter().map(|(name, policies)| (name, good(policies))).collect()
}

/// How many limits there are; see [`limits`].
const LIMITS: u8 = 18;

/// How many keys there are; see [`key`].
pub(crate) const KEYS: u8 = 10;

const LONG: &[u8] = b"a key that is longer than what is held inline\0{}";

/// A key's group and bytes.
pub(crate) fn key(number: u8) -> (Option<&'static [u8]>, &'static [u8]) {
    match number % KEYS {
        0 => (None, b"a"),
        1 => (Some(b"a"), b"b:c"),
        2 => (Some(b"a:b"), b"c"),
        3 => (Some(b"g"), b"a"),
        4 => (Some(b"h"), b"a"),
        5 => (Some(b"g"), b"b"),
        6 => (None, b"ga"),
        7 => (Some(b""), b"a"),
        8 => (None, LONG),
        _ => (Some(b"g"), LONG),
    }
}

/// What a sequence's keys are taken from: keys that some careless store may take for one another.
const KEY_SETS: [[u8; 3]; 6] = [
    // Glued together with a colon.
    [0, 1, 2],
    // The same bytes in different groups, and in none.
    [3, 4, 0],
    // Two of one group, to be charged together.
    [3, 5, 4],
    // Glued together with nothing.
    [6, 3, 5],
    // An empty group is not none.
    [0, 7, 4],
    // Longer than what is held inline.
    [8, 9, 3],
];

/// Bytes that stand for one operation.
const RECORD: usize = 12;

/// The operations that `bytes` stand for: any bytes are some sequence. For fuzzers; a shorter or lower
/// input is a simpler sequence.
pub fn operations(bytes: &[u8]) -> Vec<Operation> {
    let Some((header, records)) = bytes.split_first_chunk::<4>() else { return Vec::new() };
    let start = Operation::Clock(Move::To(match header[3] {
        0..=199 => 1_700_000_000_000_000,
        // Clocks are changed in Berlin.
        200..=219 => 1_698_530_400_000_000,
        220..=239 => 0,
        _ => (1 << 52) - 200_000_000,
    }));
    let keys = &KEY_SETS[usize::from(header[2] / 3) % KEY_SETS.len()][..=usize::from(header[2] % 3)];
    let limits = [header[0], header[1], header[0].wrapping_add(header[1])];
    let operation = |record: &[u8]| {
        let mut whole = [0; RECORD];
        whole[..record.len()].copy_from_slice(record);
        operation(Record { bytes: whole, limits, keys })
    };
    std::iter::once(start).chain(records.chunks(RECORD).map(operation)).collect()
}

/// Sequences of up to `longest` operations.
pub fn sequences(longest: usize) -> impl Strategy<Value = Vec<Operation>> {
    let records = prop::collection::vec(any::<[u8; RECORD]>(), 1..=longest);
    (any::<[u8; 4]>(), records).prop_map(|(header, records)| {
        let bytes: Vec<u8> = header.into_iter().chain(records.into_iter().flatten()).collect();
        operations(&bytes)
    })
}

struct Record {
    bytes: [u8; RECORD],
    /// A sequence keeps to few limits and keys, so that operations meet.
    limits: [u8; 3],
    keys: &'static [u8],
}

impl Record {
    fn limit(&self, at: usize) -> u8 {
        self.limits[usize::from(self.bytes[at] % 3)] % LIMITS
    }

    fn key(&self, at: usize) -> u8 {
        self.keys[usize::from(self.bytes[at] / 64) % self.keys.len()]
    }

    /// Of an item's cost, which is drawn from its byte too: every fifth is another variant.
    fn variant(&self, at: usize) -> u8 {
        match self.bytes[at] / 7 {
            byte if byte % 5 == 4 => 1 + byte / 5 % 3,
            _ => 0,
        }
    }

    fn cost(&self, at: usize) -> u64 {
        match self.bytes[at] {
            byte @ 0..=239 => u64::from(byte % 7 + 1),
            240..=243 => 0,
            244..=246 => u64::MAX,
            247..=249 => 1 << 52,
            _ => 100,
        }
    }

    /// A total or a true cost.
    fn total(&self, at: usize) -> u64 {
        match self.bytes[at] {
            byte @ 0..=199 => u64::from(byte % 8),
            200..=249 => u64::MAX,
            _ => 60,
        }
    }

    fn span(&self, at: usize) -> u64 {
        const SECOND: u64 = 1_000_000;
        const DAY: u64 = 86_400 * SECOND;
        let fine = match self.bytes[at + 1] {
            0..=99 => 0,
            byte => u64::from(byte - 100),
        };
        let coarse = match self.bytes[at] % 36 {
            0..=3 => 1,
            4..=6 => 1000,
            7 => SECOND / 7,
            8..=11 => SECOND,
            12..=14 => SECOND * 10 / 7,
            15..=18 => 3_300_000,
            19..=21 => 5 * SECOND,
            22..=24 => 10 * SECOND,
            25 => 10 * SECOND - 1,
            26 => 20 * SECOND,
            27 => 20 * SECOND + 1,
            28 => 60 * SECOND,
            29 => 3600 * SECOND,
            30 => DAY - SECOND,
            31 => DAY,
            32 => 2,
            33 => 365 * DAY,
            34 => 3652 * DAY,
            _ => 5 * 3652 * DAY,
        };
        coarse + fine
    }

    fn items(&self) -> Vec<Billed> {
        let count = match self.bytes[1] {
            0..=159 => 1,
            160..=219 => 2,
            220..=252 => 3,
            _ => 0,
        };
        let item = |at: usize| Billed {
            limit: self.limit(at),
            variant: self.variant(at + 1),
            stale: self.bytes[at] / 3 % 21 == 20,
            key: self.key(at),
            cost: self.cost(at + 1),
        };
        (0..count).map(|item_at| item(2 + 2 * item_at)).collect()
    }
}

fn operation(record: Record) -> Operation {
    let bytes = &record.bytes;
    match bytes[0] {
        0..=79 => {
            let bearing = Bearing {
                key: if bytes[9] == 255 { 255 } else { bytes[9] % 3 },
                scope: bytes[8] / 64,
                lifetime: record.span(10),
            };
            let span = if bytes[8] == 63 { 0 } else { record.span(9) };
            Operation::Charge {
                items: record.items(),
                once: (bytes[8] % 4 == 3).then_some(bearing),
                reserved: (bytes[8] / 4 % 4 == 3).then_some(span),
            }
        }
        80..=129 => Operation::Refund { receipt: bytes[1], totals: totals(&record, bytes[2]) },
        130..=154 => Operation::Settle { receipt: bytes[1], costs: totals(&record, bytes[2]), take: bytes[7] % 2 == 1 },
        155..=162 => Operation::Renew { receipt: bytes[1] },
        163..=172 => Operation::Copy { receipt: bytes[1], replaces: bytes[2] % 2 == 1 },
        173..=180 => Operation::Peek { items: record.items() },
        181..=184 => Operation::Reset { limit: record.limit(1), key: record.key(2) },
        185..=187 => Operation::List { limit: record.limit(1) },
        188..=189 => Operation::Leases { limit: record.limit(1), key: record.key(2), keep: bytes[3].is_multiple_of(2) },
        190..=197 => Operation::Replace { limit: record.limit(1), policy: bytes[2] },
        198..=224 => Operation::Clock(Move::Forward(record.span(1))),
        225..=244 => Operation::Clock(Move::ToLast((bytes[1] % 4) as i8 - 2)),
        245..=252 => Operation::Clock(Move::Back(record.span(1))),
        // They take long, so they are rare.
        253 if bytes[5] < 20 => {
            Operation::SettleMany { limit: record.limit(1), key: record.key(2), times: 120 + u16::from(bytes[3] % 32) }
        }
        254 if bytes[5] < 20 => Operation::RefundMany {
            limit: record.limit(1),
            key: record.key(2),
            times: 250 + u16::from(bytes[3] % 64),
            cost: 1 + bytes[4] % 3,
        },
        _ => Operation::List { limit: record.limit(1) },
    }
}

fn totals(record: &Record, byte: u8) -> Vec<u64> {
    // Mostly one total for all parts; an empty list is one too few for any receipt.
    match byte {
        0..=159 => vec![record.total(3)],
        160..=249 => vec![record.total(3), record.total(4), record.total(5)],
        _ => Vec::new(),
    }
}
