//! What a client asks for, and what that may cost.

use axum::body::Bytes;
use serde_json::{Value, json};

/// A request for a completion.
#[derive(Debug)]
pub(crate) struct Asked {
    /// What is sent on.
    pub(crate) body: Bytes,
    /// Tokens of the prompt, as they are estimated.
    pub(crate) prompt: u64,
    /// Tokens in all, as they are estimated: at least one.
    pub(crate) estimate: u64,
    /// Whether the reply is to be a stream.
    pub(crate) streams: bool,
    /// Whether the client wants to see what a stream took. The gateway always asks for it.
    pub(crate) wants_usage: bool,
}

impl Asked {
    /// Reads a request's body. One that says not how long its reply may be is taken for `assumed` tokens.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn read(body: &[u8], assumed: u64) -> Result<Self, String> {
        let mut body: Value = serde_json::from_slice(body).map_err(|error| format!("The body is no JSON: {error}."))?;
        if !body.is_object() || !body["messages"].is_array() {
            return Err("The body has no `messages`.".into());
        }
        let streams = flag(&body["stream"], "stream")?;
        let wants_usage = flag(&body["stream_options"]["include_usage"], "stream_options.include_usage")?;
        let most = match number(&body, "max_completion_tokens")? {
            Some(most) => most,
            None => number(&body, "max_tokens")?.unwrap_or(assumed),
        };
        let choices = number(&body, "n")?.unwrap_or(1);
        let forms = ["tools", "functions", "response_format"].map(|name| length(&body[name]));
        let prompt = tokens(letters(&body["messages"]) + forms.iter().sum::<u64>());
        let estimate = prompt.saturating_add(most.saturating_mul(choices)).max(1);
        if streams {
            body["stream_options"] = json!({"include_usage": true});
        }
        // Written anew: where a name comes twice, the upstream cannot read another one of them than was read here.
        Ok(Asked { body: body.to_string().into(), prompt, estimate, streams, wants_usage })
    }
}

/// Tokens of so many letters. That there are four in one is a rule of thumb for English.
pub(crate) fn tokens(letters: u64) -> u64 {
    letters.div_ceil(4)
}

/// The letters of all texts in `value`.
pub(crate) fn letters(value: &Value) -> u64 {
    match value {
        Value::String(text) => text.chars().count() as u64,
        Value::Array(values) => values.iter().map(letters).sum(),
        Value::Object(values) => values.values().map(letters).sum(),
        _ => 0,
    }
}

/// The letters of a schema, whose names are read by the model too.
fn length(value: &Value) -> u64 {
    if value.is_null() { 0 } else { value.to_string().chars().count() as u64 }
}

/// A number that was given. What only looks like one (`1e9`) may be one to the upstream.
fn number(body: &Value, name: &str) -> Result<Option<u64>, String> {
    match &body[name] {
        Value::Null => Ok(None),
        value => value.as_u64().map(Some).ok_or_else(|| format!("`{name}` is no whole number: {value}.")),
    }
}

fn flag(value: &Value, name: &str) -> Result<bool, String> {
    match value {
        Value::Null => Ok(false),
        Value::Bool(flag) => Ok(*flag),
        _ => Err(format!("`{name}` is neither true nor false.")),
    }
}
