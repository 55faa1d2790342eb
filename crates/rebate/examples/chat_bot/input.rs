//! Where messages come from: lines of `user-id<TAB>user-name<TAB>text`.

use std::io::{self, BufRead, Read};

/// The longest line: what is longer is no chat message, and must not fill the memory either.
pub(crate) const LONGEST_LINE: usize = 16 * 1024;
/// The longest user id: it becomes part of a key in Redis.
const LONGEST_ID: usize = 128;

/// One message.
#[derive(Debug)]
pub(crate) struct Message {
    /// Whose budget it is charged to. Never changes, unlike the name.
    pub(crate) user_id: String,
    /// What `WHITELISTED_USERS` is about.
    pub(crate) user_name: String,
    pub(crate) text: String,
}

/// A line's number, from 1, and the message in it, or what is wrong with it.
pub(crate) type Line = (u64, Result<Message, String>);

/// The lines of an input.
pub(crate) struct Lines<R> {
    input: R,
    number: u64,
}

impl<R: BufRead> Lines<R> {
    pub(crate) fn new(input: R) -> Self {
        Lines { input, number: 0 }
    }

    fn read(&mut self) -> io::Result<Option<Line>> {
        let mut bytes = Vec::new();
        let most = LONGEST_LINE as u64 + 1;
        if self.input.by_ref().take(most).read_until(b'\n', &mut bytes)? == 0 {
            return Ok(None);
        }
        self.number += 1;
        if bytes.pop_if(|byte| *byte == b'\n').is_none() && bytes.len() > LONGEST_LINE {
            self.input.skip_until(b'\n')?;
            return Ok(Some((self.number, Err(format!("it is longer than {LONGEST_LINE} bytes")))));
        }
        bytes.pop_if(|byte| *byte == b'\r');
        Ok(Some((self.number, parse(&bytes))))
    }
}

impl<R: BufRead> Iterator for Lines<R> {
    type Item = io::Result<Line>;

    fn next(&mut self) -> Option<Self::Item> {
        self.read().transpose()
    }
}

fn parse(line: &[u8]) -> Result<Message, String> {
    let line = std::str::from_utf8(line).map_err(|error| format!("byte {} is not UTF-8", error.valid_up_to() + 1))?;
    if line.is_empty() {
        return Err("it is empty".into());
    }
    let mut fields = line.splitn(3, '\t').map(str::trim);
    let (Some(user_id), Some(user_name), Some(text)) = (fields.next(), fields.next(), fields.next()) else {
        let tabs = line.matches('\t').count();
        return Err(format!("it has {} instead of two", if tabs == 0 { "no tab" } else { "one tab" }));
    };
    let empty = [("user id", user_id), ("user name", user_name), ("text", text)]
        .into_iter()
        .find(|(_, field)| field.is_empty());
    if let Some((name, _)) = empty {
        return Err(format!("its {name} is empty"));
    }
    if user_id.len() > LONGEST_ID {
        return Err(format!("its user id is longer than {LONGEST_ID} bytes"));
    }
    Ok(Message { user_id: user_id.into(), user_name: user_name.into(), text: text.into() })
}
