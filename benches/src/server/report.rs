//! What was measured, how it is told, and whether the targets were met.

use std::fmt::Write;

use super::Lap;
use super::floors::Floor;
use crate::measure::median;

/// At most so many times the floor's server time.
pub const SERVER_TIME: f64 = 1.18;
/// At least so many times limitador's rate.
pub const RATE: f64 = 2.0;
/// At most so many times the latency of a bare script.
pub const LATENCY: f64 = 1.1;

/// A contender's laps, one for each round.
pub struct Laps {
    /// Its name in the table.
    pub name: String,
    /// One for each round.
    pub laps: Vec<Lap>,
}

impl Laps {
    /// Microseconds of the server's processor per charge.
    pub fn server(&self) -> f64 {
        median(self.laps.iter().map(|lap| lap.server))
    }

    /// Charges per second.
    pub fn rate(&self) -> f64 {
        median(self.laps.iter().map(|lap| lap.rate))
    }

    /// How many times the server time of another: the median of the rounds' ratios.
    pub fn server_over(&self, other: &Laps) -> f64 {
        median(self.laps.iter().zip(&other.laps).map(|(ours, floor)| ours.server / floor.server))
    }

    /// How many times the rate of another.
    pub fn rate_over(&self, other: &Laps) -> f64 {
        median(self.laps.iter().zip(&other.laps).map(|(ours, peer)| ours.rate / peer.rate))
    }
}

/// The floors beside what the issue says of them.
pub fn floors(floors: &[(Floor, Laps)]) -> String {
    let mut text = String::from("\nFloors, 256 in flight: server time per charge, and its ratio to `return 1`\n");
    let _ = writeln!(text, "  {:<28}{:>8}{:>9}{:>8}{:>9}", "", "µs", "per s", "ratio", "said");
    let Some((_, one)) = floors.iter().find(|(floor, _)| floor.name == "return 1") else { return text };
    for (floor, laps) in floors {
        let said = floor.said.map_or("–".to_owned(), |said| format!("{:.2}", said / 1.46));
        let (server, rate, ratio) = (laps.server(), laps.rate(), laps.server_over(one));
        let _ = writeln!(text, "  {:<28}{server:>8.2}{rate:>9.0}{ratio:>8.2}{said:>9}", laps.name);
    }
    text
}

/// Ours beside their floors.
pub fn pairs(pairs: &[(Laps, Laps)]) -> String {
    let mut text = String::from("\nRebate with receipts beside the floor of the same shape, 256 in flight\n");
    let _ = writeln!(text, "  {:<28}{:>8}{:>9}{:>8}{:>9}", "", "µs", "floor µs", "ratio", "per s");
    for (floor, ours) in pairs {
        let (server, bare, ratio, rate) = (ours.server(), floor.server(), ours.server_over(floor), ours.rate());
        let _ = writeln!(text, "  {:<28}{server:>8.2}{bare:>9.2}{ratio:>8.2}{rate:>9.0}", ours.name);
    }
    text
}

/// Those that have no floor of their own.
pub fn others(title: &str, others: &[Laps]) -> String {
    let mut text = format!("\n{title}\n");
    let _ = writeln!(text, "  {:<28}{:>8}{:>9}", "", "µs", "per s");
    for laps in others {
        let _ = writeln!(text, "  {:<28}{:>8.2}{:>9.0}", laps.name, laps.server(), laps.rate());
    }
    text
}

/// Lines of targets: pass or miss.
#[derive(Default)]
pub struct Targets {
    text: String,
    missed: usize,
}

impl Targets {
    /// One target.
    pub fn line(&mut self, kept: bool, what: &str) {
        self.missed += usize::from(!kept);
        let _ = writeln!(self.text, "  {} {what}", if kept { "pass" } else { "MISS" });
    }

    /// Something that was not measured.
    pub fn unknown(&mut self, what: &str) {
        let _ = writeln!(self.text, "  ---- {what}");
    }

    /// All of them.
    pub fn report(&self) -> String {
        format!("\nTargets (README.md of the benches says what each means)\n{}{} missed\n", self.text, self.missed)
    }
}
