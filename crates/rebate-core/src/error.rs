//! The one error type.

use std::error::Error as StdError;
use std::fmt;

/// Trouble with a store, or a caller's mistake. A denial is never an `Error`.
///
/// | predicate | what it means | try again? |
/// | --- | --- | --- |
/// | [`is_invalid`](Error::is_invalid) | the request, limit or text is wrong | no: correct it |
/// | [`is_conflict`](Error::is_conflict) | an idempotency key was used for another charge, or a limit's name for another limit | no |
/// | [`is_cross_group`](Error::is_cross_group) | the keys lie in different atomic groups of the store | no: charge them apart |
/// | [`is_full`](Error::is_full) | the store is at its memory cap | later |
/// | [`is_unavailable`](Error::is_unavailable) | the store cannot be reached | later |
/// | [`is_bad_token`](Error::is_bad_token) | a receipt's token cannot be used | no |
///
/// ```
/// use rebate_core::Limit;
///
/// let error = Limit::new("attempts", "10/fortnight").unwrap_err();
/// assert!(error.is_invalid());
/// assert_eq!(error.position(), Some(3));
/// ```
pub struct Error {
    /// Boxed, so that an answer is no larger for the errors it might have been.
    inner: Box<Inner>,
}

struct Inner {
    kind: Kind,
    text: Box<str>,
    position: Option<usize>,
    may_have_happened: bool,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Invalid,
    Conflict,
    CrossGroup,
    Full,
    Unavailable,
    Token(TokenFault),
}

/// What is wrong with a receipt's token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TokenFault {
    Malformed,
    Truncated,
    Forged,
    Version,
    OtherStore,
}

impl Error {
    /// A mistake in a request, a limit or a text. For those who write stores.
    pub fn invalid(text: impl Into<String>) -> Self {
        Self::of(Kind::Invalid, text)
    }

    /// A mistake at byte `position` of `input`. The message shows the place.
    pub(crate) fn at(input: &str, position: usize, text: impl fmt::Display) -> Self {
        let shown: String = input.chars().take(200).map(|c| if c.is_control() { '·' } else { c }).collect();
        let column = input.get(..position).map_or(0, |before| before.chars().count());
        let mark = if column <= 200 { format!("\n  {}^", " ".repeat(column)) } else { String::new() };
        let mut error = Self::invalid(format!("{text}\n  {shown}{mark}"));
        error.inner.position = Some(position);
        error
    }

    /// One name used for two things. For those who write stores.
    pub fn conflict(text: impl Into<String>) -> Self {
        Self::of(Kind::Conflict, text)
    }

    /// Keys of different atomic groups in one charge. For those who write stores.
    pub fn cross_group(text: impl Into<String>) -> Self {
        Self::of(Kind::CrossGroup, text)
    }

    /// The store is at its memory cap; nothing happened. For those who write stores.
    pub fn full(text: impl Into<String>) -> Self {
        Self::of(Kind::Full, text)
    }

    /// The store cannot be reached; `may_have_happened` tells whether the request may have taken
    /// effect all the same. For those who write stores.
    pub fn unavailable(text: impl Into<String>, may_have_happened: bool) -> Self {
        let mut error = Self::of(Kind::Unavailable, text);
        error.inner.may_have_happened = may_have_happened;
        error
    }

    pub(crate) fn token(fault: TokenFault, text: impl Into<String>) -> Self {
        Self::of(Kind::Token(fault), text)
    }

    /// The same error with its cause kept. For those who write stores.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.inner.source = Some(source.into());
        self
    }

    /// Whether the request, limit or text is wrong: a caller's mistake.
    pub fn is_invalid(&self) -> bool {
        self.inner.kind == Kind::Invalid
    }

    /// Whether an idempotency key or a limit's name is in use for something else.
    pub fn is_conflict(&self) -> bool {
        self.inner.kind == Kind::Conflict
    }

    /// Whether one charge named keys that the store cannot charge together.
    pub fn is_cross_group(&self) -> bool {
        self.inner.kind == Kind::CrossGroup
    }

    /// Whether the store is at its memory cap.
    pub fn is_full(&self) -> bool {
        self.inner.kind == Kind::Full
    }

    /// Whether the store could not be reached.
    pub fn is_unavailable(&self) -> bool {
        self.inner.kind == Kind::Unavailable
    }

    /// Whether a token cannot be used, for any of the five reasons below.
    pub fn is_bad_token(&self) -> bool {
        matches!(self.inner.kind, Kind::Token(_))
    }

    /// Whether a token is not of a token's form.
    pub fn is_malformed_token(&self) -> bool {
        self.inner.kind == Kind::Token(TokenFault::Malformed)
    }

    /// Whether a token ends too early.
    pub fn is_truncated_token(&self) -> bool {
        self.inner.kind == Kind::Token(TokenFault::Truncated)
    }

    /// Whether a token's signature is missing or wrong.
    pub fn is_forged_token(&self) -> bool {
        self.inner.kind == Kind::Token(TokenFault::Forged)
    }

    /// Whether a token is of a version that this release does not read.
    pub fn is_token_version(&self) -> bool {
        self.inner.kind == Kind::Token(TokenFault::Version)
    }

    /// Whether a token or receipt was issued by another store.
    pub fn is_other_store(&self) -> bool {
        self.inner.kind == Kind::Token(TokenFault::OtherStore)
    }

    /// Whether the operation may have taken effect in spite of the error. When this is `false` it
    /// certainly did not.
    pub fn may_have_happened(&self) -> bool {
        self.inner.may_have_happened
    }

    /// Whether the same request can succeed later. Do not repeat one that
    /// [may have happened](Error::may_have_happened) without an idempotency key.
    pub fn is_retryable(&self) -> bool {
        matches!(self.inner.kind, Kind::Full | Kind::Unavailable)
    }

    /// For an error in a text, the byte at which it went wrong.
    pub fn position(&self) -> Option<usize> {
        self.inner.position
    }

    #[cold]
    fn of(kind: Kind, text: impl Into<String>) -> Self {
        Error {
            inner: Box::new(Inner {
                kind,
                text: text.into().into(),
                position: None,
                may_have_happened: false,
                source: None,
            }),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.inner.text)?;
        if self.inner.may_have_happened {
            f.write_str(" (it may have taken effect)")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("kind", &self.inner.kind)
            .field("text", &self.inner.text)
            .field("may_have_happened", &self.inner.may_have_happened)
            .field("source", &self.inner.source)
            .finish()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.inner.source.as_deref().map(|source| source as _)
    }
}
