//! A log's requests under a rule file: each charged to what its rule says, in the order of time.

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use rebate::rules::{Chosen, Exemption, KeyBuffer, Rules, Uncharged};
use rebate::{Decision, Error, Item, Key, KeyRef, ManualClock, Timestamp};
use smallvec::SmallVec;

use super::input::Input;
use super::parse::{LineParser, RequestLine};
use super::progress::Progress;
use super::read::{BYTE_ORDER_MARK, Event, SHOWN, Shown, excerpt};
use super::rules_report::{self, RulesReport};
use super::{shape, show_bad_lines, source, store, write_report};
use crate::arguments::ReplayArguments;
use crate::rules::explain::target_path;
use crate::rules::subject::Told;
use crate::trouble::Trouble;

/// Replays the log under the rules in `file`.
pub(super) fn run(arguments: &ReplayArguments, file: &Path) -> Result<(), Trouble> {
    if file.as_os_str() == "-" && arguments.file.as_os_str() == "-" {
        return Err(Trouble::Usage("the rules and the log cannot both be standard input".to_owned()));
    }
    let started = Instant::now();
    let rules = crate::rules::read(file)?;
    let name = source(arguments);
    let cannot_read = |error: io::Error| Trouble::Failed(format!("cannot read {name}: {error}"));
    let input = Input::open(&arguments.file).map_err(cannot_read)?;
    let mut reader = Reader::new(&rules, LineParser::new(shape(arguments)), arguments.strict);
    reader.read(input).map_err(cannot_read)?;
    let nothing_read = reader.tally.lines == reader.tally.bad_lines;
    show_bad_lines(&reader.shown, reader.tally.bad_lines, nothing_read, arguments, &name)?;
    let Reader { mut records, demands, keys, mut tally, .. } = reader;
    // Stable, so that those of one moment stay in the order of their lines.
    records.sort_by_key(|record| record.event.micros());
    decide(&rules, &records, &demands.known, &keys.known, &mut tally)
        .map_err(|error| Trouble::Failed(format!("cannot replay {name}: {error}")))?;
    let report = RulesReport::new(&rules, arguments, &name, file, tally, &keys.known);
    let text = if arguments.json { report.json() } else { rules_report::print(&report, started.elapsed()) };
    write_report(&text)
}

/// One request that is charged something.
struct Record {
    event: Event,
    demand: u32,
}

/// What a request is charged: each limit's number, the key's number and the cost.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Demand {
    rules: SmallVec<[usize; 1]>,
    lines: SmallVec<[(usize, u32, u64); 2]>,
}

/// Things, each once, named by numbers.
struct Once<T> {
    numbers: HashMap<T, u32>,
    known: Vec<T>,
}

impl<T: Clone + std::hash::Hash + Eq> Once<T> {
    fn number(&mut self, thing: T) -> io::Result<u32> {
        if let Some(&number) = self.numbers.get(&thing) {
            return Ok(number);
        }
        let number = u32::try_from(self.known.len())
            .map_err(|_| io::Error::other("it has too many different keys: over four billion"))?;
        self.known.push(thing.clone());
        self.numbers.insert(thing, number);
        Ok(number)
    }
}

/// What became of the requests.
#[derive(Default)]
pub(super) struct Tally {
    pub(super) lines: u64,
    pub(super) bad_lines: u64,
    /// The first request's time and the last one's.
    pub(super) span: Option<(u64, u64)>,
    pub(super) outside: u64,
    pub(super) no_rule: u64,
    /// Whose path can be read in too many ways.
    pub(super) unclear: u64,
    pub(super) exempt: u64,
    pub(super) unlimited: u64,
    pub(super) allowed: u64,
    pub(super) denied: u64,
    pub(super) refunded: u64,
    pub(super) rules: Vec<RuleTally>,
    pub(super) limits: Vec<LimitTally>,
    /// By the key's number.
    pub(super) denied_keys: HashMap<u32, DeniedKey>,
}

#[derive(Clone, Default)]
pub(super) struct RuleTally {
    pub(super) allowed: u64,
    pub(super) denied: u64,
    pub(super) refunded: u64,
    /// Requests that lacked the key: those denied, and those that passed.
    pub(super) denied_without_key: u64,
    pub(super) passed_without_key: u64,
}

#[derive(Clone, Default)]
pub(super) struct LimitTally {
    /// Units.
    pub(super) charged: u64,
    pub(super) refunded: u64,
    /// Requests that this limit would not admit.
    pub(super) denied: u64,
}

#[derive(Clone, Default)]
pub(super) struct DeniedKey {
    pub(super) denied: u64,
    pub(super) first: u64,
    pub(super) last: u64,
}

struct Reader<'r> {
    rules: &'r Rules,
    parser: LineParser,
    strict: bool,
    records: Vec<Record>,
    demands: Once<Demand>,
    keys: Once<Key>,
    buffer: KeyBuffer,
    shown: Vec<Shown>,
    tally: Tally,
}

impl<'r> Reader<'r> {
    fn new(rules: &'r Rules, parser: LineParser, strict: bool) -> Self {
        let tally = Tally {
            rules: vec![RuleTally::default(); rules.rules().len()],
            limits: vec![LimitTally::default(); rules.limits().len()],
            ..Tally::default()
        };
        Reader {
            rules,
            parser,
            strict,
            records: Vec::new(),
            demands: Once { numbers: HashMap::new(), known: Vec::new() },
            keys: Once { numbers: HashMap::new(), known: Vec::new() },
            buffer: KeyBuffer::new(),
            shown: Vec::new(),
            tally,
        }
    }

    fn read(&mut self, mut input: Input) -> io::Result<()> {
        let progress = Progress::reading(Arc::clone(&input.taken), input.size);
        let mut chunk = Vec::new();
        while let Some(number) = input.next_chunk(&mut chunk)? {
            let bytes = &chunk[..];
            let bytes = if number == 0 { bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(bytes) } else { bytes };
            let before = self.tally.lines;
            let mut rest = bytes;
            while !rest.is_empty() {
                let end = memchr::memchr(b'\n', rest).map_or(rest.len(), |at| at + 1);
                self.line(&rest[..end])?;
                rest = &rest[end..];
            }
            progress.read(self.tally.lines - before);
            if self.strict && self.tally.bad_lines > 0 {
                break;
            }
        }
        Ok(())
    }

    fn line(&mut self, line: &[u8]) -> io::Result<()> {
        self.tally.lines += 1;
        match self.parser.request(line) {
            Ok(Some(request)) => self.request(&request),
            Ok(None) => Ok(()),
            Err(reason) => {
                self.tally.bad_lines += 1;
                if self.shown.len() < SHOWN {
                    self.shown.push(Shown { line: self.tally.lines, reason, excerpt: excerpt(line) });
                }
                Ok(())
            }
        }
    }

    fn request(&mut self, request: &RequestLine<'_>) -> io::Result<()> {
        let (method, target) = (String::from_utf8_lossy(&request.method), String::from_utf8_lossy(&request.target));
        let (earliest, latest) = self.tally.span.unwrap_or((request.micros, request.micros));
        self.tally.span = Some((earliest.min(request.micros), latest.max(request.micros)));
        let charge = match self.rules.choose(&method, target_path(&target)) {
            Chosen::Charged(charge) => charge,
            Chosen::Exempt(_) => {
                self.tally.exempt += 1;
                return Ok(());
            }
            Chosen::Outside => {
                self.tally.outside += 1;
                return Ok(());
            }
            Chosen::Refused => {
                self.tally.unclear += 1;
                return Ok(());
            }
            Chosen::NoRule | Chosen::Off => {
                self.tally.no_rule += 1;
                return Ok(());
            }
        };
        let address = request.address.as_deref().and_then(|address| std::str::from_utf8(address).ok()?.parse().ok());
        let told = Told { user: request.user.as_deref(), address, ..Told::default() };
        let rule = charge.rule().index();
        match charge.items(&told, &mut self.buffer) {
            Ok(items) => {
                let mut lines = SmallVec::new();
                for (item, limit) in items.iter().zip(items.limits()) {
                    lines.push((limit.index(), self.keys.number(Key::new(item.key))?, item.cost));
                }
                let rules = charge.rules().map(|rule| rule.index()).collect();
                let demand = self.demands.number(Demand { rules, lines })?;
                self.records.push(Record { event: Event::new(request.micros, request.status), demand });
            }
            Err(Uncharged::Exempt(Exemption::Key | Exemption::Network | Exemption::Method | Exemption::Path(_))) => {
                self.tally.exempt += 1;
            }
            Err(Uncharged::Unlimited) => self.tally.unlimited += 1,
            Err(Uncharged::NoKey) => self.tally.rules[rule].passed_without_key += 1,
            Err(Uncharged::Denied(missing)) => self.tally.rules[missing.rule().index()].denied_without_key += 1,
        }
        Ok(())
    }
}

/// Charges the requests, in this order.
fn decide(rules: &Rules, records: &[Record], demands: &[Demand], keys: &[Key], tally: &mut Tally) -> Result<(), Error> {
    let clock = ManualClock::default();
    let limiter = store::limiter(&clock)?;
    for record in records {
        let demand = &demands[record.demand as usize];
        let item = |&(limit, key, cost): &(usize, u32, u64)| {
            let key: KeyRef<'_> = keys[key as usize].as_ref();
            Item::new(rules.limits()[limit].limit(), key).cost(cost)
        };
        let items: SmallVec<[Item<'_>; 4]> = demand.lines.iter().map(item).collect();
        clock.set(Timestamp::from_micros(record.event.micros()));
        match limiter.charge_all_now(&items)? {
            Decision::Allowed(mut receipt) => {
                tally.allowed += 1;
                demand.rules.iter().for_each(|&rule| tally.rules[rule].allowed += 1);
                demand.lines.iter().for_each(|&(limit, _, cost)| tally.limits[limit].charged += cost);
                let status = record.event.status();
                // All rules of a request must say so, as they must to a layer.
                if demand.rules.iter().all(|&rule| rules.rules()[rule].refunds().contains(status)) {
                    let refund = limiter.refund_now(&mut receipt)?;
                    tally.refunded += 1;
                    demand.rules.iter().for_each(|&rule| tally.rules[rule].refunded += 1);
                    for (&(limit, ..), part) in demand.lines.iter().zip(&refund.parts) {
                        tally.limits[limit].refunded += part.given_back;
                    }
                }
            }
            Decision::Denied(denial) => {
                tally.denied += 1;
                demand.rules.iter().for_each(|&rule| tally.rules[rule].denied += 1);
                let mut told: SmallVec<[u32; 2]> = SmallVec::new();
                for status in denial.violated() {
                    let (limit, key, _) = demand.lines[status.item()];
                    tally.limits[limit].denied += 1;
                    if !told.contains(&key) {
                        told.push(key);
                        let now = record.event.micros();
                        let denied = tally.denied_keys.entry(key).or_default();
                        denied.first = if denied.denied == 0 { now } else { denied.first };
                        denied.denied += 1;
                        denied.last = now;
                    }
                }
            }
            // Only a limit whose fallback allows would let it pass.
            Decision::Unchecked(unchecked) => return Err(Error::invalid(unchecked.error().to_string())),
        }
    }
    Ok(())
}
