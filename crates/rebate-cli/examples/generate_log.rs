//! Writes an access log of which every line is known: the same arguments give the same bytes.
//!
//! ```sh
//! cargo run --release -p rebate-cli --example generate_log -- --lines 10000000 --keys 1000000 > big.log
//! ```
//!
//! The lines are in no order: each has a random second of one day and a random key of so many.
#![forbid(unsafe_code)]

use std::io::{self, BufWriter, Write};

use clap::{Parser, ValueEnum};

/// Writes a shuffled access log of one day to standard output.
#[derive(Parser)]
struct Arguments {
    /// How many lines
    #[arg(long, default_value_t = 10_000_000)]
    lines: u64,
    /// Of how many different keys
    #[arg(long, default_value_t = 1_000_000)]
    keys: u64,
    /// The seed of all that is random
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How often a key comes
    #[arg(long, value_enum, default_value_t = Keys::Uniform)]
    distribution: Keys,
    /// How the lines are written
    #[arg(long, value_enum, default_value_t = Form::Combined)]
    form: Form,
}

#[derive(Clone, Copy, ValueEnum)]
enum Keys {
    /// All equally often.
    Uniform,
    /// The n-th about 1/n times as often as the first.
    Zipf,
}

#[derive(Clone, Copy, ValueEnum)]
enum Form {
    Common,
    Combined,
    Json,
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(end)) >> 64) as u64
    }

    /// From 0 up to 1.
    fn fraction(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }
}

fn main() -> io::Result<()> {
    let arguments = Arguments::parse();
    let mut random = Random(arguments.seed);
    let mut out = BufWriter::with_capacity(1 << 20, io::stdout().lock());
    for _ in 0..arguments.lines {
        let key = match arguments.distribution {
            Keys::Uniform => random.below(arguments.keys),
            // The inverse of the distribution's continuous twin.
            Keys::Zipf => ((arguments.keys as f64 + 1.0).powf(random.fraction()) as u64).saturating_sub(1),
        };
        let ip = format_args!("{}.{}.{}.{}", 10 + (key >> 24), key >> 16 & 255, key >> 8 & 255, key & 255);
        let second = random.below(86_400);
        let (h, m, s) = (second / 3600, second / 60 % 60, second % 60);
        let page = random.below(1000);
        let status = [200, 200, 200, 200, 200, 200, 304, 404, 409, 500][random.below(10) as usize];
        let bytes = random.below(100_000);
        match arguments.form {
            Form::Common => writeln!(
                out,
                "{ip} - - [17/May/2015:{h:02}:{m:02}:{s:02} +0000] \"GET /articles/{page} HTTP/1.1\" {status} {bytes}"
            )?,
            Form::Combined => writeln!(
                out,
                "{ip} - - [17/May/2015:{h:02}:{m:02}:{s:02} +0000] \"GET /articles/{page} HTTP/1.1\" {status} {bytes} \
                 \"https://www.example.org/\" \"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko)\""
            )?,
            Form::Json => writeln!(
                out,
                "{{\"time\":\"2015-05-17T{h:02}:{m:02}:{s:02}Z\",\"ip\":\"{ip}\",\"method\":\"GET\",\
                 \"path\":\"/articles/{page}\",\"status\":{status},\"bytes\":{bytes}}}"
            )?,
        }
    }
    out.flush()
}
