//! The service's own tables: users' plans, items, usage per day, and the ledger.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, Result, Row, Transaction, TransactionBehavior, params};
use serde::Serialize;

/// How long one transaction waits for another's end.
const PATIENCE: Duration = Duration::from_secs(5);

/// An SQLite database.
pub(crate) struct Database(Mutex<Connection>);

/// A saved item.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Item {
    pub(crate) id: i64,
    #[serde(skip)]
    pub(crate) user: String,
    pub(crate) url: String,
    /// `waiting`, `running`, `done`, or `lapsed`: its place was lost before it was done.
    pub(crate) state: String,
    #[serde(skip)]
    pub(crate) receipt: String,
}

impl Database {
    /// The database in this file, or `:memory:`.
    pub(crate) fn open(path: &str) -> Result<Self> {
        let connection = Connection::open(path)?;
        connection.busy_timeout(PATIENCE)?;
        connection.execute_batch("PRAGMA journal_mode = WAL; PRAGMA foreign_keys = ON;")?;
        connection.execute_batch(include_str!("schema.sql"))?;
        Ok(Database(Mutex::new(connection)))
    }

    /// Does `work` in one transaction, which is rolled back unless it is well and can be committed. Transactions come one
    /// after the other: what one has read no other changes meanwhile.
    pub(crate) fn transaction<T, E: From<rusqlite::Error>>(
        &self,
        work: impl FnOnce(&Transaction<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        let mut connection = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let done = work(&transaction)?;
        transaction.commit()?;
        Ok(done)
    }
}

/// The user's plan.
pub(crate) fn plan(connection: &Connection, user: &str) -> Result<Option<String>> {
    connection.query_row("SELECT plan FROM plans WHERE user = ?1", [user], |row| row.get(0)).optional()
}

pub(crate) fn set_plan(connection: &Connection, user: &str, plan: &str) -> Result<()> {
    let upsert = "INSERT INTO plans VALUES (?1, ?2) ON CONFLICT (user) DO UPDATE SET plan = excluded.plan";
    connection.execute(upsert, [user, plan]).map(drop)
}

/// The item that was charged at this attempt of a key.
pub(crate) fn charged(connection: &Connection, user: &str, key: &str, attempt: i64) -> Result<Option<Item>> {
    let select = "SELECT items.* FROM items JOIN ledger ON ledger.item = items.id
                  WHERE ledger.user = ?1 AND ledger.action = 'charge' AND ledger.key = ?2 AND ledger.attempt = ?3";
    connection.query_row(select, params![user, key, attempt], item).optional()
}

/// Saves an item that holds a place.
pub(crate) fn insert(connection: &Connection, user: &str, url: &str, receipt: &str) -> Result<Item> {
    let insert = "INSERT INTO items (user, url, state, receipt) VALUES (?1, ?2, 'waiting', ?3) RETURNING *";
    connection.query_row(insert, [user, url, receipt], item)
}

/// Moves the day's count by `units`, which may be negative, and tells the new value.
pub(crate) fn count(connection: &Connection, user: &str, day: &str, units: i64) -> Result<i64> {
    let upsert = "INSERT INTO usage VALUES (?1, ?2, ?3)
                  ON CONFLICT (user, day) DO UPDATE SET used = used + excluded.used RETURNING used";
    connection.query_row(upsert, params![user, day, units], |row| row.get(0))
}

/// How often a charge under this key was given back.
pub(crate) fn attempt(connection: &Connection, user: &str, key: &str) -> Result<i64> {
    let select = "SELECT COUNT(*) FROM ledger WHERE user = ?1 AND action = 'give back' AND key = ?2";
    connection.query_row(select, [user, key], |row| row.get(0))
}

/// Enters an item's charge; fails where this attempt of the key has been entered.
pub(crate) fn enter(connection: &Connection, item: &Item, day: &str, key: &str, attempt: i64) -> Result<()> {
    let insert = "INSERT INTO ledger (user, day, action, item, key, attempt) VALUES (?1, ?2, 'charge', ?3, ?4, ?5)";
    connection.execute(insert, params![item.user, day, item.id, key, attempt]).map(drop)
}

/// Enters that an item's charge was given back; fails where that has been entered.
pub(crate) fn give_back(connection: &Connection, item: &Item) -> Result<()> {
    let insert = "INSERT INTO ledger (user, day, action, item, key, attempt)
                  SELECT user, day, 'give back', item, key, attempt FROM ledger
                  WHERE user = ?1 AND action = 'charge' AND item = ?2";
    connection.execute(insert, params![item.user, item.id]).map(drop)
}

/// The items that hold a place.
pub(crate) fn held(connection: &Connection) -> Result<Vec<Item>> {
    let select = "SELECT * FROM items WHERE state IN ('waiting', 'running') ORDER BY id";
    connection.prepare(select)?.query_map([], item)?.collect()
}

/// Moves an item that is in one of the states `from`, and only then; whether it was.
pub(crate) fn move_on(connection: &Connection, id: i64, from: [&str; 2], to: &str) -> Result<bool> {
    let update = "UPDATE items SET state = ?1 WHERE id = ?2 AND state IN (?3, ?4)";
    connection.execute(update, params![to, id, from[0], from[1]]).map(|rows| rows == 1)
}

/// The oldest item that waits, of those after this one.
pub(crate) fn next_waiting(connection: &Connection, after: i64) -> Result<Option<Item>> {
    let select = "SELECT * FROM items WHERE state = 'waiting' AND id > ?1 ORDER BY id LIMIT 1";
    connection.query_row(select, [after], item).optional()
}

/// An item that waits is running from now on; `None`: it waits no more.
pub(crate) fn start(connection: &Connection, id: i64) -> Result<Option<Item>> {
    let update = "UPDATE items SET state = 'running' WHERE id = ?1 AND state = 'waiting' RETURNING *";
    connection.query_row(update, [id], item).optional()
}

/// Lets what a process that is gone had begun wait for a worker again.
pub(crate) fn requeue(connection: &Connection) -> Result<usize> {
    connection.execute("UPDATE items SET state = 'waiting' WHERE state = 'running'", [])
}

/// A user's items, the latest first.
pub(crate) fn items_of(connection: &Connection, user: &str) -> Result<Vec<Item>> {
    let select = "SELECT * FROM items WHERE user = ?1 ORDER BY id DESC LIMIT 100";
    connection.prepare(select)?.query_map([user], item)?.collect()
}

pub(crate) fn item_of(connection: &Connection, user: &str, id: i64) -> Result<Option<Item>> {
    connection.query_row("SELECT * FROM items WHERE user = ?1 AND id = ?2", params![user, id], item).optional()
}

fn item(row: &Row<'_>) -> Result<Item> {
    Ok(Item {
        id: row.get("id")?,
        user: row.get("user")?,
        url: row.get("url")?,
        state: row.get("state")?,
        receipt: row.get("receipt")?,
    })
}
