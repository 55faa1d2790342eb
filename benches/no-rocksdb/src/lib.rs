//! In the place of RocksDB, so that limitador's Redis storage compiles without it. There is no database: opening one is
//! an error, so that nothing behind it can be reached.

use std::fmt;
use std::marker::PhantomData;
use std::path::Path;

/// No database.
pub struct DBWithThreadMode<T>(Nothing, PhantomData<T>);
/// No database.
pub type DB = DBWithThreadMode<MultiThreaded>;
/// A mode.
pub struct MultiThreaded;

/// No value of this can be made.
enum Nothing {}

/// Why there is no database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error;

/// The kinds that limitador looks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ErrorKind {
    NotSupported,
    TimedOut,
    TryAgain,
}

impl Error {
    pub fn kind(&self) -> ErrorKind {
        ErrorKind::NotSupported
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the benches are built without RocksDB")
    }
}

impl std::error::Error for Error {}

type Entry = Result<(Box<[u8]>, Box<[u8]>), Error>;

impl<T> DBWithThreadMode<T> {
    pub fn open(_options: &Options, _path: impl AsRef<Path>) -> Result<Self, Error> {
        Err(Error)
    }

    pub fn get(&self, _key: impl AsRef<[u8]>) -> Result<Option<Vec<u8>>, Error> {
        match self.0 {}
    }

    pub fn delete(&self, _key: impl AsRef<[u8]>) -> Result<(), Error> {
        match self.0 {}
    }

    pub fn merge(&self, _key: impl AsRef<[u8]>, _value: impl AsRef<[u8]>) -> Result<(), Error> {
        match self.0 {}
    }

    pub fn iterator(&self, _mode: IteratorMode) -> std::iter::Empty<Entry> {
        match self.0 {}
    }

    pub fn prefix_iterator(&self, _prefix: impl AsRef<[u8]>) -> std::iter::Empty<Entry> {
        match self.0 {}
    }
}

/// Where an iteration begins.
pub enum IteratorMode {
    Start,
}

/// How files are compressed.
pub enum DBCompressionType {
    None,
    Bz2,
}

/// What becomes of an entry.
pub enum CompactionDecision {
    Keep,
    Remove,
}

/// What is merged.
pub struct MergeOperands(());

impl<'a> IntoIterator for &'a MergeOperands {
    type Item = &'a [u8];
    type IntoIter = std::iter::Empty<&'a [u8]>;

    fn into_iter(self) -> Self::IntoIter {
        std::iter::empty()
    }
}

/// No options.
#[derive(Default)]
pub struct Options(());

impl Options {
    pub fn create_if_missing(&mut self, _create: bool) {}

    pub fn set_compression_type(&mut self, _kind: DBCompressionType) {}

    pub fn set_compaction_filter<F>(&mut self, _name: &str, _filter: F)
    where
        F: FnMut(u32, &[u8], &[u8]) -> CompactionDecision + Send + 'static,
    {
    }

    pub fn set_merge_operator_associative<F>(&mut self, _name: &str, _merge: F)
    where
        F: Fn(&[u8], Option<&[u8]>, &MergeOperands) -> Option<Vec<u8>> + Clone + Send + Sync + 'static,
    {
    }
}
