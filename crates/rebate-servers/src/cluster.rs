//! A cluster.

use crate::proxy::Proxy;
use crate::server::{ADMINISTRATOR, Builder, Server};
use crate::wait::until;
use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

mod view;

use view::{Node, view};

/// How many slots a cluster has.
const SLOTS: usize = 16384;

/// A real cluster: masters that share the slots evenly, in order, and replicas of theirs. A node is known by its
/// number, which it keeps whatever it becomes: first the masters, then the replicas of the first master, of
/// the second, and so on. A master that is away for a second is replaced.
#[derive(Debug)]
pub struct Cluster {
    nodes: Vec<Server>,
    identities: Vec<String>,
    /// Of each slot that is under way: from which node to which.
    migrations: Mutex<HashMap<u16, (usize, usize)>>,
}

impl Cluster {
    /// Starts a cluster and returns when every node knows it to be well and every replica is in sync. Takes two
    /// seconds or three: a master waits so long before it takes writes.
    pub fn start(masters: usize, replicas_each: usize) -> Self {
        Self::start_with(Server::builder(), masters, replicas_each)
    }

    /// The same, each node with these settings.
    pub fn start_with(settings: Builder, masters: usize, replicas_each: usize) -> Self {
        assert!(masters > 0, "a cluster has masters");
        let mut settings = settings;
        let given = std::mem::take(&mut settings.lines);
        settings = settings
            .argument("cluster-enabled", "yes")
            .argument("cluster-node-timeout", "1000")
            // However old a replica's data: tests stop masters for long.
            .argument("cluster-replica-validity-factor", "0")
            // A replica stays with its master.
            .argument("cluster-migration-barrier", "1000");
        settings.lines.extend(given);

        // The nodes know one another's administrator: the first one's secret is everybody's.
        let first = settings.clone().start();
        settings.secret = Some(first.secret.clone());
        let mut nodes = vec![first];
        std::thread::scope(|scope| {
            let rest: Vec<_> =
                (1..masters * (1 + replicas_each)).map(|_| scope.spawn(|| settings.clone().start())).collect();
            nodes.extend(rest.into_iter().map(|node| node.join().expect("a node starts")));
        });
        let identities = nodes.iter().map(|node| node.ask(&["CLUSTER", "MYID"])).collect();
        let cluster = Self { nodes, identities, migrations: Mutex::default() };
        cluster.join(masters, replicas_each);
        cluster
    }

    fn join(&self, masters: usize, replicas_each: usize) {
        for (number, node) in self.nodes.iter().enumerate() {
            node.command(&["CLUSTER", "SET-CONFIG-EPOCH", &(number + 1).to_string()]);
            if number < masters {
                let slots = number * SLOTS / masters..(number + 1) * SLOTS / masters;
                let slots: Vec<String> = slots.map(|slot| slot.to_string()).collect();
                let words: Vec<&str> = ["CLUSTER", "ADDSLOTS"].into_iter().chain(slots.iter().map(|s| &**s)).collect();
                node.command(&words);
            }
            // Everybody meets everybody: word of mouth is slow.
            for earlier in &self.nodes[..number] {
                let port = earlier.address().port().to_string();
                node.command(&["CLUSTER", "MEET", "127.0.0.1", &port]);
            }
        }
        until("every node knows every other", || {
            let knows = |node: &Server| {
                let known = view(node);
                self.identities.iter().all(|id| known.iter().any(|node| node.identity == *id && node.is_met()))
            };
            self.nodes.iter().all(knows).then_some(())
        });
        for (number, node) in self.nodes.iter().enumerate().skip(masters) {
            let master = (number - masters) / replicas_each;
            node.command(&["CLUSTER", "REPLICATE", &self.identities[master]]);
        }
        self.settle();
    }

    /// The URLs of all nodes.
    pub fn urls(&self) -> Vec<String> {
        self.nodes.iter().map(Server::url).collect()
    }

    /// All nodes, in the order of their numbers.
    pub fn nodes(&self) -> &[Server] {
        &self.nodes
    }

    /// One node.
    pub fn node(&self, number: usize) -> &Server {
        &self.nodes[number]
    }

    /// The numbers of the nodes that are masters now and hold slots.
    pub fn masters(&self) -> Vec<usize> {
        let known = self.known();
        let mut masters: Vec<usize> =
            known.iter().filter(|node| node.owns_slots()).filter_map(|node| self.number(&node.identity)).collect();
        masters.sort_unstable();
        masters
    }

    /// The numbers of the nodes that run and are replicas of this master now.
    pub fn replicas(&self, master: usize) -> Vec<usize> {
        let known = self.known();
        let of_it = known.iter().filter(|node| node.master.as_ref() == Some(&self.identities[master]));
        let mut replicas: Vec<usize> = of_it.filter_map(|node| self.number(&node.identity)).collect();
        replicas.retain(|&replica| self.nodes[replica].is_running());
        replicas.sort_unstable();
        replicas
    }

    /// Puts a faulty network before each node, in the order of their numbers, and has the nodes name those
    /// addresses to clients from now on: in CLUSTER SLOTS, MOVED and ASK. [`Cluster::urls`] stays with the nodes
    /// themselves. Replicas follow their masters through it too, while the nodes judge one another past it:
    /// no fault set here makes a replica a master.
    pub fn behind_proxies(&self) -> Vec<Proxy> {
        let proxies: Vec<Proxy> = self.nodes.iter().map(|node| Proxy::start(node.address())).collect();
        let announced: Vec<String> = proxies.iter().map(|proxy| proxy.address().port().to_string()).collect();
        for (node, port) in self.nodes.iter().zip(&announced) {
            node.command(&["CONFIG", "SET", "cluster-announce-port", port]);
            // For restarts.
            node.command(&["CONFIG", "REWRITE"]);
        }
        until("all nodes know the proxies", || {
            let knows = |node: &Server| {
                let known = view(node);
                let at = |identity: &String, port: &String| {
                    known.iter().any(|node| node.identity == *identity && node.port == *port)
                };
                self.identities.iter().zip(&announced).all(|(identity, port)| at(identity, port))
            };
            self.nodes.iter().filter(|node| node.is_running()).all(knows).then_some(())
        });
        self.settle();
        proxies
    }

    /// The slot of a key, its hash tag considered.
    pub fn slot_of(&self, key: &str) -> u16 {
        self.running().ask(&["CLUSTER", "KEYSLOT", key]).parse().expect("a slot is a number")
    }

    /// The number of the master that holds a slot, as the nodes know it: where they differ it waits till they agree.
    pub fn node_of_slot(&self, slot: u16) -> usize {
        until("all nodes agree on the owner of the slot", || {
            let mut owners = self.nodes.iter().filter(|node| node.is_running()).map(|node| owner(node, slot));
            let first = owners.next()??;
            owners.all(|owner| owner.as_ref() == Some(&first)).then(|| self.number(&first))?
        })
    }

    /// Waits until all nodes that run say that the cluster is well, agree on who holds the slots, and the
    /// replicas among them are in sync.
    pub fn settle(&self) {
        until("the cluster is well", || {
            let running: Vec<&Server> = self.nodes.iter().filter(|node| node.is_running()).collect();
            let well = running.iter().all(|node| {
                let state = node.ask(&["CLUSTER", "INFO"]);
                let link = node.information("master_link_status");
                state.contains("cluster_state:ok") && link.is_none_or(|link| link == "up")
            });
            let views: Vec<Vec<Node>> = running.iter().map(|node| view(node)).collect();
            let agreed = views.windows(2).all(|pair| view::roles(&pair[0]) == view::roles(&pair[1]));
            (well && agreed).then_some(())
        });
    }

    /// Moves a slot with all its keys, as an operator who adds a node does.
    pub fn migrate_slot(&self, slot: u16, to: usize) {
        self.begin_migration(slot, to);
        self.migrate_keys(slot);
        self.end_migration(slot);
    }

    /// The first step: its owner now answers ASK for the keys that it has not, and TRYAGAIN for commands on
    /// several of which it has some.
    pub fn begin_migration(&self, slot: u16, to: usize) {
        let from = self.node_of_slot(slot);
        assert_ne!(from, to, "slot {slot} is there already");
        let text = slot.to_string();
        self.nodes[to].command(&["CLUSTER", "SETSLOT", &text, "IMPORTING", &self.identities[from]]);
        self.nodes[from].command(&["CLUSTER", "SETSLOT", &text, "MIGRATING", &self.identities[to]]);
        self.migrations().insert(slot, (from, to));
    }

    /// The second step: all keys of the slot. Returns how many.
    pub fn migrate_keys(&self, slot: u16) -> usize {
        let mut moved = 0;
        loop {
            match self.migrate_some_keys(slot, 100) {
                0 => return moved,
                more => moved += more,
            }
        }
    }

    /// A part of the second step: at most so many keys, in no particular order. Returns how many.
    pub fn migrate_some_keys(&self, slot: u16, count: usize) -> usize {
        let (from, to) = self.migration(slot);
        let from = &self.nodes[from];
        let keys = from.command(&["CLUSTER", "GETKEYSINSLOT", &slot.to_string(), &count.to_string()]);
        let keys: Vec<Vec<u8>> = redis::from_redis_value(keys).expect("keys are bytes");
        if keys.is_empty() {
            return 0;
        }
        let mut command = redis::cmd("MIGRATE");
        command.arg("127.0.0.1").arg(self.nodes[to].address().port()).arg("").arg(0).arg(5000);
        command.arg("AUTH2").arg(ADMINISTRATOR).arg(&from.secret).arg("KEYS").arg(&keys);
        from.query(&command).expect("keys migrate");
        keys.len()
    }

    /// The last step: the slot is the other node's, and everybody knows.
    pub fn end_migration(&self, slot: u16) {
        let (from, to) = self.migration(slot);
        let words = ["CLUSTER", "SETSLOT", &slot.to_string(), "NODE", &self.identities[to]];
        // First to where it goes, lest it be nobody's.
        self.nodes[to].command(&words);
        self.nodes[from].command(&words);
        for number in self.masters() {
            if number != to && number != from && self.nodes[number].is_running() {
                self.nodes[number].command(&words);
            }
        }
        self.migrations().remove(&slot);
        until("everybody knows where the slot went", || (self.node_of_slot(slot) == to).then_some(()));
    }

    /// Instead of the last step: the slot stays where it was. Keys that were moved are lost to clients.
    pub fn cancel_migration(&self, slot: u16) {
        let (from, to) = self.migration(slot);
        for node in [from, to] {
            self.nodes[node].command(&["CLUSTER", "SETSLOT", &slot.to_string(), "STABLE"]);
        }
        self.migrations().remove(&slot);
    }

    /// Makes a replica of this master its successor: in good order (CLUSTER FAILOVER, nothing is lost) where
    /// the master runs, else by force (TAKEOVER). Returns its number when the cluster is well again.
    pub fn fail_over(&self, master: usize) -> usize {
        let replicas = self.replicas(master);
        let successor = *replicas.first().unwrap_or_else(|| panic!("node {master} has no replica that runs"));
        let node = &self.nodes[successor];
        let mut asked: Option<Instant> = None;
        until("the replica is master", || {
            if node.information("role").as_deref() == Some("master") {
                return Some(());
            }
            // It gives up after five seconds.
            if asked.is_none_or(|asked| asked.elapsed() > Duration::from_secs(6)) {
                asked = Some(Instant::now());
                if self.nodes[master].is_running() {
                    node.command(&["CLUSTER", "FAILOVER"]);
                } else {
                    node.command(&["CLUSTER", "FAILOVER", "TAKEOVER"]);
                }
            }
            None
        });
        self.settle();
        successor
    }

    /// Kills a master and waits until the cluster itself has made a replica of its its successor, which takes
    /// a second or two and the votes of most masters. Returns the successor's number.
    pub fn kill_master(&self, master: usize) -> usize {
        let replicas = self.replicas(master);
        assert!(!replicas.is_empty(), "node {master} has no replica that runs");
        self.nodes[master].kill();
        self.await_successor(&replicas)
    }

    /// Waits until one of these replicas is master: after a master was killed or frozen. Returns its number
    /// when the cluster is well again. A frozen master must be killed or thawed before the cluster is.
    pub fn await_successor(&self, replicas: &[usize]) -> usize {
        let successor = until("a replica is master", || {
            let is_master = |&&replica: &&usize| self.nodes[replica].information("role").as_deref() == Some("master");
            replicas.iter().find(is_master).copied()
        });
        self.settle();
        successor
    }

    fn migrations(&self) -> std::sync::MutexGuard<'_, HashMap<u16, (usize, usize)>> {
        self.migrations.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn migration(&self, slot: u16) -> (usize, usize) {
        *self.migrations().get(&slot).unwrap_or_else(|| panic!("slot {slot} is not under way: begin_migration first"))
    }

    fn running(&self) -> &Server {
        self.nodes.iter().find(|node| node.is_running()).expect("some node runs")
    }

    fn known(&self) -> Vec<Node> {
        view(self.running())
    }

    fn number(&self, identity: &str) -> Option<usize> {
        self.identities.iter().position(|known| known == identity)
    }
}

/// Who holds the slot, as this node knows it.
fn owner(node: &Server, slot: u16) -> Option<String> {
    view(node).into_iter().find(|node| node.owns(slot)).map(|node| node.identity)
}
