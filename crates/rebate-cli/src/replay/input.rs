//! Where the log comes from: a file or standard input, gzipped or not, in chunks of whole lines.

use std::fs::File;
use std::io::{self, Cursor, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use flate2::read::MultiGzDecoder;
use memchr::{memchr, memrchr};

use super::parse::MAX_LINE;

/// How much is read at a time.
const CHUNK: usize = 1 << 20;

/// A log, opened.
pub(crate) struct Input {
    reader: Box<dyn Read + Send>,
    /// Bytes taken from the file, packed or not.
    pub(crate) taken: Arc<AtomicU64>,
    /// The file's size, where it has one.
    pub(crate) size: Option<u64>,
    /// The beginning of the next chunk's first line.
    carry: Vec<u8>,
    next: usize,
    /// Whether what comes next is the rest of a line that was too long.
    skipping: bool,
    ended: bool,
}

impl Input {
    /// Opens the file at `path`, or standard input for `-`.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        if path.as_os_str() == "-" {
            return Input::new(io::stdin(), None);
        }
        let file = File::open(path)?;
        let metadata = file.metadata()?;
        if metadata.is_dir() {
            return Err(io::Error::other("it is a directory"));
        }
        Input::new(file, metadata.is_file().then_some(metadata.len()))
    }

    /// Reads from `reader`. Whether it is gzipped its first bytes tell.
    pub(crate) fn new(reader: impl Read + Send + 'static, size: Option<u64>) -> io::Result<Self> {
        let taken = Arc::new(AtomicU64::new(0));
        let mut reader = Counted { reader, taken: Arc::clone(&taken) };
        let mut magic = Vec::with_capacity(2);
        reader.by_ref().take(2).read_to_end(&mut magic)?;
        let zipped = magic == [0x1f, 0x8b];
        let whole = Cursor::new(magic).chain(reader);
        // Several gzip files one after the other are one.
        let reader: Box<dyn Read + Send> = if zipped { Box::new(MultiGzDecoder::new(whole)) } else { Box::new(whole) };
        Ok(Input { reader, taken, size, carry: Vec::new(), next: 0, skipping: false, ended: false })
    }

    /// Fills `chunk` with the next whole lines and answers its number; `None` at the end. A line longer than
    /// [`MAX_LINE`] comes alone, cut somewhere above that.
    pub(crate) fn next_chunk(&mut self, chunk: &mut Vec<u8>) -> io::Result<Option<usize>> {
        chunk.clear();
        chunk.append(&mut self.carry);
        while !self.ended {
            // What was carried over holds no line break.
            let mut unsearched = chunk.len();
            chunk.reserve(CHUNK);
            let read = self.reader.by_ref().take(CHUNK as u64).read_to_end(chunk)?;
            self.ended = read < CHUNK;
            if self.skipping {
                match memchr(b'\n', chunk) {
                    Some(end) => drop(chunk.drain(..=end)),
                    None => {
                        chunk.clear();
                        continue;
                    }
                }
                self.skipping = false;
                unsearched = 0;
            }
            if self.ended {
                break;
            }
            if let Some(end) = memrchr(b'\n', &chunk[unsearched..]) {
                let whole = unsearched + end + 1;
                self.carry.extend_from_slice(&chunk[whole..]);
                chunk.truncate(whole);
                return Ok(Some(self.number()));
            }
            if chunk.len() > MAX_LINE {
                self.skipping = true;
                return Ok(Some(self.number()));
            }
        }
        Ok(if chunk.is_empty() { None } else { Some(self.number()) })
    }

    fn number(&mut self) -> usize {
        self.next += 1;
        self.next - 1
    }
}

struct Counted<R> {
    reader: R,
    taken: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.reader.read(buffer)?;
        self.taken.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunks(bytes: Vec<u8>) -> Vec<Vec<u8>> {
        let mut input = Input::new(Cursor::new(bytes), None).expect("memory can be read");
        let (mut chunks, mut chunk) = (Vec::new(), Vec::new());
        while let Some(number) = input.next_chunk(&mut chunk).expect("memory can be read") {
            assert_eq!(number, chunks.len());
            chunks.push(chunk.clone());
        }
        chunks
    }

    #[test]
    fn chunks_are_whole_lines_and_nothing_is_lost() {
        let text: Vec<u8> = (0..400_000).flat_map(|i| format!("line {i}\n").into_bytes()).collect();
        let chunks = chunks(text.clone());
        assert!(chunks.len() > 1 && chunks.iter().all(|chunk| chunk.ends_with(b"\n")));
        assert_eq!(chunks.concat(), text);
    }

    #[test]
    fn the_last_line_needs_no_break_and_nothing_is_no_chunk() {
        assert_eq!(chunks(b"one\ntwo".to_vec()), [b"one\ntwo"]);
        assert_eq!(chunks(b"a".to_vec()), [b"a"]);
        assert!(chunks(Vec::new()).is_empty());
    }

    #[test]
    fn a_line_that_is_too_long_is_cut_and_its_rest_passed_over() {
        let mut text = b"first\n".to_vec();
        text.extend(vec![b'x'; 7 * CHUNK]);
        text.extend(b"\nlast\n");
        let chunks = chunks(text);
        assert_eq!(chunks.len(), 3);
        assert_eq!((&chunks[0][..], &chunks[2][..]), (&b"first\n"[..], &b"last\n"[..]));
        assert!(chunks[1].len() > MAX_LINE && chunks[1].iter().all(|&byte| byte == b'x'));
    }
}
