//! Replicas.

use crate::server::Server;
use crate::wait::until;
use std::ops::Deref;

/// A server that follows another one, until it is promoted. All that a [`Server`] can do it can.
#[derive(Debug)]
pub struct Replica {
    server: Server,
}

impl Server {
    /// Starts a replica of this server, with the same settings, and returns when it is in sync.
    pub fn replica(&self) -> Replica {
        let address = self.address();
        let mut builder = self.builder.clone();
        builder.secret = Some(self.secret.clone());
        let builder = builder.argument("replicaof", &format!("{} {}", address.ip(), address.port()));
        let replica = Replica { server: builder.start() };
        replica.synchronize(self);
        replica
    }

    /// The number that grows with every byte that is sent to replicas.
    fn offset(&self) -> u64 {
        let offset = self.information("master_repl_offset").expect("every server has an offset");
        offset.parse().expect("an offset is a number")
    }
}

impl Replica {
    /// Waits until it follows the master, and has all that was written there before this call.
    pub fn synchronize(&self, master: &Server) {
        until("the replica's link is up", || {
            (self.information("master_link_status").as_deref() == Some("up")).then_some(())
        });
        let offset = master.offset();
        until("the replica has what its master had", || (self.offset() >= offset).then_some(()));
    }

    /// Follows nobody any more (REPLICAOF NO ONE), also after a restart, and takes writes. Its master, where it
    /// lives, knows nothing of it: from here on there are two.
    pub fn promote(&self) {
        self.command(&["REPLICAOF", "NO", "ONE"]);
        self.command(&["CONFIG", "REWRITE"]);
    }
}

impl Deref for Replica {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}
