//! A small API that is compatible with OpenAI's, as far as it goes. It stands for one that has a model: it says four letters
//! with each token, and is told by the last message how to behave (README.md lists the words).

use axum::http::StatusCode;
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use futures_util::{StreamExt, stream};
use serde_json::{Value, json};

use crate::answers::error;
use crate::asked::{letters, tokens};

/// Tokens said to a message that asks for no number.
const USUAL: u64 = 20;
const WORDS: [&str; 5] = ["the ", "cat ", "saw ", "its ", "own "];

/// How the last message wants it.
#[derive(Debug, Default)]
struct Play {
    /// `say=20`: tokens of the reply, if that many may be said.
    say: Option<u64>,
    /// `prompt=100`: tokens that the prompt is found to have.
    prompt: Option<u64>,
    /// `break=5`: breaks off after so many tokens.
    breaks: Option<u64>,
    /// `hang=5`: says nothing more after so many tokens.
    hangs: Option<u64>,
    /// `fail`: answers 500.
    fails: bool,
}

/// The routes.
pub(crate) fn router() -> Router {
    Router::new().route("/v1/chat/completions", post(completions))
}

async fn completions(Json(asked): Json<Value>) -> Response {
    let play = Play::read(&asked);
    if play.fails {
        return error(StatusCode::INTERNAL_SERVER_ERROR, "server_error", None, "The model has a headache.");
    }
    let most = asked["max_completion_tokens"].as_u64().or(asked["max_tokens"].as_u64()).unwrap_or(u64::MAX);
    let said = play.say.unwrap_or(USUAL).min(most);
    let prompt = play.prompt.unwrap_or_else(|| tokens(letters(&asked["messages"])));
    let reply = Reply { asked, play, said, prompt };
    if reply.asked["stream"] == true { reply.stream() } else { reply.plain().await }
}

struct Reply {
    asked: Value,
    play: Play,
    said: u64,
    prompt: u64,
}

/// What a stream does next.
#[derive(Clone)]
enum Step {
    Send(Value),
    Done,
    Break,
    Hang,
}

impl Reply {
    async fn plain(self) -> Response {
        if self.play.hangs.is_some() {
            std::future::pending::<()>().await;
        }
        let text: String = (0..self.said).map(word).collect();
        let message = json!({"role": "assistant", "content": text});
        let choice = json!({"index": 0, "message": message, "finish_reason": "stop"});
        let body = json!({"object": "chat.completion", "model": self.asked["model"], "choices": [choice], "usage": self.usage()});
        if self.play.breaks.is_some() {
            let half = body.to_string().split_at(20).0.to_owned();
            let half = stream::iter([Ok(half), Err(std::io::Error::other("as it was told"))]);
            return axum::body::Body::from_stream(half.then(flushed)).into_response();
        }
        Json(body).into_response()
    }

    fn stream(self) -> Response {
        let tells = self.asked["stream_options"]["include_usage"] == true;
        let chunk = |delta: Value, finish: Option<&str>| {
            let choice = json!({"index": 0, "delta": delta, "finish_reason": finish});
            let mut chunk =
                json!({"object": "chat.completion.chunk", "model": self.asked["model"], "choices": [choice]});
            if tells {
                chunk["usage"] = Value::Null;
            }
            Step::Send(chunk)
        };
        let mut steps = vec![chunk(json!({"role": "assistant", "content": ""}), None)];
        for number in 0..self.said {
            steps.extend((self.play.breaks == Some(number)).then_some(Step::Break));
            steps.extend((self.play.hangs == Some(number)).then_some(Step::Hang));
            steps.push(chunk(json!({"content": word(number)}), None));
        }
        steps.push(chunk(json!({}), Some("stop")));
        if tells {
            steps.push(Step::Send(json!({"object": "chat.completion.chunk", "choices": [], "usage": self.usage()})));
        }
        steps.push(Step::Done);
        Sse::new(stream::iter(steps).then(Step::take).then(flushed)).into_response()
    }

    fn usage(&self) -> Value {
        json!({"prompt_tokens": self.prompt, "completion_tokens": self.said, "total_tokens": self.prompt + self.said})
    }
}

impl Step {
    async fn take(self) -> Result<Event, std::io::Error> {
        match self {
            Step::Send(chunk) => Ok(Event::default().data(chunk.to_string())),
            Step::Done => Ok(Event::default().data("[DONE]")),
            Step::Break => Err(std::io::Error::other("as it was told")),
            Step::Hang => std::future::pending().await,
        }
    }
}

impl Play {
    fn read(asked: &Value) -> Self {
        let mut play = Play::default();
        let last = asked["messages"].as_array().and_then(|messages| messages.last()).unwrap_or(&Value::Null);
        for word in last["content"].as_str().unwrap_or_default().split_whitespace() {
            let (name, number) = word.split_once('=').unwrap_or((word, ""));
            let number = number.parse().ok();
            match name {
                "say" => play.say = number,
                "prompt" => play.prompt = number,
                "break" => play.breaks = number,
                "hang" => play.hangs = number,
                "fail" => play.fails = true,
                _ => {}
            }
        }
        play
    }
}

fn word(number: u64) -> &'static str {
    WORDS[number as usize % WORDS.len()]
}

/// Lets the server send what it has been given before it is given more, or a fault.
async fn flushed<T>(item: T) -> T {
    tokio::task::yield_now().await;
    item
}
