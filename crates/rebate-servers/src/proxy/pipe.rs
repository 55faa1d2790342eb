//! The threads of one connection of a [`Proxy`](super::Proxy): for each way one that reads and judges, and one
//! that writes when it is time. Two, so that a delay makes nothing wait for what came before it.

use super::{Connection, Fault, Shared};
use std::io::{Read, Write};
use std::net::Shutdown;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

/// Chunks that are under way on one connection; past it the sender has to wait.
const UNDER_WAY: usize = 1024;

#[derive(Clone, Copy, PartialEq)]
enum Way {
    Request,
    Reply,
}

struct Chunk {
    due: Instant,
    bytes: Vec<u8>,
}

/// What is to be done with bytes that were read.
enum Verdict {
    Pass(Duration),
    Swallow,
    /// Passes so many of them, then closes.
    Cut(usize),
}

pub(super) fn start(shared: &Arc<Shared>, number: u64, connection: &Arc<Connection>) {
    shared.lock().threads += 4;
    let left = Arc::new(AtomicUsize::new(4));
    for way in [Way::Request, Way::Reply] {
        let (sender, receiver) = sync_channel(UNDER_WAY);
        let pipe = || Pipe {
            shared: Arc::clone(shared),
            connection: Arc::clone(connection),
            number,
            way,
            left: Arc::clone(&left),
            counted: (0, 0),
        };
        let (mut reading, writing) = (pipe(), pipe());
        std::thread::spawn(move || reading.read(sender));
        std::thread::spawn(move || writing.write(receiver));
    }
}

struct Pipe {
    shared: Arc<Shared>,
    connection: Arc<Connection>,
    number: u64,
    way: Way,
    /// Threads of this connection that have not ended.
    left: Arc<AtomicUsize>,
    /// The setting for which bytes were counted, and how many.
    counted: (u64, u64),
}

impl Pipe {
    fn read(&mut self, sender: SyncSender<Chunk>) {
        let (mut source, counter) = match self.way {
            Way::Request => (&self.connection.client, &self.shared.request_bytes),
            Way::Reply => (&self.connection.server, &self.shared.reply_bytes),
        };
        let shared = Arc::clone(&self.shared);
        let mut buffer = vec![0; 16 * 1024];
        loop {
            let read = match source.read(&mut buffer) {
                Ok(0) | Err(_) => return,
                Ok(read) => read,
            };
            counter.fetch_add(read as u64, Ordering::SeqCst);
            let (delay, passed, cut) = match judge(&shared, &self.connection, self.way, &mut self.counted, read) {
                Verdict::Pass(delay) => (delay, read, false),
                Verdict::Swallow => continue,
                Verdict::Cut(passed) => (Duration::ZERO, passed, true),
            };
            let chunk = Chunk { due: Instant::now() + delay, bytes: buffer[..passed].to_vec() };
            // The writer is gone when the connection is closed. After a cut the writer, left alone, closes it.
            if sender.send(chunk).is_err() || cut {
                return;
            }
        }
    }

    fn write(&self, receiver: Receiver<Chunk>) {
        let mut sink = match self.way {
            Way::Request => &self.connection.server,
            Way::Reply => &self.connection.client,
        };
        for chunk in receiver {
            if chunk.due > Instant::now() {
                self.shared.sleep(&self.connection, chunk.due);
            }
            if self.connection.closed.load(Ordering::SeqCst) || sink.write_all(&chunk.bytes).is_err() {
                // A client that does not wait for its replies: the server acts on what it was sent all the same.
                if self.way == Way::Request {
                    self.connection.close();
                }
                return;
            }
        }
        match self.way {
            // The client says no more, and may yet listen.
            Way::Request => drop(sink.shutdown(Shutdown::Write)),
            Way::Reply => self.connection.close(),
        }
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        let last = self.left.fetch_sub(1, Ordering::SeqCst) == 1;
        let mut state = self.shared.lock();
        state.threads -= 1;
        if last {
            state.open.remove(&self.number);
        }
        self.shared.changed.notify_all();
    }
}

/// Says what becomes of `read` bytes, under the lock under which faults are set.
fn judge(shared: &Shared, connection: &Connection, way: Way, counted: &mut (u64, u64), read: usize) -> Verdict {
    let mut state = shared.lock();
    match (state.fault, way) {
        (Fault::Hole, _) => {
            connection.lost.store(true, Ordering::SeqCst);
            Verdict::Swallow
        }
        (Fault::Delay { requests, .. }, Way::Request) => Verdict::Pass(requests),
        (Fault::Delay { replies, .. }, Way::Reply) => Verdict::Pass(replies),
        (Fault::Truncate(bytes), Way::Reply) => {
            if counted.0 != state.setting {
                *counted = (state.setting, 0);
            }
            let left = (bytes - counted.1).min(read as u64);
            counted.1 += left;
            if counted.1 == bytes { Verdict::Cut(left as usize) } else { Verdict::Pass(Duration::ZERO) }
        }
        (Fault::LoseReplies, Way::Reply) => Verdict::Cut(0),
        (Fault::LoseNextReply, Way::Reply) => {
            state.fault = Fault::Nothing;
            state.setting += 1;
            Verdict::Cut(0)
        }
        (Fault::Nothing | Fault::Refuse | Fault::Truncate(_) | Fault::LoseReplies | Fault::LoseNextReply, _) => {
            Verdict::Pass(Duration::ZERO)
        }
    }
}
