//! Which responses are refunded.

/// A set of HTTP statuses.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct StatusSet {
    /// By status; 1,000 of them.
    holds: Box<[bool]>,
}

impl StatusSet {
    /// Reads `409,500,5xx`.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut holds = vec![false; 1000].into_boxed_slice();
        for status in text.split(',').map(str::trim) {
            match status.as_bytes() {
                [class @ b'1'..=b'9', b'x' | b'X', b'x' | b'X'] => {
                    let first = usize::from(class - b'0') * 100;
                    holds[first..first + 100].fill(true);
                }
                [b'1'..=b'9', b'0'..=b'9', b'0'..=b'9'] => {
                    holds[status.parse::<usize>().map_err(|error| error.to_string())?] = true;
                }
                _ => return Err(format!("`{status}` is no status; give three digits, such as 409, or a class: 5xx")),
            }
        }
        Ok(StatusSet { holds })
    }

    /// None at all.
    pub(crate) fn none() -> Self {
        StatusSet { holds: vec![false; 1000].into_boxed_slice() }
    }

    pub(crate) fn contains(&self, status: u16) -> bool {
        self.holds.get(usize::from(status)).copied().unwrap_or(false)
    }
}

impl std::fmt::Debug for StatusSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries((0..1000).filter(|&status| self.contains(status))).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::StatusSet;

    #[test]
    fn statuses_and_classes() {
        let set = StatusSet::parse("409, 5xx").expect("a good list");
        assert!(set.contains(409) && set.contains(500) && set.contains(599));
        assert!(!set.contains(408) && !set.contains(600) && !set.contains(0) && !set.contains(u16::MAX));
        for bad in ["", "409,", "99", "1000", "4x4", "xxx", "-409", "099"] {
            assert!(StatusSet::parse(bad).is_err(), "{bad}");
        }
    }
}
