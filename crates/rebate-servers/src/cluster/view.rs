//! What a node knows of its cluster: the lines of CLUSTER NODES.

use crate::server::Server;

#[derive(Debug)]
pub(super) struct Node {
    pub(super) identity: String,
    pub(super) port: String,
    flags: Vec<String>,
    pub(super) master: Option<String>,
    slots: Vec<(u16, u16)>,
}

impl Node {
    /// Whether the two have shaken hands.
    pub(super) fn is_met(&self) -> bool {
        !self.flags.iter().any(|flag| flag == "handshake" || flag == "noaddr")
    }

    pub(super) fn owns(&self, slot: u16) -> bool {
        self.slots.iter().any(|&(first, last)| (first..=last).contains(&slot))
    }

    pub(super) fn owns_slots(&self) -> bool {
        !self.slots.is_empty()
    }
}

pub(super) fn view(node: &Server) -> Vec<Node> {
    node.ask(&["CLUSTER", "NODES"]).lines().map(parse).collect()
}

/// What all nodes must agree on: who holds which slots, and who follows whom.
pub(super) fn roles(known: &[Node]) -> Vec<impl Ord + use<'_>> {
    let mut roles: Vec<_> = known.iter().map(|node| (&node.identity, &node.master, &node.slots)).collect();
    roles.sort_unstable();
    roles
}

/// `identity address flags master ping pong epoch link slot slot-slot [slot->-identity]`
fn parse(line: &str) -> Node {
    let words: Vec<&str> = line.split(' ').collect();
    assert!(words.len() >= 8, "a line of CLUSTER NODES: {line}");
    let number = |text: &str| text.parse().unwrap_or_else(|_| panic!("a slot in {line}"));
    // In brackets are those under way.
    let slots = words[8..].iter().filter(|word| !word.starts_with('[')).map(|word| {
        let (first, last) = word.split_once('-').unwrap_or((word, word));
        (number(first), number(last))
    });
    Node {
        identity: words[0].to_owned(),
        // `ip:port@port of the bus,name of the host`
        port: words[1].split(['@', ',']).next().and_then(|ip| ip.rsplit(':').next()).unwrap_or_default().to_owned(),
        flags: words[2].split(',').map(str::to_owned).collect(),
        master: (words[3] != "-").then(|| words[3].to_owned()),
        slots: slots.collect(),
    }
}
