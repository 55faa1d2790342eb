//! A request as the command line, or a log, tells of it.

use std::borrow::Cow;
use std::net::IpAddr;

use rebate::rules::Subject;

/// What is known of a request.
#[derive(Clone, Debug, Default)]
pub(crate) struct Told<'a> {
    pub(crate) user: Option<&'a [u8]>,
    pub(crate) address: Option<IpAddr>,
    pub(crate) headers: &'a [Named],
    pub(crate) functions: &'a [Named],
}

/// A header's value, or a function's answer.
#[derive(Clone, Debug)]
pub(crate) struct Named {
    pub(crate) name: String,
    pub(crate) value: String,
}

impl Named {
    /// Reads `NAME=VALUE`.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some((name, value)) if !name.is_empty() => {
                Ok(Named { name: name.trim().to_owned(), value: value.to_owned() })
            }
            _ => Err("give a name and a value, as NAME=VALUE".to_owned()),
        }
    }
}

impl Subject for Told<'_> {
    fn user(&self) -> Option<Cow<'_, [u8]>> {
        self.user.map(Into::into)
    }

    fn address(&self) -> Option<IpAddr> {
        self.address
    }

    fn header(&self, name: &str) -> Option<Cow<'_, [u8]>> {
        let mut values = self.headers.iter().filter(|header| header.name.eq_ignore_ascii_case(name));
        let first = values.next()?.value.as_bytes();
        let more: Vec<&str> = values.map(|header| &*header.value).collect();
        match more.is_empty() {
            true => Some(first.into()),
            false => Some([first, b", ", more.join(", ").as_bytes()].concat().into()),
        }
    }

    fn function(&self, name: &str) -> Option<Cow<'_, [u8]>> {
        let answer = self.functions.iter().find(|function| function.name == name)?;
        Some(answer.value.as_bytes().into())
    }
}
