//! An API that makes images from prompts, whose attempts are few and are given back: rules by path, a layer for axum, and
//! a worker in another process that refunds.
//!
//! `cargo run -p rebate --features axum,metrics,redis --example concepts_api` serves on 127.0.0.1:8080, with counts in
//! memory; with `STORE=redis://127.0.0.1/` they are in Redis, and `… --example concepts_api worker` works in another
//! process. README.md beside this file tells all settings, and what to try.

mod api;
mod body;
mod limits;
mod metrics;
mod saved;
mod serve;
mod settings;
mod tasks;
mod user;
mod worker;

use std::process::ExitCode;
use std::sync::Arc;

use rebate::{AnyStore, Limiter, MemoryStore, RedisStore};
use tracing_subscriber::EnvFilter;

use settings::Settings;
use tasks::Tasks;
use worker::Worker;

const USAGE: &str = "usage: concepts_api [worker | sweep]
Serves the API; `worker` works on its tasks and refunds those that fail; `sweep` looks once for tasks that are stuck, and
refunds them. Settings come from the environment: LISTEN, METRICS, STORE, RULES, LIMITING, TASKS, WORKER, WORK_TIME,
STUCK_AFTER, REFUND_ON_DISCONNECT, MASK_SECRET, RUST_LOG.";

/// What goes wrong before anything is served.
type Trouble = Box<dyn std::error::Error + Send + Sync>;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    Api,
    Worker,
    Sweeper,
}

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let role = match arguments.first().map(|argument| argument.to_str()) {
        None => Role::Api,
        Some(Some("worker")) if arguments.len() == 1 => Role::Worker,
        Some(Some("sweep")) if arguments.len() == 1 => Role::Sweeper,
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    let settings = match Settings::from_environment() {
        Ok(settings) => settings,
        Err(faults) => {
            faults.iter().for_each(|fault| eprintln!("ERROR {fault}"));
            return ExitCode::from(2);
        }
    };
    let filter =
        EnvFilter::try_from_default_env().unwrap_or_else(|_| "info,rebate_tower=debug,concepts_api=debug".into());
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(false).init();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("ERROR no runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(run(role, &settings)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(trouble) => {
            eprintln!("ERROR {trouble}");
            ExitCode::FAILURE
        }
    }
}

async fn run(role: Role, settings: &Settings) -> Result<(), Trouble> {
    if role != Role::Api && settings.store.is_none() {
        return Err("counts in memory are those of one process, whose own worker refunds: give STORE=redis://…".into());
    }
    // Two stores, one type: which of them it is, only this function knows.
    let limiter = Limiter::new(store(settings.store.as_deref()).await?);
    let tasks = Arc::new(Tasks::open(&settings.tasks)?);
    let worker = Worker::new(limiter.clone(), Arc::clone(&tasks), settings);
    match role {
        Role::Api => serve::api(settings, limiter, tasks, worker).await,
        Role::Worker => serve::worker(settings, worker).await,
        Role::Sweeper => {
            let swept = worker.sweep().await?;
            println!("{swept}");
            if swept.failed > 0 { Err("not every refund could be made; sweep again".into()) } else { Ok(()) }
        }
    }
}

async fn store(url: Option<&str>) -> Result<AnyStore, Trouble> {
    let Some(url) = url else { return Ok(AnyStore::new(MemoryStore::new())) };
    let store = RedisStore::new(url)?;
    // A wrong address shows here rather than with the first request; a Redis that starts later is no reason to stop.
    if let Err(trouble) = store.ping().await {
        tracing::warn!(%trouble, "Redis does not answer as yet");
    }
    Ok(AnyStore::new(store))
}
