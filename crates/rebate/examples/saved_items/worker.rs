//! The worker: enriches one item after the other. The model is made up: it takes its time.

use std::sync::Arc;
use std::time::Duration;

use crate::database::Item;
use crate::service::{Service, Trouble};

/// How long the worker sleeps when nothing waits, or something went wrong.
const PAUSE: Duration = Duration::from_millis(200);

pub(crate) struct Worker {
    service: Arc<Service>,
    work_time: Duration,
    /// Enriched, but the database could not be told as yet.
    enriched: Option<Item>,
}

impl Worker {
    pub(crate) fn new(service: Arc<Service>, work_time: Duration) -> Self {
        Worker { service, work_time, enriched: None }
    }

    /// Works for ever.
    pub(crate) async fn work(mut self) {
        loop {
            match self.step().await {
                Ok(true) => continue,
                Ok(false) => {}
                // A place that could not be released frees itself.
                Err(trouble) => tracing::error!(%trouble, "the worker failed"),
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Enriches the next item; whether there was one. Where the database cannot be told that it is done, the next step does
    /// no more than tell it: else the item would run, and keep its place, until the process is started anew.
    pub(crate) async fn step(&mut self) -> Result<bool, Trouble> {
        let item = match self.enriched.take() {
            Some(item) => item,
            None => {
                let Some(item) = self.service.run(Service::start_next).await? else { return Ok(false) };
                tokio::time::sleep(self.work_time).await;
                item
            }
        };
        let (id, finished) = (item.id, item.clone());
        match self.service.run(move |service| service.finish(&finished)).await {
            Ok(done) => tracing::info!(id, done, "enriched"),
            Err(trouble) => {
                self.enriched = matches!(trouble, Trouble::Database(_)).then_some(item);
                return Err(trouble);
            }
        }
        Ok(true)
    }
}
