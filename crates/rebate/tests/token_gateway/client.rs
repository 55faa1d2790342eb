//! A client of the gateway.

use std::net::SocketAddr;

use axum::body::{Body, BodyDataStream, to_bytes};
use axum::http::{HeaderMap, Request, Response};
use futures_util::StreamExt;
use hyper_util::client::legacy::{self, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};

/// A request for a completion, whose prompt is what the upstream is told: by it and `user`, the role, a token for every four
/// letters.
pub(crate) fn asking(told: &str) -> Value {
    json!({"model": "small", "messages": [{"role": "user", "content": told}]})
}

/// The same, of `letters` in all.
pub(crate) fn asking_at_length(told: &str, letters: usize) -> Value {
    asking(&format!("{told:<width$}", width = letters - "user".len()))
}

/// With more members.
pub(crate) fn with(mut asked: Value, members: Value) -> Value {
    let members = members.as_object().expect("members").clone();
    asked.as_object_mut().expect("a request").extend(members);
    asked
}

#[derive(Clone)]
pub(crate) struct Client {
    inner: legacy::Client<HttpConnector, Body>,
    address: SocketAddr,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
}

/// An answer that comes bit by bit.
pub(crate) struct Stream {
    pub(crate) headers: HeaderMap,
    body: BodyDataStream,
    came: String,
    /// How many events were read.
    read: usize,
}

/// A stream to its end.
#[derive(Debug)]
pub(crate) struct Whole {
    pub(crate) events: Vec<Value>,
    /// Whether it ended as it should.
    pub(crate) ended: bool,
}

impl Client {
    pub(crate) fn new(address: SocketAddr) -> Self {
        Client { inner: legacy::Client::builder(TokioExecutor::new()).build_http(), address }
    }

    async fn send(&self, user: &str, body: &str) -> Response<Body> {
        let request = Request::post(format!("http://{}/v1/chat/completions", self.address))
            .header("authorization", format!("Bearer {user}"))
            .header("content-type", "application/json")
            .body(Body::from(body.to_owned()))
            .expect("a request");
        self.inner.request(request).await.expect("an answer").map(Body::new)
    }

    /// The whole answer, as JSON.
    pub(crate) async fn ask(&self, user: &str, asked: &Value) -> Answer {
        self.ask_as_it_is(user, &asked.to_string()).await
    }

    pub(crate) async fn ask_as_it_is(&self, user: &str, body: &str) -> Answer {
        let (head, body) = self.send(user, body).await.into_parts();
        let body = to_bytes(body, usize::MAX).await.expect("the whole answer");
        let body = serde_json::from_slice(&body).expect("JSON");
        Answer { status: head.status.as_u16(), headers: head.headers, body }
    }

    /// The answer as a stream, unless it is denied.
    pub(crate) async fn stream(&self, user: &str, asked: &Value) -> Result<Stream, Answer> {
        let asked = with(asked.clone(), json!({"stream": true}));
        let (head, body) = self.send(user, &asked.to_string()).await.into_parts();
        let kind = head.headers.get("content-type").and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        if !kind.to_ascii_lowercase().starts_with("text/event-stream") {
            let body =
                serde_json::from_slice(&to_bytes(body, usize::MAX).await.expect("the whole answer")).expect("JSON");
            return Err(Answer { status: head.status.as_u16(), headers: head.headers, body });
        }
        Ok(Stream { headers: head.headers, body: body.into_data_stream(), came: String::new(), read: 0 })
    }
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().expect("ASCII"))
    }

    /// Seconds until it may ask again.
    pub(crate) fn retry_after(&self) -> Option<u64> {
        self.header("retry-after").map(|text| text.parse().expect("a number"))
    }
}

impl Stream {
    /// The next event; `None` at the end, an error where it broke.
    pub(crate) async fn next(&mut self) -> Option<Result<Value, axum::Error>> {
        loop {
            if let Some((event, rest)) = self.came.split_once("\n\n") {
                let (event, rest) = (event.trim().to_owned(), rest.to_owned());
                self.came = rest;
                if event.is_empty() {
                    continue;
                }
                self.read += 1;
                let data = event.strip_prefix("data: ").expect("data");
                return Some(Ok(serde_json::from_str(data).unwrap_or_else(|_| data.into())));
            }
            match self.body.next().await? {
                Ok(bytes) => self.came.push_str(std::str::from_utf8(&bytes).expect("text")),
                Err(error) => return Some(Err(error)),
            }
        }
    }

    /// Reads until so many tokens have come.
    pub(crate) async fn read_tokens(&mut self, tokens: usize) {
        // The first event tells the role.
        while self.read < tokens + 1 {
            self.next().await.expect("more").expect("no fault");
        }
    }

    /// All that comes, as it is.
    pub(crate) async fn bytes(mut self) -> String {
        while let Some(bytes) = self.body.next().await {
            self.came.push_str(std::str::from_utf8(&bytes.expect("no fault")).expect("text"));
        }
        self.came
    }

    /// Reads it to its end.
    pub(crate) async fn whole(mut self) -> Whole {
        let mut events = Vec::new();
        loop {
            match self.next().await {
                Some(Ok(event)) => events.push(event),
                end => return Whole { events, ended: end.is_none() },
            }
        }
    }
}

impl Whole {
    /// What the stream says it took.
    pub(crate) fn usage(&self) -> Option<u64> {
        self.events.iter().find_map(|event| event["usage"]["total_tokens"].as_u64())
    }

    /// How many tokens were said.
    pub(crate) fn said(&self) -> usize {
        let texts = self.events.iter().filter_map(|event| event["choices"][0]["delta"]["content"].as_str());
        texts.map(|text| text.len() / 4).sum()
    }
}
