//! How far it has got, on a terminal.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A bar on standard error; nothing where that is no terminal.
pub(crate) struct Progress {
    bar: ProgressBar,
    lines: AtomicU64,
    taken: Arc<AtomicU64>,
}

impl Progress {
    /// While the log is read, of which `taken` bytes have been.
    pub(crate) fn reading(taken: Arc<AtomicU64>, size: Option<u64>) -> Self {
        let bar = ProgressBar::with_draw_target(size, ProgressDrawTarget::stderr());
        let template = match size {
            Some(_) => "{wide_bar} {bytes}/{total_bytes} {msg} {eta}",
            None => "{spinner} {bytes} {msg} {elapsed}",
        };
        Self::show(bar, template, taken)
    }

    /// While `shards` shards of keys are decided.
    pub(crate) fn deciding(shards: usize) -> Self {
        let bar = ProgressBar::with_draw_target(Some(shards as u64), ProgressDrawTarget::stderr());
        Self::show(bar, "{wide_bar} {percent} % of the keys {eta}", Arc::default())
    }

    /// A chunk of so many lines has been read.
    pub(crate) fn read(&self, lines: u64) {
        let lines = self.lines.fetch_add(lines, Ordering::Relaxed) + lines;
        self.bar.set_position(self.taken.load(Ordering::Relaxed));
        if !self.bar.is_hidden() {
            self.bar.set_message(format!("{} lines", super::table::grouped(lines)));
        }
    }

    /// A shard has been decided.
    pub(crate) fn decided(&self) {
        self.bar.inc(1);
    }

    fn show(bar: ProgressBar, template: &str, taken: Arc<AtomicU64>) -> Self {
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        if !bar.is_hidden() {
            bar.enable_steady_tick(Duration::from_millis(200));
        }
        Progress { bar, lines: AtomicU64::new(0), taken }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
