//! Two clients of the API: a common one, and one that sends whatever it is given.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use rebate_servers::until;
use serde_json::{Value, json};
use ureq::http::{HeaderMap, HeaderName, HeaderValue, Request};

use crate::program::Api;

/// Far more than any answer takes.
const PATIENCE: Duration = Duration::from_secs(30);

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        Some(self.headers.get(name)?.to_str().expect("ASCII"))
    }

    /// What `X-RateLimit-…` says, all three of which are there or none.
    #[track_caller]
    pub(crate) fn told(&self) -> Option<[u64; 3]> {
        let three = ["x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"];
        let three = three.map(|name| self.header(name).map(|text| text.parse().expect("a number")));
        assert!(three.iter().all(Option::is_some) || three.iter().all(Option::is_none), "{three:?}");
        assert_eq!(three[0].is_some(), self.header("ratelimit").is_some(), "the draft's header comes along");
        assert_eq!(three[0].is_some(), self.header("ratelimit-policy").is_some(), "and so does the policy");
        Some([three[0]?, three[1]?, three[2]?])
    }

    /// Status and what remains.
    #[track_caller]
    pub(crate) fn short(&self) -> (u16, Option<u64>) {
        (self.status, self.told().map(|[_, remaining, _]| remaining))
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }
}

impl Api {
    /// A request of `user`'s, whose empty name is nobody.
    #[track_caller]
    pub(crate) fn send(&self, method: &str, user: &str, path: &str, body: Option<Value>) -> Answer {
        self.try_send(method, user, path, body).expect("an answer")
    }

    pub(crate) fn try_send(
        &self,
        method: &str,
        user: &str,
        path: &str,
        body: Option<Value>,
    ) -> Result<Answer, ureq::Error> {
        let agent: ureq::Agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .timeout_global(Some(PATIENCE))
            .build()
            .into();
        let mut request = Request::builder().method(method).uri(format!("http://{}{path}", self.address));
        if !user.is_empty() {
            request = request.header("authorization", format!("Bearer {user}"));
        }
        let mut response = match body {
            Some(body) => agent
                .run(request.header("content-type", "application/json").body(body.to_string()).expect("a request"))?,
            None => agent.run(request.body(()).expect("a request"))?,
        };
        let body = response.body_mut().read_to_string()?;
        Ok(Answer { status: response.status().as_u16(), headers: response.headers().clone(), body })
    }

    #[track_caller]
    pub(crate) fn get(&self, user: &str, path: &str) -> Answer {
        self.send("GET", user, path, None)
    }

    /// Posts a prompt.
    #[track_caller]
    pub(crate) fn post(&self, user: &str, path: &str, prompt: &str) -> Answer {
        self.send("POST", user, path, Some(json!({"prompt": prompt})))
    }

    /// The same, which must be accepted as a task; answers with its path.
    #[track_caller]
    pub(crate) fn submit(&self, user: &str, path: &str, prompt: &str) -> (Answer, String) {
        let answer = self.post(user, path, prompt);
        assert_eq!(answer.status, 202, "{answer:?}");
        let task = answer.header("location").expect("the task's path").to_owned();
        (answer, task)
    }

    /// Waits until a task stands so.
    #[track_caller]
    pub(crate) fn wait(&self, user: &str, task: &str, state: &str) {
        until(&format!("{task} is {state}"), || {
            let answer = self.get(user, task);
            assert_eq!(answer.status, 200, "{answer:?}");
            (answer.json()["state"] == state).then_some(())
        });
    }

    /// Exports a concept that is not there, which costs nothing: how many exports are left.
    #[track_caller]
    pub(crate) fn exports_left(&self, user: &str) -> u64 {
        let answer = self.send("POST", user, "/api/export/process", Some(json!({"concept": 0})));
        assert_eq!(answer.status, 404, "{answer:?}");
        answer.told().expect("the path is limited")[1]
    }

    /// Bytes as they are, on a connection of their own.
    pub(crate) fn connect(&self, bytes: &[u8]) -> TcpStream {
        connect(self.address, bytes)
    }

    /// A request with this target and a body of `{}`, and the answer to it.
    #[track_caller]
    pub(crate) fn raw(&self, method: &str, user: &str, target: &str) -> Answer {
        self.raw_bytes(
            format!(
                "{method} {target} HTTP/1.1\r\nhost: api\r\nauthorization: Bearer {user}\r\nconnection: close\r\n\
                 content-type: application/json\r\ncontent-length: 2\r\n\r\n{{}}"
            )
            .as_bytes(),
        )
    }

    #[track_caller]
    pub(crate) fn raw_bytes(&self, bytes: &[u8]) -> Answer {
        parse(&read(self.connect(bytes)))
    }

    /// What Prometheus reads.
    pub(crate) fn numbers(&self) -> String {
        let answer = parse(&read(connect(self.metrics, b"GET /metrics HTTP/1.0\r\n\r\n")));
        assert_eq!((answer.status, answer.header("content-type")), (200, Some("text/plain; version=0.0.4")));
        answer.body
    }
}

fn connect(address: SocketAddr, bytes: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(address).expect("a connection");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream.write_all(bytes).expect("the bytes are sent");
    stream
}

fn read(mut stream: TcpStream) -> String {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).expect("an answer");
    String::from_utf8(bytes).expect("text")
}

/// An answer whose end is the connection's, and whose body is not in chunks.
#[track_caller]
fn parse(text: &str) -> Answer {
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {text}"));
    let mut lines = head.lines();
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).expect("a status");
    let header = |line: &str| {
        let (name, value) = line.split_once(':').expect("a header");
        (HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value.trim()).unwrap())
    };
    Answer { status: status.parse().expect("a number"), headers: lines.map(header).collect(), body: body.to_owned() }
}
