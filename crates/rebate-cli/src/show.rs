//! How texts, numbers and times are shown to people.

use std::fmt::Write;

use rebate::{KeyRef, Status};

pub(crate) use crate::replay::table::{counted, grouped, span};

/// A key or group as it stands in a line: as it is where that is plain, else quoted, with all that a terminal obeys and all
/// bytes that are no text escaped. No two are shown alike.
pub(crate) fn shown(bytes: &[u8]) -> String {
    if let Ok(text) = std::str::from_utf8(bytes) {
        let escaped = format!("{text:?}");
        // A dash stands for none.
        let plain = escaped.len() == text.len() + 2 && !text.contains(char::is_whitespace);
        return if plain && !matches!(text, "" | "-") { text.to_owned() } else { escaped };
    }
    let mut out = String::from("\"");
    for chunk in bytes.utf8_chunks() {
        let escaped = format!("{:?}", chunk.valid());
        out.push_str(&escaped[1..escaped.len() - 1]);
        for byte in chunk.invalid() {
            // Writing to a string cannot fail.
            let _ = write!(out, "\\x{byte:02x}");
        }
    }
    out.push('"');
    out
}

/// A key within a sentence, its group after it.
pub(crate) fn shown_key(key: KeyRef<'_>) -> String {
    match key.group() {
        None => shown(key.bytes()),
        Some(group) => format!("{} of group {}", shown(key.bytes()), shown(group)),
    }
}

/// Bytes as JSON can hold them: as text, and in hexadecimal where the text cannot tell them.
pub(crate) fn as_text(bytes: &[u8]) -> (String, Option<String>) {
    match std::str::from_utf8(bytes) {
        Ok(text) => (text.to_owned(), None),
        Err(_) => {
            let hexadecimal = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            (String::from_utf8_lossy(bytes).into_owned(), Some(hexadecimal))
        }
    }
}

/// A status within a sentence.
pub(crate) fn shown_status(status: &Status) -> String {
    let [used, quota, remaining] = [status.used(), status.quota(), status.remaining()].map(grouped);
    format!("used {used} of {quota}, {remaining} remaining, resets in {}", span(status.reset_after().as_secs_f64()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_shown_so_that_no_terminal_obeys_and_none_is_taken_for_another() {
        for (bytes, says) in [
            (&b"user:42"[..], "user:42"),
            ("\u{e9}t\u{e9}'s".as_bytes(), "\u{e9}t\u{e9}'s"),
            (b"", "\"\""),
            (b"-", "\"-\""),
            (b"a b", "\"a b\""),
            (b"a\"b", r#""a\"b""#),
            (b"a\nb\x1b[2J", r#""a\nb\u{1b}[2J""#),
            ("a\u{202e}b".as_bytes(), r#""a\u{202e}b""#),
            (br"a\nb", r#""a\\nb""#),
            (b"a\xff\n", r#""a\xff\n""#),
        ] {
            assert_eq!(shown(bytes), says);
        }
    }

    #[test]
    fn bytes_that_are_no_text_are_told_in_hexadecimal_too() {
        assert_eq!(as_text(b"a"), ("a".into(), None));
        assert_eq!(as_text(b"a\xff"), ("a\u{fffd}".into(), Some("61ff".into())));
    }
}
