//! JSON lines: one object on each, of which three fields matter.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::{BadLine, DayMemo, KeyField, ParsedLine, RequestLine, Shape, status, time};

/// Reads a line that is not blank. Of a field that is there twice the last counts.
pub(super) fn parse<'a>(line: &'a [u8], shape: &Shape, days: &mut DayMemo) -> Result<ParsedLine<'a>, BadLine> {
    let paths = [shape.time_field.as_str(), shape.key_field.as_str(), shape.status_field.as_str()];
    let [time, key, code] = fields(line, paths)?;
    Ok(ParsedLine {
        micros: micros(time.ok_or_else(|| missing(paths[0]))?, shape, days)?,
        key: key_bytes(key.ok_or_else(|| missing(paths[1]))?, paths[1])?,
        status: code.map_or(Ok(0), |code| status_of(code, paths[2]))?,
    })
}

/// Reads the request of a line that is not blank. A user or an address may be missing.
pub(super) fn request<'a>(line: &'a [u8], shape: &Shape, days: &mut DayMemo) -> Result<RequestLine<'a>, BadLine> {
    let [ip, user, method, path] = [KeyField::Ip, KeyField::User, KeyField::Method, KeyField::Path].map(KeyField::name);
    let found = fields(line, [&shape.time_field, &shape.status_field, ip, user, method, path])?;
    let [time, code, address, person, verb, target] = found;
    let known = |raw: Option<&'a RawValue>, name| raw.map_or(Ok(None), |raw| key_bytes(raw, name));
    let needed = |raw: Option<&'a RawValue>, name| known(raw, name)?.ok_or_else(|| missing(name));
    Ok(RequestLine {
        micros: micros(time.ok_or_else(|| missing(&shape.time_field))?, shape, days)?,
        status: code.map_or(Ok(0), |code| status_of(code, &shape.status_field))?,
        address: known(address, ip)?,
        user: known(person, user)?,
        method: needed(verb, method)?,
        target: needed(target, path)?,
    })
}

/// The values at these places of an object.
fn fields<'a, const N: usize>(line: &'a [u8], paths: [&str; N]) -> Result<[Option<&'a RawValue>; N], BadLine> {
    let mut found = [None; N];
    let mut deserializer = serde_json::Deserializer::from_slice(line);
    Object { paths: paths.map(Some), found: &mut found }
        .deserialize(&mut deserializer)
        .and_then(|()| deserializer.end())
        .map_err(|error| not_json(&error))?;
    Ok(found)
}

fn missing(name: &str) -> BadLine {
    BadLine::because(format!("no field `{}`", name.escape_debug()))
}

fn not_json(error: &serde_json::Error) -> BadLine {
    // serde_json says the line and column: the line is always 1.
    let text = error.to_string();
    let reason = text.split(" at line ").next().unwrap_or_default();
    BadLine::because(format!("not a JSON object: {reason} (column {})", error.column()))
}

fn micros(raw: &RawValue, shape: &Shape, days: &mut DayMemo) -> Result<u64, BadLine> {
    match raw.get().as_bytes() {
        [b'"', ..] => days.text(&string(raw)?, shape.time_unit),
        [b'-' | b'0'..=b'9', ..] => time::number(raw.get(), shape.time_unit),
        _ => Err(BadLine::because(format!("the time is {}", kind(raw)))),
    }
}

fn key_bytes<'a>(raw: &'a RawValue, name: &str) -> Result<Option<Cow<'a, [u8]>>, BadLine> {
    match raw.get().as_bytes() {
        b"null" => Ok(None),
        b"\"-\"" => Ok(None),
        [b'"', ..] => Ok(Some(match string(raw)? {
            Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
            Cow::Owned(text) => Cow::Owned(text.into_bytes()),
        })),
        [b'{' | b'[', ..] => Err(BadLine::because(format!("the key `{}` is {}", name.escape_debug(), kind(raw)))),
        // Numbers as they are written: 20 digits are an identity, not a quantity.
        scalar => Ok(Some(Cow::Borrowed(scalar))),
    }
}

fn status_of(raw: &RawValue, name: &str) -> Result<u16, BadLine> {
    let code = match raw.get().as_bytes() {
        b"null" => Some(0),
        [b'"', ..] => status(string(raw)?.as_bytes()),
        digits => status(digits),
    };
    code.ok_or_else(|| BadLine::because(format!("the status `{}` is not three digits", name.escape_debug())))
}

fn string(raw: &RawValue) -> Result<Cow<'_, str>, BadLine> {
    let text = raw.get();
    match text.strip_prefix('"').and_then(|text| text.strip_suffix('"')) {
        Some(plain) if !plain.contains('\\') => Ok(Cow::Borrowed(plain)),
        _ => serde_json::from_str::<String>(text).map(Cow::Owned).map_err(|error| not_json(&error)),
    }
}

fn kind(raw: &RawValue) -> &'static str {
    match raw.get().as_bytes().first() {
        Some(b'{') => "an object",
        Some(b'[') => "a list",
        Some(b'"') => "a string",
        Some(b'n') => "null",
        Some(b't' | b'f') => "true or false",
        _ => "a number",
    }
}

/// What is looked for in one object: of each path what is left of it here.
struct Object<'p, 'f, 'a, const N: usize> {
    paths: [Option<&'p str>; N],
    found: &'f mut [Option<&'a RawValue>; N],
}

impl<'a, const N: usize> DeserializeSeed<'a> for Object<'_, '_, 'a, N> {
    type Value = ();

    fn deserialize<D: Deserializer<'a>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'a, const N: usize> Visitor<'a> for Object<'_, '_, 'a, N> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<M: MapAccess<'a>>(self, mut map: M) -> Result<(), M::Error> {
        while let Some(Name(name)) = map.next_key::<Name<'a>>()? {
            let whole = self.paths.map(|path| path == Some(name.as_ref()));
            let inside = self.paths.map(|path| path?.strip_prefix(name.as_ref())?.strip_prefix('.'));
            let wanted = whole.contains(&true);
            if !wanted && inside == [None; N] {
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            let value: &'a RawValue = map.next_value()?;
            for (found, _) in self.found.iter_mut().zip(whole).filter(|(_, whole)| *whole) {
                *found = Some(value);
            }
            if inside != [None; N] && value.get().starts_with('{') {
                let mut deserializer = serde_json::Deserializer::from_str(value.get());
                Object { paths: inside, found: self.found }
                    .deserialize(&mut deserializer)
                    .map_err(serde::de::Error::custom)?;
            }
        }
        Ok(())
    }
}

/// A member's name, borrowed unless it is escaped.
struct Name<'a>(Cow<'a, str>);

impl<'a> serde::Deserialize<'a> for Name<'a> {
    fn deserialize<D: Deserializer<'a>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;

        impl<'a> Visitor<'a> for Text {
            type Value = Name<'a>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name")
            }

            fn visit_borrowed_str<E>(self, text: &'a str) -> Result<Name<'a>, E> {
                Ok(Name(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Name<'a>, E> {
                Ok(Name(Cow::Owned(text.to_owned())))
            }
        }

        deserializer.deserialize_str(Text)
    }
}
