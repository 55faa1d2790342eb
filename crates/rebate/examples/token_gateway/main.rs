//! A gateway before an API that is paid by the token: tokens per minute and per day for each user, taken by an estimate
//! before the work and settled at what it took.
//!
//! `cargo run -p rebate --features axum,redis,tokio --example token_gateway` serves on 127.0.0.1:8080, before a small upstream of
//! its own, with counts in memory; with `STORE=redis://127.0.0.1/` they are in Redis. README.md beside this file tells all
//! settings, and what to try.

mod answers;
mod asked;
mod gateway;
mod relay;
mod settings;
mod upstream;

use std::future::Future;
use std::process::ExitCode;
use std::time::Duration;

use axum::serve::ListenerExt;
use rebate::{AnyStore, Limiter, MemoryStore, RedisStore};
use tokio::net::TcpListener;
use tracing_subscriber::EnvFilter;

use gateway::Gateway;
use settings::Settings;

const USAGE: &str = "usage: token_gateway
Limits the tokens of an OpenAI-compatible API. Settings come from the environment: LISTEN, STORE, UPSTREAM, MINUTE, DAY,
SETTLE, WITHIN, ASSUMED, RUST_LOG.";

/// How long replies under way may take to end.
const PATIENCE: Duration = Duration::from_secs(10);

/// What goes wrong before anything is served.
type Trouble = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main]
async fn main() -> ExitCode {
    if std::env::args_os().len() > 1 {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    }
    let settings = match Settings::from_environment() {
        Ok(settings) => settings,
        Err(faults) => {
            faults.iter().for_each(|fault| eprintln!("ERROR {fault}"));
            return ExitCode::from(2);
        }
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| "info,token_gateway=debug".into());
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(false).init();
    match serve(settings).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(trouble) => {
            eprintln!("ERROR {trouble}");
            ExitCode::FAILURE
        }
    }
}

/// Serves until a signal ends it. Says on the standard output where.
async fn serve(settings: Settings) -> Result<(), Trouble> {
    // Two stores, one type: which of them it is, only this function knows.
    let limiter = Limiter::new(store(settings.store.as_deref()).await?);
    let upstream = match settings.upstream {
        Some(url) => url,
        None => {
            let listener = TcpListener::bind("127.0.0.1:0").await?;
            let url = format!("http://{}", listener.local_addr()?);
            tokio::spawn(async { axum::serve(listener, upstream::router()).await });
            url
        }
    };
    let gateway = Gateway::new(limiter, &settings.terms, &upstream)?;
    let listener =
        TcpListener::bind(settings.listen).await.map_err(|error| format!("LISTEN at {}: {error}", settings.listen))?;
    let address = listener.local_addr()?;
    let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
    let ended = signal()?;
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let server = axum::serve(listener, gateway::router(gateway.clone()))
        .with_graceful_shutdown(async move { drop(stopped.await) });
    println!("listening on http://{address}");
    tracing::info!(%address, store = settings.store.as_ref().map_or("memory", |_| "Redis"), "serving");
    let mut server = std::pin::pin!(server.into_future());
    tokio::select! {
        answer = &mut server => answer?,
        () = ended => {
            tracing::info!("ending");
            drop(stop);
            if tokio::time::timeout(PATIENCE, server).await.is_err() {
                tracing::warn!("replies were broken off");
            }
        }
    }
    tracing::info!(shortfall = gateway.shortfall(), "ended");
    Ok(())
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

/// Ends with Ctrl-C or SIGTERM. From this call on neither ends the process.
fn signal() -> Result<impl Future<Output = ()>, Trouble> {
    #[cfg(unix)]
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    Ok(async move {
        #[cfg(unix)]
        tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            _ = terminate.recv() => {}
        }
        #[cfg(not(unix))]
        drop(tokio::signal::ctrl_c().await);
    })
}
