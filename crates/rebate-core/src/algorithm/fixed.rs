//! Fixed windows: aligned to the epoch, to the calendar, or opened by the first charge.
//!
//! A charge counts in the window that its time falls into, until that window's end (half-open: at
//! the end it no longer counts). A count's time is the later of the clock and its window's start;
//! when the clock is before the start by more than the window's length, the count follows the
//! clock and starts afresh.

use crate::algorithm::{Grant, Returned, Verdict};
use crate::calendar::Calendar;
use crate::decision::{Retry, Status};
use crate::marks::{Credit, MAX_UNIT, Marks, Units};

/// A fixed-window limit.
#[derive(Clone, Debug, PartialEq)]
pub struct Fixed {
    /// Units per window, at most 2^52.
    pub quota: u64,
    /// Where windows begin and end.
    pub layout: Layout,
}

/// Where windows begin and end.
#[derive(Clone, Debug, PartialEq)]
pub enum Layout {
    /// Windows of so many microseconds, the first at the epoch.
    Aligned(u64),
    /// Windows of so many microseconds, each from its first charge.
    FromFirst(u64),
    /// Days, weeks, months or years.
    Calendar(Calendar),
}

/// One window instance of one count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Its identity.
    pub instance: u64,
    /// Its first microsecond.
    pub start: u64,
    /// The microsecond after its last.
    pub end: u64,
    /// Units charged, whether or not refunded since.
    pub gross: u64,
    /// Units refunded.
    pub refunded: u64,
}

impl Window {
    /// Units that count.
    #[inline(always)]
    pub fn used(&self) -> u64 {
        self.gross.saturating_sub(self.refunded)
    }

    /// The window, if it is the one that counts at `now`.
    #[inline(always)]
    pub fn live(self, now: u64) -> Option<Window> {
        let stepped_back_too_far = || self.start - now > self.end - self.start;
        if now >= self.end || (now < self.start && stepped_back_too_far()) { None } else { Some(self) }
    }
}

impl Fixed {
    /// Decides a charge of `cost` at `now`; `fresh` becomes the identity of a window it opens.
    #[inline(always)]
    pub fn charge(&self, state: Option<Window>, cost: u64, now: u64, fresh: u64) -> Verdict<Window> {
        self.charge_live(state.and_then(|window| window.live(now)), cost, now, fresh)
    }

    /// The same for a window already found to be [live](Window::live).
    #[inline(always)]
    pub fn charge_live(&self, live: Option<Window>, cost: u64, now: u64, fresh: u64) -> Verdict<Window> {
        if cost > self.quota {
            let status = match live {
                Some(window) => Status::new(self.quota, self.quota.saturating_sub(window.used()), window.end - now),
                None => self.status(None, now),
            };
            return Verdict::Denied { retry: Retry::Never, status };
        }
        let mut window = match live {
            Some(window) => window,
            None => self.open(now, fresh),
        };
        let used = window.used();
        // Not `used + cost <= quota`: a cost may be any number.
        if cost > self.quota.saturating_sub(used) {
            let left = window.end - now;
            let status = Status::new(self.quota, self.quota.saturating_sub(used), left);
            return Verdict::Denied { retry: Retry::after_micros(left), status };
        }
        if window.gross > MAX_UNIT - cost {
            window = Window { instance: fresh, gross: used, refunded: 0, ..window };
        }
        window.gross += cost;
        Verdict::Admitted {
            state: window,
            grant: Grant { instance: window.instance, last: window.gross },
            status: Status::new(self.quota, self.quota - used - cost, window.end - now),
        }
    }

    /// Quota, remaining and reset at `now`.
    #[inline]
    pub fn status(&self, state: Option<Window>, now: u64) -> Status {
        match (state.and_then(|window| window.live(now)), &self.layout) {
            (Some(window), _) => Status::new(self.quota, self.quota.saturating_sub(window.used()), window.end - now),
            (None, Layout::FromFirst(_)) => Status::new(self.quota, self.quota, 0),
            (None, layout) => Status::new(self.quota, self.quota, layout.bounds(now).1 - now),
        }
    }

    #[inline]
    fn open(&self, now: u64, fresh: u64) -> Window {
        let (start, end) = self.layout.bounds(now);
        Window { instance: fresh, start, end, gross: 0, refunded: 0 }
    }
}

impl Layout {
    /// The window that holds `now`, or would be opened at it: its start and end.
    #[inline]
    pub fn bounds(&self, now: u64) -> (u64, u64) {
        match self {
            Layout::Aligned(span) => {
                let start = now - now % span;
                (start, start + span)
            }
            Layout::FromFirst(span) => (now, now + span),
            Layout::Calendar(calendar) => calendar.bounds(now),
        }
    }
}

/// Gives back up to `total` of `units`. `closes` says whether a count refunded to zero ends, as a
/// from-first window does.
#[inline]
pub fn refund(
    window: &mut Window,
    marks: &mut Marks,
    instance: u64,
    units: Units,
    total: u64,
    now: u64,
    closes: bool,
) -> Returned {
    if window.instance != instance
        || window.live(now).is_none()
        || !units.issued_by(window.gross)
        || marks.forgot(units.last)
    {
        return Returned::EXPIRED;
    }
    let already = marks.given_back(units);
    let newly = marks.mark(units, total, Credit::default(), 1);
    window.refunded += newly;
    Returned {
        now: newly,
        // Not asked of the marks, which may just have forgotten it.
        in_all: already + newly,
        expired: false,
        closed: closes && window.used() == 0,
    }
}
