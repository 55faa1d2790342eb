//! Servers: started, and ended without breaking off what they do.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use axum::serve::ListenerExt;
use rebate::{AnyStore, Limiter};
use tokio::net::TcpListener;

use crate::api::{self, Service};
use crate::settings::Settings;
use crate::tasks::Tasks;
use crate::worker::Worker;
use crate::{Trouble, limits, metrics};

/// How long requests under way may take to end.
const PATIENCE: Duration = Duration::from_secs(10);

/// Serves the API until a signal ends it. Says on the standard output where.
pub(crate) async fn api(
    settings: &Settings,
    limiter: Limiter<AnyStore>,
    tasks: Arc<Tasks>,
    worker: Arc<Worker>,
) -> Result<(), Trouble> {
    // Before the layer counts anything.
    if let Some(address) = settings.metrics {
        metrics::serve(address).await?;
    }
    let mut router = api::router(Service::new(tasks, settings));
    if settings.limiting {
        // Around the whole router: it sees paths as they came, also those that no route matches.
        router = router.layer(limits::layer(settings, limiter)?);
    }
    let listener =
        TcpListener::bind(settings.listen).await.map_err(|error| format!("LISTEN at {}: {error}", settings.listen))?;
    let address = listener.local_addr()?;
    let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
    if settings.works {
        tokio::spawn(worker.run());
    }
    let ended = signal()?;
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let server = axum::serve(listener, router).with_graceful_shutdown(async move { drop(stopped.await) });
    println!("listening on http://{address}");
    let store = settings.store.as_ref().map_or("memory", |_| "Redis");
    tracing::info!(%address, store, limiting = settings.limiting, "serving");
    let mut server = std::pin::pin!(server.into_future());
    tokio::select! {
        answer = &mut server => answer?,
        () = ended => {
            tracing::info!("ending");
            drop(stop);
            // A client that does not read its answer keeps nobody for longer.
            if tokio::time::timeout(PATIENCE, server).await.is_err() {
                tracing::warn!("requests were broken off");
            }
        }
    }
    Ok(())
}

/// Works until a signal ends it.
pub(crate) async fn worker(settings: &Settings, worker: Arc<Worker>) -> Result<(), Trouble> {
    // The API most often runs on the same machine, and has the default address.
    if std::env::var_os("METRICS").is_some()
        && let Some(address) = settings.metrics
    {
        metrics::serve(address).await?;
    }
    let ended = signal()?;
    println!("working");
    tokio::select! {
        () = worker.run() => {}
        () = ended => tracing::info!("ending"),
    }
    Ok(())
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
