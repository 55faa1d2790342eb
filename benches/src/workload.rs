//! Whose turn it is: keys, and the order in which they are charged.

/// Keys and the order in which a lap charges them, both made beforehand.
#[derive(Debug)]
pub struct Workload {
    /// Its name in the table.
    pub name: &'static str,
    /// Whether each charge is fenced from the next.
    pub isolated: bool,
    /// What is charged. For large workloads one string for each charge, one after the other in
    /// memory: a service has its key at hand, and a cache miss for it is none of the limiter's.
    pub keys: Vec<String>,
    /// Places in `keys`, read from first to last.
    pub order: Vec<u32>,
}

/// The key of number `number`, 11 bytes below a million.
pub fn key(number: usize) -> String {
    format!("user:{number:06}")
}

/// `count` keys.
pub fn keys(count: usize) -> Vec<String> {
    (0..count).map(key).collect()
}

/// One key, over and over. Here and below, the order is two laps long.
pub fn hot(lap: usize) -> Workload {
    Workload { name: "1 hot key", isolated: false, keys: keys(1), order: vec![0; 2 * lap] }
}

/// A thousand keys, each as likely.
pub fn thousand(lap: usize) -> Workload {
    let mut random = Random(1);
    let order = (0..2 * lap).map(|_| random.below(1000) as u32).collect();
    Workload { name: "1,000 keys", isolated: false, keys: keys(1000), order }
}

/// `count` keys, each as likely.
pub fn uniform(count: usize, lap: usize) -> Workload {
    let mut random = Random(2);
    laid_out("1M uniform", (0..2 * lap).map(|_| random.below(count)))
}

/// The same as [`uniform`], each charge fenced from the next.
pub fn isolated(count: usize, lap: usize) -> Workload {
    Workload { name: "1M isolated", isolated: true, ..uniform(count, lap) }
}

/// `count` keys, the r-th most charged one in proportion to 1/r; ranks are dealt out at random.
pub fn zipf(count: usize, lap: usize) -> Workload {
    let mut random = Random(3);
    let sums: Vec<f64> = (1..=count)
        .scan(0.0, |sum, rank| {
            *sum += 1.0 / rank as f64;
            Some(*sum)
        })
        .collect();
    let total = sums[count - 1];
    let mut dealt: Vec<usize> = (0..count).collect();
    for place in (1..count).rev() {
        dealt.swap(place, random.below(place + 1));
    }
    let pick = |_| {
        let point = random.unit() * total;
        dealt[sums.partition_point(|sum| *sum <= point).min(count - 1)]
    };
    laid_out("1M Zipf(1.0)", (0..2 * lap).map(pick))
}

fn laid_out(name: &'static str, picks: impl Iterator<Item = usize>) -> Workload {
    let keys: Vec<String> = picks.map(key).collect();
    let order = (0..keys.len() as u32).collect();
    Workload { name, isolated: false, keys, order }
}

/// SplitMix64: the same picks in every run and for every side.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        ((u128::from(self.next()) * bound as u128) >> 64) as usize
    }

    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_eleven_bytes() {
        assert!([0, 1, 999_999].into_iter().all(|number| key(number).len() == 11));
    }

    #[test]
    fn zipf_follows_its_law() {
        let workload = zipf(1000, 200_000);
        let mut counts = std::collections::HashMap::<&str, usize>::new();
        workload.keys.iter().for_each(|key| *counts.entry(key).or_default() += 1);
        let mut counts: Vec<usize> = counts.into_values().collect();
        counts.sort_unstable_by(|left, right| right.cmp(left));
        let harmonic: f64 = (1..=1000).map(|rank| 1.0 / f64::from(rank)).sum();
        let expected = 400_000.0 / harmonic;
        assert!((counts[0] as f64 / expected - 1.0).abs() < 0.05);
        assert!((counts[9] as f64 / (expected / 10.0) - 1.0).abs() < 0.1);
    }
}
