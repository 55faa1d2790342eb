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

/// A key as it is charged, taken apart into what a request must have said for it.
#[derive(Clone, Debug)]
pub(crate) enum AskedKey {
    User(String),
    Address(IpAddr),
    Header(Named),
    Function(Named),
    /// Every request's.
    Fixed,
}

impl AskedKey {
    /// Reads `user:42`, `ip:203.0.113.9`, `header:x-tenant:acme`, `fixed:all` or `tenant:7`.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let forms = "a whole key reads `user:42`, `ip:203.0.113.9`, `header:x-tenant:acme`, `fixed:all`, or a function's name \
                     and its answer, `tenant:7`";
        let named = |name: &str, value: &str| Named { name: name.to_owned(), value: value.to_owned() };
        match text.split_once(':').ok_or(forms)? {
            (_, "") => Err(forms.to_owned()),
            ("user", user) => Ok(AskedKey::User(user.to_owned())),
            ("ip", address) => {
                let address = address.split('/').next().unwrap_or_default().parse();
                address.map(AskedKey::Address).map_err(|_| forms.to_owned())
            }
            ("header", header) => {
                let (name, value) = header.split_once(':').ok_or(forms)?;
                Ok(AskedKey::Header(named(name, value)))
            }
            ("fixed", _) => Ok(AskedKey::Fixed),
            (function, answer) => Ok(AskedKey::Function(named(function, answer))),
        }
    }
}

/// A method's name, as HTTP takes it.
pub(crate) fn method(text: &str) -> Result<String, String> {
    let part = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    match !text.is_empty() && text.bytes().all(part) {
        true => Ok(text.to_owned()),
        false => Err("no method's name: it is one word such as POST".to_owned()),
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
