//! What the header `Idempotency-Key` says.

use std::convert::Infallible;

use http::{HeaderMap, HeaderName};
use sfv::visitor::{Ignored, ItemVisitor, ParameterVisitor, parameter_visitor_with};
use sfv::{BareItemFromInput, Parser};

use super::KeyFault;

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const LONGEST: usize = 255;

/// The key, without quotes; `None` where there is none.
pub(super) fn key(headers: &HeaderMap) -> Result<Option<Box<str>>, KeyFault> {
    let mut values = headers.get_all(IDEMPOTENCY_KEY).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(KeyFault::Repeated);
    }
    let value = value.as_bytes().trim_ascii();
    let key = if value.starts_with(b"\"") { quoted(value)? } else { bare(value)? };
    match key.len() {
        0 => Err(KeyFault::Empty),
        1..=LONGEST => Ok(Some(key)),
        _ => Err(KeyFault::TooLong),
    }
}

/// A string of RFC 9651. Parameters are allowed, and say nothing here.
fn quoted(value: &[u8]) -> Result<Box<str>, KeyFault> {
    struct Text;
    impl<'de> ItemVisitor<'de> for Text {
        type Out = Option<Box<str>>;
        type Error = Infallible;

        fn bare_item(
            self,
            item: BareItemFromInput<'de>,
        ) -> Result<impl ParameterVisitor<'de, Out = Self::Out>, Infallible> {
            let text = match item {
                BareItemFromInput::String(text) => Some(text.as_str().into()),
                _ => None,
            };
            Ok(parameter_visitor_with(Ignored, move |_| Ok(text)))
        }
    }
    Parser::new(value).parse_item_with_visitor(Text).ok().flatten().ok_or(KeyFault::Malformed)
}

/// As most clients write it. What would end or part an item is in none: a proxy may have made one line of two.
fn bare(value: &[u8]) -> Result<Box<str>, KeyFault> {
    match std::str::from_utf8(value) {
        Ok(text) if text.bytes().all(|byte| byte.is_ascii_graphic() && !br#"",;\"#.contains(&byte)) => Ok(text.into()),
        _ => Err(KeyFault::Malformed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn read(lines: &[&[u8]]) -> Result<Option<Box<str>>, KeyFault> {
        key(&lines.iter().map(|line| (IDEMPOTENCY_KEY, HeaderValue::from_bytes(line).unwrap())).collect())
    }

    #[test]
    fn quoted_and_bare_keys_are_read_as_the_same() {
        assert_eq!(read(&[]), Ok(None));
        for (line, key) in [
            (r#""8e03978e-40d5-43e8-bc93-6894a57f9324""#, "8e03978e-40d5-43e8-bc93-6894a57f9324"),
            ("8e03978e-40d5-43e8-bc93-6894a57f9324", "8e03978e-40d5-43e8-bc93-6894a57f9324"),
            (r#""a";version=2"#, "a"),
            (r#""with a space, \"quotes\" and \\""#, r#"with a space, "quotes" and \"#),
            ("bXktdXNlcg+/==", "bXktdXNlcg+/=="),
            ("user:7/retry?1", "user:7/retry?1"),
            ("42", "42"),
            (" a\t", "a"),
        ] {
            assert_eq!(read(&[line.as_bytes()]), Ok(Some(key.into())), "{line}");
        }
    }

    #[test]
    fn what_is_no_key_is_said() {
        let malformed: [&[u8]; 11] = [
            b"a, b",
            b"a,b",
            b"a;b",
            b"a b",
            b"\"a",
            b"\"a\"b",
            b"\"a\", \"b\"",
            b"a\"",
            b"\xff",
            b"\"\xc3\xa9\"",
            b"a\\",
        ];
        for line in malformed {
            assert_eq!(read(&[line]), Err(KeyFault::Malformed), "{line:?}");
        }
        assert_eq!(read(&[b"a", b"a"]), Err(KeyFault::Repeated));
        for line in ["", "\"\"", " "] {
            assert_eq!(read(&[line.as_bytes()]), Err(KeyFault::Empty), "{line}");
        }
    }

    #[test]
    fn the_quotes_are_not_counted() {
        for (length, fits) in [(255, true), (256, false)] {
            let text = "k".repeat(length);
            for line in [text.clone(), format!("\"{text}\"")] {
                assert_eq!(
                    read(&[line.as_bytes()]),
                    if fits { Ok(Some(text.as_str().into())) } else { Err(KeyFault::TooLong) }
                );
            }
        }
    }
}
