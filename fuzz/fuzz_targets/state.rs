//! A count's state as a server answers it: no panic, whatever stands there, under whatever limit.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rebate_core::Limit;

const POLICIES: [&str; 8] = [
    "10/month",
    "5/30s",
    "30/24h from first",
    "100/minute sliding",
    "100/minute sliding log",
    "10/second burst 20",
    "7/3s burst 1000000",
    "3 at once for 10m",
];
const LETTERS: &[u8; 7] = b"ADFSBLC";

fuzz_target!(|input: (u8, u8, u64, u64, [u32; 16], &[u8])| {
    let (policy, letter, cost, now, numbers, bytes) = input;
    let limit = Limit::new("a", POLICIES[usize::from(policy) % POLICIES.len()]).expect("a valid limit");
    // Bytes are seldom doubles that hold whole numbers, so most states are made of some.
    let mut state = bytes.to_vec();
    if letter % 4 != 0 {
        state = [0; 7].to_vec();
        state.push(LETTERS[usize::from(letter / 4) % LETTERS.len()]);
        for number in numbers {
            // Small ones, and large ones up to 2^62.
            let number = (u64::from(number) & 0xff_ffff) << (number >> 24 & 0x27);
            state.extend((number as f64).to_le_bytes());
        }
    }
    rebate_redis::fuzz_state(&state, &limit, cost.max(1), now % (1 << 52));
});
