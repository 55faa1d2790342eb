//! A stream on its way to the client, read along.

use std::sync::Arc;

use axum::BoxError;
use axum::body::{Body, BodyDataStream, Bytes};
use futures_util::{StreamExt, stream};
use serde_json::Value;
use tokio::sync::mpsc::{self, Sender};
use tokio::time::{Instant, timeout_at};

use crate::asked::{Asked, letters, tokens};
use crate::gateway::{Gateway, Meter};

/// The longest line of a stream.
const LONGEST: usize = 1 << 20;

/// The upstream's stream as the client's, settled at the `usage` it tells. Where it breaks, the client leaves, or `end` has
/// come, it is settled at the prompt's estimate and what had come by then.
pub(crate) fn body(upstream: Body, asked: &Asked, gateway: Arc<Gateway>, meter: Meter, end: Instant) -> Body {
    let relay = Relay {
        upstream: upstream.into_data_stream(),
        gateway,
        meter,
        line: Vec::new(),
        prompt: asked.prompt,
        letters: 0,
        wants_usage: asked.wants_usage,
    };
    let (sender, receiver) = mpsc::channel(1);
    // In a task of its own: the body of a client that takes nothing is not polled, and nobody may put off its settlement so.
    tokio::spawn(async move {
        let ended = tokio::select! {
            ended = timeout_at(end, relay.run(&sender)) => ended,
            () = sender.closed() => return,
        };
        if ended.is_err() {
            tracing::warn!("a stream took too long");
            // Else it would seem to have ended well.
            drop(sender.send(Err("it took too long".into())).await);
        }
    });
    Body::from_stream(stream::unfold(receiver, async |mut receiver| Some((receiver.recv().await?, receiver))))
}

struct Relay {
    upstream: BodyDataStream,
    gateway: Arc<Gateway>,
    meter: Meter,
    /// What has come of a line that is not whole.
    line: Vec<u8>,
    prompt: u64,
    /// Letters that have come.
    letters: u64,
    wants_usage: bool,
}

impl Relay {
    /// Passes on all that comes. Whoever drops this settles.
    async fn run(mut self, sender: &Sender<Result<Bytes, BoxError>>) {
        while let Some(next) = self.next().await.transpose() {
            let broke = next.is_err();
            if sender.send(next).await.is_err() || broke {
                return;
            }
        }
    }

    /// What goes to the client next.
    async fn next(&mut self) -> Result<Option<Bytes>, BoxError> {
        loop {
            let Some(came) = self.upstream.next().await else {
                self.settle(self.so_far()).await;
                let rest = std::mem::take(&mut self.line);
                return Ok((!rest.is_empty()).then(|| rest.into()));
            };
            let (passed, used) = match came.map_err(BoxError::from).and_then(|bytes| self.read(&bytes)) {
                Ok(read) => read,
                Err(trouble) => {
                    let used = self.so_far();
                    tracing::warn!(%trouble, used, "a stream broke");
                    self.settle(used).await;
                    return Err(trouble);
                }
            };
            // Before the client knows of it: when it asks again, it is known what is left.
            if let Some(used) = used {
                self.settle(used).await;
            }
            if !passed.is_empty() {
                return Ok(Some(passed.into()));
            }
        }
    }

    /// The whole lines of what has come that are passed on, and the usage where one of them tells it.
    fn read(&mut self, bytes: &[u8]) -> Result<(Vec<u8>, Option<u64>), BoxError> {
        let (mut passed, mut used) = (Vec::with_capacity(bytes.len()), None);
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.line.extend_from_slice(part);
            if !part.ends_with(b"\n") {
                continue;
            }
            let line = std::mem::take(&mut self.line);
            let chunk = chunk(&line).unwrap_or_default();
            self.letters += came(&chunk);
            let told = chunk["usage"]["total_tokens"].as_u64();
            let is_usage_alone = told.is_some() && chunk["choices"].as_array().is_some_and(Vec::is_empty);
            if self.wants_usage || !is_usage_alone {
                passed.extend_from_slice(&line);
            }
            used = told.or(used);
        }
        if self.line.len() > LONGEST {
            return Err(format!("a line of more than {LONGEST} bytes").into());
        }
        Ok((passed, used))
    }

    /// What it took, as far as that is known without `usage`.
    fn so_far(&self) -> u64 {
        self.prompt.saturating_add(tokens(self.letters))
    }

    async fn settle(&mut self, used: u64) {
        self.gateway.settle(&mut self.meter, used).await;
    }
}

impl Drop for Relay {
    /// The client has left, or it took too long, unless it is settled.
    fn drop(&mut self) {
        let used = self.so_far();
        if let Some(mut meter) = self.meter.take() {
            tracing::debug!(used, "a stream was broken off");
            meter.used(used);
        }
    }
}

/// What a line of a stream of events brings.
fn chunk(line: &[u8]) -> Option<Value> {
    serde_json::from_slice(line.strip_prefix(b"data:")?).ok()
}

/// The letters of the texts that a chunk adds.
fn came(chunk: &Value) -> u64 {
    let choices = chunk["choices"].as_array().into_iter().flatten();
    let deltas = choices.filter_map(|choice| choice["delta"].as_object()).flatten();
    deltas.filter(|(name, _)| *name != "role").map(|(_, value)| letters(value)).sum()
}
