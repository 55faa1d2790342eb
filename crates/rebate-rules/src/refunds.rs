//! Which statuses of a response give its charge back.

use std::fmt;

/// A set of HTTP and gRPC statuses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Statuses {
    /// A bit for each of 100 to 599.
    http: [u64; 8],
    /// A bit for each of 0 to 16.
    grpc: u32,
}

const GRPC: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

impl Statuses {
    /// Whether an HTTP status is among them.
    #[inline]
    pub fn contains(&self, status: u16) -> bool {
        let bit = usize::from(status.wrapping_sub(100));
        self.http.get(bit / 64).is_some_and(|word| word & (1 << (bit % 64)) != 0)
    }

    /// Whether a gRPC status is among them, by its number.
    #[inline]
    pub fn contains_grpc(&self, status: u32) -> bool {
        status < 32 && self.grpc & (1 << status) != 0
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The HTTP statuses of the one and the gRPC statuses of the other.
    pub(crate) fn of(http: Option<&Statuses>, grpc: Option<&Statuses>) -> Self {
        Statuses { http: http.map_or([0; 8], |http| http.http), grpc: grpc.map_or(0, |grpc| grpc.grpc) }
    }

    /// Adds `409`, or `5xx`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn add(&mut self, text: &str) -> Result<(), String> {
        let class = text.strip_suffix("xx").or(text.strip_suffix("XX"));
        let range = match (class, class.unwrap_or(text).parse::<u16>()) {
            (Some(_), Ok(class @ 1..=5)) => class * 100..=class * 100 + 99,
            (None, Ok(status @ 100..=599)) => status..=status,
            _ => return Err(format!("`{text}` is no status; take one from 100 to 599, or a class such as \"5xx\"")),
        };
        for status in range {
            let bit = usize::from(status - 100);
            self.http[bit / 64] |= 1 << (bit % 64);
        }
        Ok(())
    }

    /// Adds `ABORTED`, or `10`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn add_grpc(&mut self, text: &str) -> Result<(), String> {
        let number = GRPC.iter().position(|name| *name == text).or(text.parse().ok()).filter(|&number| number <= 16);
        match number {
            Some(number) => {
                self.grpc |= 1 << number;
                Ok(())
            }
            None => Err(format!("`{text}` is no gRPC status; take a name such as \"ABORTED\", or 0 to 16")),
        }
    }
}

impl fmt::Display for Statuses {
    /// As rule files write them, classes together; `none` where there is none.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        for class in 1..=5u16 {
            let mut of_class = (class * 100..class * 100 + 100).filter(|&status| self.contains(status));
            if of_class.clone().count() == 100 {
                parts.push(format!("{class}xx"));
            } else {
                parts.extend(of_class.by_ref().map(|status| status.to_string()));
            }
        }
        parts
            .extend((0..).zip(GRPC).filter(|&(number, _)| self.contains_grpc(number)).map(|(_, name)| name.to_owned()));
        if parts.is_empty() { f.write_str("none") } else { f.write_str(&parts.join(", ")) }
    }
}
