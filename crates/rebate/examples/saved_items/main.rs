//! Saved items that an AI model enriches, which is billed once: so many a day by plan, three at once for each user, and
//! both charged in one database transaction with the item.
//!
//! `cargo run -p rebate --features redis,serde --example saved_items` serves on 127.0.0.1:8081, with counts in memory;
//! with `STORE=redis://127.0.0.1/` they are in Redis. README.md beside this file tells all settings, and what to try.

mod answers;
mod api;
mod database;
mod places;
mod plans;
mod serve;
mod service;
mod settings;
mod user;
mod worker;

use std::process::ExitCode;
use std::sync::Arc;

use rebate::{AnyStore, Limiter, MemoryStore, RedisStore};
use tracing_subscriber::EnvFilter;

use database::Database;
use plans::Plans;
use service::Service;
use settings::Settings;

/// What goes wrong before anything is served.
type Trouble = Box<dyn std::error::Error + Send + Sync>;

fn main() -> ExitCode {
    let settings = match Settings::from_environment() {
        Ok(settings) => settings,
        Err(faults) => {
            faults.iter().for_each(|fault| eprintln!("ERROR {fault}"));
            return ExitCode::from(2);
        }
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| "info,saved_items=debug".into());
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(false).init();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("ERROR no runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(run(&settings)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(trouble) => {
            eprintln!("ERROR {trouble}");
            ExitCode::FAILURE
        }
    }
}

async fn run(settings: &Settings) -> Result<(), Trouble> {
    // Two stores, one type: which of them it is, only this function knows.
    let store = match &settings.store {
        None => AnyStore::new(MemoryStore::new()),
        Some(url) => AnyStore::new(RedisStore::new(url)?),
    };
    let limiter = Limiter::new(store);
    let plans = Plans::new(&limiter, &settings.plans, settings.at_once, settings.lease)?;
    let database = Database::open(&settings.database).map_err(|error| format!("{}: {error}", settings.database))?;
    serve::serve(settings, Arc::new(Service { limiter, plans, database })).await
}
