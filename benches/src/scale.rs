//! How much is measured.

/// The size of a run.
#[derive(Clone, Copy, Debug)]
pub struct Scale {
    /// Keys of the large workloads, and of the filling.
    pub keys: usize,
    /// Charges in a lap over one key or a thousand; their order is two laps long.
    pub small_lap: usize,
    /// Charges in a lap over the large workloads; their order is two laps long.
    pub large_lap: usize,
    /// How often each side has its turn.
    pub rounds: usize,
    /// How often an empty table is filled.
    pub fills: usize,
    /// Every algorithm, rather than the fixed window and the token bucket.
    pub all: bool,
    /// Too small to mean anything.
    pub smoke: bool,
}

impl Scale {
    /// By `REBATE_BENCH`: unset for the default set, `all` for every algorithm, `quick` for a look.
    /// Under anything but `cargo bench` (which says `--bench`) the smallest that still runs it all.
    ///
    /// # Panics
    /// When `REBATE_BENCH` is anything else.
    pub fn from_environment() -> Self {
        let usual = Scale {
            keys: 1_000_000,
            small_lap: 300_000,
            large_lap: 500_000,
            rounds: 7,
            fills: 5,
            all: false,
            smoke: false,
        };
        if !std::env::args().any(|argument| argument == "--bench") {
            return Scale { keys: 2000, small_lap: 2000, large_lap: 2000, rounds: 1, fills: 1, all: true, smoke: true };
        }
        match std::env::var("REBATE_BENCH").as_deref() {
            Err(_) | Ok("") => usual,
            Ok("all") => Scale { all: true, ..usual },
            Ok("quick") => Scale { large_lap: 250_000, small_lap: 100_000, rounds: 3, fills: 3, ..usual },
            Ok(other) => panic!("REBATE_BENCH is `all`, `quick` or unset, not `{other}`"),
        }
    }
}
