//! `rebate`: try rate limits on real traffic.

use std::process::ExitCode;

fn main() -> ExitCode {
    rebate_cli::run()
}
