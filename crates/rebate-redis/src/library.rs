//! The functions that run inside the server.

/// A library of server functions: its text, and the suffix its functions' names bear, made from the text, so that two
/// releases live side by side on one server.
pub(crate) struct Library {
    pub(crate) source: String,
    pub(crate) suffix: String,
}
