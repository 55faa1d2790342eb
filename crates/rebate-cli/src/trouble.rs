//! Why the program cannot do what it was asked, and what its exit status says of it.

use std::io;

use rebate::Error;

/// Why the program cannot do what it was asked.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// The command line, or a token given there, is wrong.
    Usage(String),
    /// A log, a file or a store is in trouble.
    Failed(String),
    /// Whoever read the output has gone.
    NobodyReads,
}

impl Trouble {
    /// The output could not be written.
    pub(crate) fn of_output(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Trouble::NobodyReads,
            _ => Trouble::Failed(format!("cannot write the answer: {error}")),
        }
    }
}

impl From<Error> for Trouble {
    /// A store's trouble comes and goes; all other errors are what it was asked.
    fn from(error: Error) -> Self {
        if error.is_retryable() { Trouble::Failed(error.to_string()) } else { Trouble::Usage(error.to_string()) }
    }
}
