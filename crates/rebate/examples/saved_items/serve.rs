//! The server, the keeper of places and the worker: started, and ended in good order.

use std::future::Future;
use std::sync::Arc;

use tokio::net::TcpListener;

use crate::service::Service;
use crate::settings::Settings;
use crate::worker::Worker;
use crate::{Trouble, api, database, places};

/// Serves until a signal ends it. Says on the standard output where.
pub(crate) async fn serve(settings: &Settings, service: Arc<Service>) -> Result<(), Trouble> {
    let listener =
        TcpListener::bind(settings.listen).await.map_err(|error| format!("LISTEN at {}: {error}", settings.listen))?;
    let address = listener.local_addr()?;
    // The database is this process's: whoever worked on an item before does so no more.
    let again =
        service.run(|service| Ok(service.database.transaction(|transaction| database::requeue(transaction))?));
    let again = again.await?;
    // Before a worker takes up what has lost its place.
    if let Err(trouble) = service.run(Service::renew_all).await {
        tracing::warn!(%trouble, "places could not be renewed as yet");
    }
    let keeper = tokio::spawn(places::keep(Arc::clone(&service)));
    let worker = settings.works.then(|| tokio::spawn(Worker::new(Arc::clone(&service), settings.work_time).work()));
    println!("listening on http://{address}");
    tracing::info!(%address, store = settings.store.as_ref().map_or("memory", |_| "Redis"), again, "serving");
    axum::serve(listener, api::router(service)).with_graceful_shutdown(signal()?).await?;
    keeper.abort();
    worker.inspect(|worker| worker.abort());
    Ok(())
}

/// Ends with Ctrl-C or SIGTERM. From this call on neither ends the process.
fn signal() -> Result<impl Future<Output = ()> + Send + 'static, Trouble> {
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
