//! Scenario B from end to end: the example's own modules over real sockets and a real database, by a clock that the tests
//! move, in memory and over a real Redis; and its program as a process.

#[path = "../../examples/saved_items/answers.rs"]
mod answers;
#[path = "../../examples/saved_items/api.rs"]
mod api;
#[path = "../common/built.rs"]
mod built;
#[path = "../common/console.rs"]
mod console;
#[path = "../../examples/saved_items/database.rs"]
#[allow(dead_code, reason = "the program alone starts anew")]
mod database;
#[path = "../../examples/saved_items/places.rs"]
#[allow(dead_code, reason = "tests say when places are renewed")]
mod places;
#[path = "../../examples/saved_items/plans.rs"]
mod plans;
#[path = "../../examples/saved_items/service.rs"]
mod service;
#[path = "../../examples/saved_items/user.rs"]
mod user;
#[path = "../../examples/saved_items/worker.rs"]
#[allow(dead_code, reason = "tests say when it works")]
mod worker;

mod books;
mod held;
mod logged;
mod program;
mod quotas;
mod scene;
mod trouble;
