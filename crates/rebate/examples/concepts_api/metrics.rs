//! The layer's numbers and the worker's, as Prometheus reads them.

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::http::header::CONTENT_TYPE;
use axum::routing::get;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder};
use tokio::net::TcpListener;

use crate::Trouble;

/// How often histograms are tidied up.
const UPKEEP: Duration = Duration::from_secs(5);
/// From 10 µs, which memory takes, to what a request waits for a store at the most.
const SECONDS: [f64; 10] = [1e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 1e-2, 1e-1, 5e-1, 1.0];

/// Serves `GET /metrics`, apart from the API: numbers are for operators. Says on the standard output where.
pub(crate) async fn serve(address: SocketAddr) -> Result<(), Trouble> {
    let buckets = Matcher::Full("rebate_store_duration_seconds".into());
    let handle = PrometheusBuilder::new().set_buckets_for_metric(buckets, &SECONDS)?.install_recorder()?;
    let upkeep = handle.clone();
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(UPKEEP).await;
            upkeep.run_upkeep();
        }
    });
    let text = move || {
        let text = handle.render();
        async { ([(CONTENT_TYPE, "text/plain; version=0.0.4")], text) }
    };
    let listener = TcpListener::bind(address).await.map_err(|error| format!("METRICS at {address}: {error}"))?;
    println!("metrics at http://{}/metrics", listener.local_addr()?);
    tokio::spawn(async { axum::serve(listener, Router::new().route("/metrics", get(text))).await });
    Ok(())
}
