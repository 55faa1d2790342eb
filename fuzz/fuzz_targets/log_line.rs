//! A line of an access log: no panic, and a text for every line that does not read.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rebate_cli::parse_line;

fuzz_target!(|line: &[u8]| {
    match parse_line(line) {
        Ok(None) => assert!(line.iter().all(u8::is_ascii_whitespace)),
        Ok(Some(parsed)) => {
            assert!(parsed.key.is_none_or(|key| key.len() <= line.len()));
            assert!(parsed.status < 1000);
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});
