//! Scenario A from end to end: the example as operating system processes, over real sockets, in memory and over a real
//! Redis.

mod away;
#[path = "../common/built.rs"]
mod built;
mod client;
#[path = "../common/console.rs"]
mod console;
mod hang_ups;
mod limits;
mod observe;
mod paths;
mod program;
mod readme;
mod refunds;
mod settings;
mod shared;
mod workers;
