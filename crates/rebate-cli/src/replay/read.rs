//! Reads the log on several threads: each takes the next chunk and reads its lines.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use memchr::memchr_iter;

use super::input::Input;
use super::keys::{Dictionary, KeyId, Shard};
use super::parse::{BadLine, LineParser};
use super::progress::Progress;

/// How many bad lines are shown.
pub(crate) const SHOWN: usize = 5;
/// How much of a bad line is shown, in bytes.
const EXCERPT: usize = 100;
pub(crate) const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// One request, in 12 bytes: a log of ten million must fit.
#[derive(Clone, Copy)]
pub(crate) struct Record {
    event: [u32; 2],
    pub(crate) key: KeyId,
}

/// When a request was and what it was answered with, in one number: it orders as its time does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Event(u64);

impl Event {
    /// Times are at most 2^52 and statuses below 2^10.
    pub(crate) fn new(micros: u64, status: u16) -> Self {
        Event(micros << 10 | u64::from(status))
    }

    pub(crate) fn micros(self) -> u64 {
        self.0 >> 10
    }

    pub(crate) fn status(self) -> u16 {
        (self.0 & 0x3ff) as u16
    }
}

impl Record {
    /// Its key is filled in later.
    fn new(event: Event) -> Self {
        Record { event: [(event.0 >> 32) as u32, event.0 as u32], key: KeyId::default() }
    }

    pub(crate) fn event(self) -> Event {
        Event(u64::from(self.event[0]) << 32 | u64::from(self.event[1]))
    }
}

/// What the log holds.
pub(crate) struct Log {
    /// The requests of each chunk, chunks and requests in the order of their lines.
    pub(crate) chunks: Vec<Vec<Record>>,
    pub(crate) keys: Vec<Shard>,
    /// Lines, blank ones too.
    pub(crate) lines: u64,
    pub(crate) bad_lines: u64,
    /// Lines whose key is `-`.
    pub(crate) without_key: u64,
    /// The first bad lines.
    pub(crate) shown: Vec<Shown>,
}

/// A bad line, to be shown.
pub(crate) struct Shown {
    /// Counted from 1.
    pub(crate) line: u64,
    pub(crate) reason: BadLine,
    pub(crate) excerpt: String,
}

#[derive(Default)]
struct Chunk {
    number: usize,
    lines: u64,
    bad_lines: u64,
    without_key: u64,
    /// Their lines are counted from 0 within the chunk.
    shown: Vec<Shown>,
    records: Vec<Record>,
}

/// Reads all of it; with `strict` at least up to the first bad line, in which case that is shown.
pub(crate) fn read(
    input: Input,
    parser: &LineParser,
    strict: bool,
    threads: usize,
    progress: &Progress,
) -> io::Result<Log> {
    let reader =
        Reader { input: Mutex::new(input), dictionary: Dictionary::new(), stop: AtomicBool::new(false), strict };
    let chunks: io::Result<Vec<Vec<Chunk>>> = thread::scope(|scope| {
        let work = || scope.spawn(|| reader.work(parser.clone(), progress));
        let workers: Vec<_> = (0..threads).map(|_| work()).collect();
        workers
            .into_iter()
            .map(|worker| worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    });
    let mut chunks: Vec<Chunk> = chunks?.into_iter().flatten().collect();
    chunks.sort_unstable_by_key(|chunk| chunk.number);
    let mut log = Log {
        chunks: Vec::with_capacity(chunks.len()),
        keys: reader.dictionary.into_shards(),
        lines: 0,
        bad_lines: 0,
        without_key: 0,
        shown: Vec::new(),
    };
    log.keys.iter_mut().for_each(Shard::close);
    for chunk in chunks {
        let room = SHOWN - log.shown.len();
        let numbered = |shown: Shown| Shown { line: log.lines + shown.line + 1, ..shown };
        log.shown.extend(chunk.shown.into_iter().take(room).map(numbered));
        log.lines += chunk.lines;
        log.bad_lines += chunk.bad_lines;
        log.without_key += chunk.without_key;
        log.chunks.push(chunk.records);
    }
    Ok(log)
}

struct Reader {
    input: Mutex<Input>,
    dictionary: Dictionary,
    /// Something has gone wrong: take no more chunks.
    stop: AtomicBool,
    strict: bool,
}

impl Reader {
    fn work(&self, mut parser: LineParser, progress: &Progress) -> io::Result<Vec<Chunk>> {
        let (mut chunks, mut bytes) = (Vec::new(), Vec::new());
        while !self.stop.load(Ordering::Relaxed) {
            let next = self.input.lock().unwrap_or_else(PoisonError::into_inner).next_chunk(&mut bytes);
            let chunk =
                next.and_then(|number| number.map(|number| self.lines(number, &bytes, &mut parser)).transpose());
            match chunk {
                Ok(Some(chunk)) => {
                    progress.read(chunk.lines);
                    if self.strict && chunk.bad_lines > 0 {
                        self.stop.store(true, Ordering::Relaxed);
                    }
                    chunks.push(chunk);
                }
                Ok(None) => break,
                Err(error) => {
                    self.stop.store(true, Ordering::Relaxed);
                    return Err(error);
                }
            }
        }
        Ok(chunks)
    }

    fn lines(&self, number: usize, bytes: &[u8], parser: &mut LineParser) -> io::Result<Chunk> {
        let bytes = if number == 0 { bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(bytes) } else { bytes };
        let breaks = memchr_iter(b'\n', bytes).count();
        let mut chunk = Chunk { number, records: Vec::with_capacity(breaks + 1), ..Chunk::default() };
        let mut keys = Vec::with_capacity(breaks + 1);
        let mut start = 0;
        let unended = (!bytes.is_empty() && !bytes.ends_with(b"\n")).then_some(bytes.len());
        for end in memchr_iter(b'\n', bytes).chain(unended) {
            let line = &bytes[start..end];
            start = end + 1;
            match parser.parse(line) {
                Ok(Some(parsed)) => match parsed.key {
                    Some(key) => {
                        keys.push(self.dictionary.hashed(key));
                        chunk.records.push(Record::new(Event::new(parsed.micros, parsed.status)));
                    }
                    None => chunk.without_key += 1,
                },
                Ok(None) => {}
                Err(reason) => {
                    chunk.bad_lines += 1;
                    if chunk.shown.len() < SHOWN {
                        chunk.shown.push(Shown { line: chunk.lines, reason, excerpt: excerpt(line) });
                    }
                }
            }
            chunk.lines += 1;
        }
        self.dictionary
            .number_all(&keys, |at, key| chunk.records[at].key = key)
            .map_err(|_| io::Error::other("it has too many different keys: over four billion, or 1 TiB of them"))?;
        if chunk.records.len() < chunk.records.capacity() / 2 {
            chunk.records.shrink_to_fit();
        }
        Ok(chunk)
    }
}

/// The beginning of a line, with nothing in it that a terminal would obey.
pub(crate) fn excerpt(line: &[u8]) -> String {
    let cut = line.len() > EXCERPT;
    let text = String::from_utf8_lossy(&line[..line.len().min(EXCERPT)]);
    printable(text.trim_end_matches(['\r', '\u{fffd}'])) + if cut { "…" } else { "" }
}

/// A text as it can be printed: control characters are escaped.
pub(crate) fn printable(text: &str) -> String {
    text.chars().flat_map(|c| if unprintable(c) { c.escape_default().collect() } else { vec![c] }).collect()
}

/// Whether a terminal would do something else than show it: control characters, and those that turn the direction
/// of what follows.
pub(crate) fn unprintable(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}
