//! The nodes of a cluster, and which of them has which slot.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use rebate_core::Error;
use redis::{Client, ConnectionAddr, ConnectionInfo, Value};
use tokio::time::{Instant, timeout};

use super::Common;
use super::node::{Alias, Node, Way, Wire};
use super::settings::at;
use super::single::Single;
use super::slots::SLOTS;
use super::tls;
use super::trouble::{Failure, refusal};

/// A layout is not asked for in the background more often than this.
const AT_MOST_EVERY: Duration = Duration::from_millis(100);

pub(super) struct Cluster {
    common: Arc<Common>,
    seeds: Vec<Client>,
    layout: RwLock<Arc<Layout>>,
    refreshing: Single<Result<(), Failure>>,
    /// In microseconds since `origin`; 0 before the first.
    last_refresh: AtomicU64,
    origin: Instant,
    /// Whose turn it is to be asked for the layout, so that no one node's view is taken for ever.
    turn: AtomicUsize,
}

struct Layout {
    /// Per slot the master's place in `nodes`.
    slots: Box<[u16]>,
    /// In the order of their addresses.
    nodes: Vec<Arc<Node>>,
}

const NOBODY: u16 = u16::MAX;

/// Where a node is, as another told.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Whereabouts {
    host: String,
    port: u16,
    /// The node's identity, where it was told.
    id: String,
}

impl Cluster {
    pub(super) fn new(common: Arc<Common>, seeds: Vec<ConnectionInfo>) -> Result<Arc<Cluster>, Error> {
        let clients = seeds.into_iter().map(|information| tls::client(information, &common.certificates));
        Ok(Arc::new(Cluster {
            seeds: clients.collect::<Result<_, _>>()?,
            common,
            layout: RwLock::new(Arc::new(Layout { slots: vec![NOBODY; SLOTS].into(), nodes: Vec::new() })),
            refreshing: Single::new(),
            last_refresh: AtomicU64::new(0),
            origin: Instant::now(),
            turn: AtomicUsize::new(0),
        }))
    }

    /// The master of a slot; without one any node.
    #[inline]
    pub(super) fn node(&self, slot: Option<u16>) -> Option<Arc<Node>> {
        let layout = self.layout.read().unwrap_or_else(PoisonError::into_inner);
        match slot {
            Some(slot) => layout.nodes.get(usize::from(layout.slots[usize::from(slot)])).cloned(),
            None => layout.nodes.first().cloned(),
        }
    }

    /// The masters that have slots, in the order of the first slot of each: a replica that takes over stands where its
    /// master stood.
    pub(super) fn masters(&self) -> Vec<Arc<Node>> {
        let layout = self.layout();
        let mut listed = vec![false; layout.nodes.len()];
        let mut masters = Vec::new();
        for place in layout.slots.iter().map(|&place| usize::from(place)) {
            if listed.get(place) == Some(&false) {
                listed[place] = true;
                masters.push(Arc::clone(&layout.nodes[place]));
            }
        }
        masters
    }

    fn layout(&self) -> Arc<Layout> {
        Arc::clone(&self.layout.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Asks the nodes for the layout. However many want it, it is asked for once.
    pub(super) async fn refresh(self: &Arc<Self>, deadline: Instant) -> Result<(), Failure> {
        let limit = deadline.min(Instant::now() + 2 * self.common.connect_timeout);
        let late = || Err(Failure::new("no node of the cluster told its layout in time", None));
        self.refreshing.run(limit, || Arc::clone(self).ask_all()).await.unwrap_or_else(late)
    }

    /// The same in the background, and not too often.
    pub(super) fn refresh_soon(self: &Arc<Self>) {
        let now = self.origin.elapsed().as_micros() as u64;
        let last = self.last_refresh.load(Ordering::Relaxed);
        let is_due = last == 0 || now.saturating_sub(last) >= AT_MOST_EVERY.as_micros() as u64;
        let turn = || self.last_refresh.compare_exchange(last, now.max(1), Ordering::Relaxed, Ordering::Relaxed);
        if is_due && turn().is_ok() {
            self.refreshing.start(|| Arc::clone(self).ask_all());
        }
    }

    async fn ask_all(self: Arc<Self>) -> Result<(), Failure> {
        let command = {
            let mut command = redis::cmd("CLUSTER");
            command.arg("SLOTS");
            command
        };
        let nodes = self.layout().nodes.clone();
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let share = (self.common.connect_timeout / 2).max(Duration::from_millis(20));
        let mut said = Vec::new();
        // Those first that are in touch; one that had just failed has its breaker or lacks its connection.
        let mut order: Vec<_> = (0..nodes.len()).map(|index| &nodes[(turn + index) % nodes.len()]).collect();
        order.sort_by_key(|node| !node.is_connected());
        for node in order {
            let limit = Instant::now() + share;
            match node.send_until(&command, false, limit).await {
                Ok(answer) => match self.learn(answer, &node.host()) {
                    Ok(()) => return Ok(()),
                    Err(fault) => said.push(format!("{}: {fault}", node.server())),
                },
                Err(trouble) => said.push(format!("{}: {}", node.server(), trouble.brief())),
            }
        }
        for index in 0..self.seeds.len() {
            let seed = &self.seeds[(turn + index) % self.seeds.len()];
            let address = seed.get_connection_info().addr();
            let asked = async {
                let wire = Wire::open(seed).await.map_err(|error| Failure::of(error).text().to_owned())?;
                wire.send(&command, false).await.map_err(|error| error.to_string())
            };
            match timeout(share, asked).await {
                Ok(Ok(answer)) => match self.learn(answer, &host_of(address)) {
                    Ok(()) => return Ok(()),
                    Err(fault) => said.push(format!("{address}: {fault}")),
                },
                Ok(Err(fault)) => said.push(format!("{address}: {fault}")),
                Err(_) => said.push(format!("{address}: no answer in time")),
            }
        }
        Err(Failure::new(format!("no node of the cluster tells its layout ({})", said.join("; ")), None))
    }

    /// Takes over an answer to CLUSTER SLOTS of the node at `asked`.
    fn learn(self: &Arc<Self>, answer: Value, asked: &str) -> Result<(), String> {
        if let Value::ServerError(error) = &answer {
            return Err(refusal(error));
        }
        let ranges = read_ranges(&answer, asked).ok_or("its answer to CLUSTER SLOTS cannot be read")?;
        if ranges.is_empty() {
            return Err("it knows of no slots as yet".into());
        }
        let mut places: Vec<_> = ranges.iter().map(|(_, _, place)| place.clone()).collect();
        places.sort();
        places.dedup();
        let mut layout = self.layout.write().unwrap_or_else(PoisonError::into_inner);
        let nodes = places
            .iter()
            .map(|place| match layout.nodes.iter().find(|node| node.is_at(&place.host, place.port)) {
                Some(node) => Ok(Arc::clone(node)),
                None => self.new_node(place, asked).map_err(|error| error.to_string()),
            })
            .collect::<Result<Vec<_>, String>>()?;
        let mut slots = vec![NOBODY; SLOTS].into_boxed_slice();
        for (first, last, place) in &ranges {
            let index = places.binary_search(place).map_or(NOBODY, |index| index as u16);
            slots[usize::from(*first)..=usize::from(*last)].fill(index);
        }
        *layout = Arc::new(Layout { slots, nodes });
        Ok(())
    }

    /// A slot was said to be elsewhere, by the node at `asked`: for good, or for one key only.
    pub(super) fn moved(
        self: &Arc<Self>,
        slot: Option<u16>,
        host: &str,
        port: u16,
        asked: &str,
    ) -> Result<Arc<Node>, Error> {
        let host = if is_host(host) { host } else { asked };
        let mut layout = self.layout.write().unwrap_or_else(PoisonError::into_inner);
        let known = layout.nodes.iter().position(|node| node.is_at(host, port));
        let index = match known {
            Some(index) => index,
            None => {
                let place = Whereabouts { host: host.into(), port, id: String::new() };
                let node = self.new_node(&place, asked)?;
                let mut nodes = layout.nodes.clone();
                nodes.push(node);
                *layout = Arc::new(Layout { slots: layout.slots.clone(), nodes });
                layout.nodes.len() - 1
            }
        };
        let node = Arc::clone(&layout.nodes[index]);
        let slot = slot.map(usize::from).filter(|slot| *slot < SLOTS);
        if let Some(slot) = slot.filter(|slot| usize::from(layout.slots[*slot]) != index) {
            let mut slots = layout.slots.clone();
            slots[slot] = index as u16;
            *layout = Arc::new(Layout { slots, nodes: layout.nodes.clone() });
        }
        Ok(node)
    }

    fn new_node(&self, place: &Whereabouts, asked: &str) -> Result<Arc<Node>, Error> {
        let model = self.seeds[0].get_connection_info();
        let client = |host: &str| tls::client(at(model, host.into(), place.port), &self.common.certificates);
        // What the nodes call each other may mean nothing here; the host that answered does.
        let alias = if place.host == asked || place.id.is_empty() {
            None
        } else {
            Some(Alias { client: client(asked)?, id: place.id.clone() })
        };
        let way = Way::Fixed(Box::new(client(&place.host)?), alias.map(Box::new));
        Ok(Node::new(Arc::clone(&self.common), way, format!("{}:{}", place.host, place.port)))
    }
}

/// First and last slot, and their master.
type Range = (u16, u16, Whereabouts);

/// `[[first, last, [host, port, id, …], replicas…], …]`.
fn read_ranges(answer: &Value, asked: &str) -> Option<Vec<Range>> {
    let Value::Array(entries) = answer else { return None };
    entries
        .iter()
        .map(|entry| {
            let Value::Array(parts) = entry else { return None };
            let [Value::Int(first), Value::Int(last), Value::Array(master), ..] = parts.as_slice() else { return None };
            let [host, Value::Int(port), rest @ ..] = master.as_slice() else { return None };
            let host = text(host).filter(|host| is_host(host)).unwrap_or(asked).to_owned();
            let id = rest.first().and_then(text).unwrap_or_default().to_owned();
            let (first, last) = (u16::try_from(*first).ok()?, u16::try_from(*last).ok()?);
            let port = u16::try_from(*port).ok()?;
            (first <= last && usize::from(last) < SLOTS).then_some((first, last, Whereabouts { host, port, id }))
        })
        .collect()
}

/// A node that does not know its own address, or hides it, says nothing or `?`: it is the one that was asked.
fn is_host(host: &str) -> bool {
    !host.is_empty() && host != "?"
}

pub(super) fn text(value: &Value) -> Option<&str> {
    match value {
        Value::BulkString(bytes) => std::str::from_utf8(bytes).ok(),
        Value::SimpleString(string) => Some(string),
        _ => None,
    }
}

pub(super) fn host_of(address: &ConnectionAddr) -> String {
    match address {
        ConnectionAddr::Tcp(host, _) | ConnectionAddr::TcpTls { host, .. } => host.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bulk(text: &str) -> Value {
        Value::BulkString(text.as_bytes().to_vec())
    }

    fn answer(host: Value, last: i64) -> Value {
        let replica = Value::Array(vec![bulk("9.9.9.9"), Value::Int(7), bulk("other")]);
        let master = Value::Array(vec![host, Value::Int(7000), bulk("identity"), Value::Array(Vec::new())]);
        Value::Array(vec![Value::Array(vec![Value::Int(0), Value::Int(last), master, replica])])
    }

    #[test]
    fn a_host_that_is_not_told_is_the_one_asked() {
        for host in [Value::Nil, bulk(""), bulk("?")] {
            let ranges = read_ranges(&answer(host, 16383), "one").unwrap();
            assert_eq!((ranges[0].0, ranges[0].1, ranges[0].2.host.as_str()), (0, 16383, "one"));
        }
        let ranges = read_ranges(&answer(bulk("two"), 5), "one").unwrap();
        assert_eq!((ranges[0].2.host.as_str(), ranges[0].2.port, ranges[0].2.id.as_str()), ("two", 7000, "identity"));
    }

    #[test]
    fn nonsense_is_not_taken_for_a_layout() {
        assert!(read_ranges(&answer(bulk("two"), 16384), "one").is_none());
        assert!(read_ranges(&answer(bulk("two"), -1), "one").is_none());
        assert!(read_ranges(&Value::Okay, "one").is_none());
        assert!(read_ranges(&Value::Array(vec![Value::Nil]), "one").is_none());
    }
}
