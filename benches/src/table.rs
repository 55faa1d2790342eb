//! What was measured, and how it is told.

use std::fmt::Write;

use crate::measure::median;
use crate::sides::{Candidate, Outcome, Role};

/// The laps of every candidate over one workload.
#[derive(Debug)]
pub struct Column {
    /// What the charges answered.
    pub outcome: Outcome,
    /// Of the workload.
    pub workload: &'static str,
    /// At once.
    pub threads: usize,
    /// Nanoseconds per charge: for each candidate, one for each round.
    pub samples: Vec<Vec<f64>>,
}

impl Column {
    /// The candidate's median.
    pub fn nanoseconds(&self, candidate: usize) -> f64 {
        median(self.samples[candidate].iter().copied())
    }

    /// How many times as long `slower` took as `faster`: the median of the rounds' ratios, so that what
    /// disturbed a round disturbs both.
    pub fn ratio(&self, slower: usize, faster: usize) -> f64 {
        median(self.samples[slower].iter().zip(&self.samples[faster]).map(|(slower, faster)| slower / faster))
    }

    fn heading(&self) -> String {
        match self.threads {
            1 => self.workload.to_owned(),
            threads => format!("{} ×{threads}", self.workload),
        }
    }
}

/// Candidates and their columns.
pub struct Table {
    /// What its title says.
    pub title: &'static str,
    /// One line for each.
    pub candidates: Vec<Candidate>,
    /// In the order of measuring.
    pub columns: Vec<Column>,
}

impl Table {
    /// The place of the candidate with this role.
    pub fn place(&self, role: Role) -> Option<usize> {
        self.candidates.iter().position(|candidate| candidate.role == role)
    }

    /// Nanoseconds per charge, a block for each outcome.
    pub fn nanoseconds(&self) -> String {
        let mut text = String::new();
        self.blocks(&mut text, "ns per charge", |column, place| {
            let value = column.nanoseconds(place);
            if value < 100.0 { format!("{value:.1}") } else { format!("{value:.0}") }
        });
        text
    }

    /// Every line over that of `base`, a block for each outcome.
    pub fn ratios(&self, base: Role) -> String {
        let mut text = String::new();
        if let Some(base) = self.place(base) {
            let what = format!("times {}", self.candidates[base].name);
            self.blocks(&mut text, &what, |column, place| format!("{:.2}", column.ratio(place, base)));
        }
        text
    }

    fn blocks(&self, text: &mut String, what: &str, cell: impl Fn(&Column, usize) -> String) {
        for outcome in [Outcome::Allowed, Outcome::Denied] {
            let columns: Vec<&Column> = self.columns.iter().filter(|column| column.outcome == outcome).collect();
            if columns.is_empty() {
                continue;
            }
            let headings: Vec<String> = columns.iter().map(|column| column.heading()).collect();
            let _ = writeln!(text, "\n{}, {}, {what}", self.title, outcome.name());
            line(text, "", &headings, &headings);
            for (place, candidate) in self.candidates.iter().enumerate() {
                let cells: Vec<String> = columns.iter().map(|column| cell(column, place)).collect();
                line(text, candidate.name, &cells, &headings);
            }
        }
    }
}

/// A line whose cells stand right-aligned under their headings.
fn line(text: &mut String, name: &str, cells: &[String], headings: &[String]) {
    let _ = write!(text, "  {name:<24}");
    for (cell, heading) in cells.iter().zip(headings) {
        let _ = write!(text, "  {cell:>width$}", width = heading.chars().count().max(7));
    }
    text.push('\n');
}

/// One side's memory and stalls.
#[derive(Debug)]
pub struct Filling {
    /// The candidate's name.
    pub name: &'static str,
    /// Of the candidate.
    pub role: Role,
    /// Bytes in use per key when full.
    pub live: f64,
    /// The most bytes in use at once, per key.
    pub peak: f64,
    /// While the keys arrived.
    pub stalls: crate::arrivals::Stalls,
}

/// Memory and stalls of each side.
pub fn filling(fillings: &[Filling], keys: usize) -> String {
    let headings: Vec<String> =
        ["bytes/key", "at peak", "worst ms", "calmest ms", "99.99 % ms"].map(str::to_owned).into();
    let mut text = format!("\n{keys} keys of 11 bytes arrive: bytes in use, and how long single charges took\n");
    line(&mut text, "", &headings, &headings);
    for Filling { name, live, peak, stalls, .. } in fillings {
        let milliseconds =
            [stalls.worst, stalls.calmest, stalls.one_in_ten_thousand].map(|value| format!("{value:.3}"));
        let cells: Vec<String> = [format!("{live:.0}"), format!("{peak:.0}")].into_iter().chain(milliseconds).collect();
        line(&mut text, name, &cells, &headings);
    }
    text
}
