//! Sources: what of a request a key or a group is made of.

use std::borrow::Cow;
use std::fmt::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use rebate_core::MAX_KEY_BYTES;
use smallvec::SmallVec;

/// Answers what rules ask about a request. What is empty counts as missing.
///
/// ```
/// use std::borrow::Cow;
/// use rebate_rules::Subject;
///
/// struct Request { user: Option<u64> }
///
/// impl Subject for Request {
///     fn user(&self) -> Option<Cow<'_, [u8]>> {
///         Some(self.user?.to_string().into_bytes().into())
///     }
/// }
/// assert_eq!(Request { user: Some(42) }.user().unwrap(), &b"42"[..]);
/// ```
pub trait Subject {
    /// Who is asking, as the service found out by itself.
    fn user(&self) -> Option<Cow<'_, [u8]>> {
        None
    }

    /// The client's address: one that can be relied on, not merely what a header claims.
    fn address(&self) -> Option<IpAddr> {
        None
    }

    /// The value of the header with this name, which is in lower case. Of one that was sent several times, all
    /// values joined by `, `: a part alone would let a client choose which of them counts.
    fn header(&self, name: &str) -> Option<Cow<'_, [u8]>> {
        let _ = name;
        None
    }

    /// What the service's own function with this name answers.
    fn function(&self, name: &str) -> Option<Cow<'_, [u8]>> {
        let _ = name;
        None
    }
}

/// What of a request a key or a group is made of.
///
/// Its text is that of rule files: `user`, `ip`, `header:NAME`, `fixed:TEXT` or `function:NAME`. Keys made of
/// different sources never meet: `user:42`, `ip:203.0.113.9`, `header:x-tenant:acme`, `fixed:all`, and for a
/// function `tenant` `tenant:7`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source(Kind);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    User,
    Address,
    Header(Box<str>),
    Fixed(Box<str>),
    Function(Box<str>),
}

impl Source {
    /// # Errors
    /// What is wrong with it, and what would be right.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let taken = "`user`, `ip`, `header:NAME`, `fixed:TEXT` or `function:NAME`";
        let kind = match text.split_once(':') {
            None if text == "user" => Kind::User,
            None if text == "ip" => Kind::Address,
            Some(("header", name)) if is_token(name) => Kind::Header(name.to_ascii_lowercase().into()),
            Some(("header", name)) => return Err(format!("`{name}` is no header's name")),
            Some(("fixed", text)) if !text.is_empty() && text.len() <= 255 => Kind::Fixed(text.into()),
            Some(("fixed", _)) => return Err("the text after `fixed:` has 1 to 255 bytes".to_owned()),
            Some(("function", name)) => Kind::Function(function_name(name)?.into()),
            _ => return Err(format!("`{text}` is no source of a key; take {taken}")),
        };
        Ok(Source(kind))
    }

    /// The name of the function it asks for.
    pub fn function(&self) -> Option<&str> {
        if let Kind::Function(name) = &self.0 { Some(name) } else { None }
    }

    /// The user.
    pub(crate) fn user() -> Self {
        Source(Kind::User)
    }

    /// Whether it can choose a plan: a header or a function.
    pub(crate) fn is_attribute(&self) -> bool {
        matches!(self.0, Kind::Header(_) | Kind::Function(_))
    }

    /// Whether it asks who the user is.
    pub fn is_user(&self) -> bool {
        self.0 == Kind::User
    }

    /// Writes what a request's key is to the end of `key`.
    ///
    /// # Errors
    /// Why there is none; then `key` may have been written to.
    #[inline]
    pub(crate) fn write(
        &self,
        subject: &(impl Subject + ?Sized),
        ipv6_prefix: u8,
        key: &mut KeyBuffer,
    ) -> Result<(), Absence> {
        let start = key.bytes.len();
        match &self.0 {
            Kind::User => key.named(b"user", &present(subject.user())?),
            Kind::Address => key.address(subject.address().ok_or(Absence::Missing)?, ipv6_prefix),
            Kind::Header(name) => {
                let value = present(subject.header(name))?;
                key.bytes.extend_from_slice(b"header:");
                key.named(name.as_bytes(), &value);
            }
            Kind::Fixed(text) => key.named(b"fixed", text.as_bytes()),
            Kind::Function(name) => key.named(name.as_bytes(), &present(subject.function(name))?),
        }
        if key.bytes.len() - start > MAX_KEY_BYTES { Err(Absence::TooLong) } else { Ok(()) }
    }

    /// The attribute that chooses a plan: a header's value, or a function's answer.
    pub(crate) fn attribute<'s>(&self, subject: &'s (impl Subject + ?Sized)) -> Option<Cow<'s, [u8]>> {
        match &self.0 {
            Kind::Header(name) => subject.header(name),
            Kind::Function(name) => subject.function(name),
            _ => None,
        }
    }
}

impl fmt::Display for Source {
    /// As rule files write it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::User => f.write_str("user"),
            Kind::Address => f.write_str("ip"),
            Kind::Header(name) => write!(f, "header:{name}"),
            Kind::Fixed(text) => write!(f, "fixed:{text}"),
            Kind::Function(name) => write!(f, "function:{name}"),
        }
    }
}

/// Why a source gives no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Absence {
    Missing,
    TooLong,
}

#[inline]
fn present(value: Option<Cow<'_, [u8]>>) -> Result<Cow<'_, [u8]>, Absence> {
    value.filter(|value| !value.is_empty()).ok_or(Absence::Missing)
}

/// Whether `text` can be a header's or a method's name.
pub(crate) fn is_token(text: &str) -> bool {
    let part = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(part)
}

fn function_name(name: &str) -> Result<&str, String> {
    let part = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-');
    match name {
        // Its keys begin with its name.
        "user" | "ip" | "header" | "fixed" => Err(format!("a function cannot be called `{name}`: keys begin with it")),
        name if name.starts_with(|c: char| c.is_ascii_lowercase()) && name.bytes().all(part) && name.len() <= 64 => {
            Ok(name)
        }
        _ => Err(format!("`{name}` is no function's name: small letters, digits, `_` and `-`, a letter first")),
    }
}

/// The memory that a request's keys are written to; short ones need no allocation.
#[derive(Clone, Default)]
pub struct KeyBuffer {
    pub(crate) bytes: SmallVec<[u8; 96]>,
}

impl KeyBuffer {
    /// An empty one.
    #[inline]
    pub fn new() -> Self {
        Self::default()
    }

    #[inline(always)]
    fn named(&mut self, name: &[u8], value: &[u8]) {
        self.bytes.extend_from_slice(name);
        self.bytes.push(b':');
        self.bytes.extend_from_slice(value);
    }

    #[inline]
    pub(crate) fn address(&mut self, address: IpAddr, ipv6_prefix: u8) {
        self.bytes.extend_from_slice(b"ip:");
        match address.to_canonical() {
            IpAddr::V4(address) => self.ipv4(address),
            IpAddr::V6(address) => {
                let mask = u128::MAX << (128 - u32::from(ipv6_prefix));
                let network = Ipv6Addr::from(u128::from(address) & mask);
                // Writing to memory cannot fail.
                let _ = match ipv6_prefix {
                    128 => write!(self, "{network}"),
                    prefix => write!(self, "{network}/{prefix}"),
                };
            }
        }
    }

    /// By hand: formatting costs as much as a charge.
    #[inline]
    fn ipv4(&mut self, address: Ipv4Addr) {
        for (at, octet) in address.octets().into_iter().enumerate() {
            if at > 0 {
                self.bytes.push(b'.');
            }
            if octet >= 100 {
                self.bytes.push(b'0' + octet / 100);
            }
            if octet >= 10 {
                self.bytes.push(b'0' + octet / 10 % 10);
            }
            self.bytes.push(b'0' + octet % 10);
        }
    }
}

impl fmt::Debug for KeyBuffer {
    /// Only the length: keys may be personal data.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyBuffer({} bytes)", self.bytes.len())
    }
}

impl Write for KeyBuffer {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.bytes.extend_from_slice(text.as_bytes());
        Ok(())
    }
}
