//! Receipts as text: compact, versioned, signed when there is a secret.
//!
//! A token is `r1` and the unpadded URL-safe base64 of the bytes below, their length before them; a
//! signed one is `s1`, with the first 16 bytes of the HMAC-SHA-256 of all that behind it. Numbers are
//! LEB128, texts have their length before them.
//!
//! ```text
//! store's name · charged at · idempotency: 0, or 1 (and 2 scope has a group, 4 a replay) · [group] · scope · key · parts, each:
//! flags (1 another part follows, 2 key has a group, 4 tops up, 8 limit has variants) · limit's name
//! · [4 bytes: the variant's mark] · [group] · key · cost · instance (8 bytes) · last − cost · refunded · [part it tops up]
//! ```

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use smallvec::SmallVec;

use crate::engine::{MAX_ITEMS, check_receipt};
use crate::error::{Error, TokenFault};
use crate::key::{Key, KeyRef, MAX_KEY_BYTES};
use crate::limit::{Identity, MAX_NAME_BYTES, MAX_STORE_NAME_BYTES};
use crate::marks::MAX_UNIT;
use crate::policy::MAX_QUOTA;
use crate::receipt::{IdempotencyNote, LimitRef, Part, Receipt};
use crate::store::Statuses;
use crate::time::Timestamp;

const ANOTHER_FOLLOWS: u8 = 1;
const HAS_GROUP: u8 = 2;
const TOPS_UP: u8 = 4;
const HAS_VARIANTS: u8 = 8;
const IS_REPLAY: u8 = 4;
const MAC_BYTES: usize = 16;

/// How tokens are signed.
pub(crate) enum Signing {
    None,
    #[cfg(feature = "signed")]
    Secret(Box<hmac::Hmac<sha2::Sha256>>),
}

#[cfg(feature = "signed")]
impl Signing {
    pub(crate) fn with_secret(secret: &[u8]) -> Result<Self, Error> {
        use hmac::Mac;
        if secret.len() < MAC_BYTES {
            return Err(Error::invalid(format!(
                "a secret of {} bytes signs nothing safely; give at least {MAC_BYTES} random ones",
                secret.len()
            )));
        }
        let mac = hmac::Hmac::new_from_slice(secret)
            .map_err(|cause| Error::invalid("the secret cannot be used as a key").with_source(cause))?;
        Ok(Signing::Secret(Box::new(mac)))
    }

    fn mac(mac: &hmac::Hmac<sha2::Sha256>, bytes: &[u8]) -> hmac::Hmac<sha2::Sha256> {
        use hmac::Mac;
        let mut mac = mac.clone();
        mac.update(bytes);
        mac
    }
}

/// Writes `receipt`, which must be of the store `identity`.
pub(crate) fn write(identity: &Identity, signing: &Signing, receipt: &Receipt) -> Result<String, Error> {
    check_receipt(identity, receipt)?;
    let mut body = Vec::with_capacity(128);
    write_text(&mut body, identity.name().as_bytes());
    write_number(&mut body, receipt.charged_at.as_micros());
    match &receipt.idempotency {
        None => body.push(0),
        Some(note) => {
            let scope = note.scope.as_ref();
            let group = if scope.group().is_some() { HAS_GROUP } else { 0 };
            body.push(1 | group | if note.replay { IS_REPLAY } else { 0 });
            if let Some(group) = scope.group() {
                write_text(&mut body, group);
            }
            write_text(&mut body, scope.bytes());
            write_text(&mut body, &note.key);
        }
    }
    for (at, part) in receipt.parts().iter().enumerate() {
        write_part(&mut body, identity, part, at + 1 < receipt.parts().len())?;
    }
    let mut bytes = Vec::with_capacity(body.len() + 24);
    write_text(&mut bytes, &body);
    match signing {
        Signing::None => Ok(format!("r1{}", URL_SAFE_NO_PAD.encode(bytes))),
        #[cfg(feature = "signed")]
        Signing::Secret(mac) => {
            use hmac::Mac;
            let signature = Signing::mac(mac, &bytes).finalize().into_bytes();
            bytes.extend_from_slice(&signature[..MAC_BYTES]);
            Ok(format!("s1{}", URL_SAFE_NO_PAD.encode(bytes)))
        }
    }
}

fn write_part(bytes: &mut Vec<u8>, identity: &Identity, part: &Part, another_follows: bool) -> Result<(), Error> {
    let key = part.key.as_ref();
    let (name, mark) = match &part.limit {
        LimitRef::Name(name) => (&**name, None),
        LimitRef::Index(index) => {
            let limit = identity
                .limit(*index)
                .ok_or_else(|| Error::invalid("the receipt names a limit that its store has never met"))?;
            (limit.name(), identity.variant_mark(*index))
        }
    };
    let flags = [
        (another_follows, ANOTHER_FOLLOWS),
        (key.group().is_some(), HAS_GROUP),
        (part.tops_up.is_some(), TOPS_UP),
        (mark.is_some(), HAS_VARIANTS),
    ];
    bytes.push(flags.iter().filter(|(set, _)| *set).map(|(_, flag)| flag).sum());
    write_text(bytes, name.as_bytes());
    if let Some(mark) = mark {
        bytes.extend_from_slice(&mark.to_le_bytes());
    }
    if let Some(group) = key.group() {
        write_text(bytes, group);
    }
    write_text(bytes, key.bytes());
    write_number(bytes, part.cost);
    bytes.extend_from_slice(&part.instance.to_le_bytes());
    write_number(bytes, part.last.saturating_sub(part.cost));
    write_number(bytes, part.refunded);
    if let Some(tops_up) = part.tops_up {
        write_number(bytes, u64::from(tops_up));
    }
    Ok(())
}

fn write_number(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

fn write_text(bytes: &mut Vec<u8>, text: &[u8]) {
    write_number(bytes, text.len() as u64);
    bytes.extend_from_slice(text);
}

/// Reads a token of the store `identity`.
pub(crate) fn read(identity: &Identity, signing: &Signing, token: &str) -> Result<Receipt, Error> {
    let Some((head, body)) = token.split_at_checked(2) else {
        let fault = if token.is_ascii() { TokenFault::Truncated } else { TokenFault::Malformed };
        return Err(Error::token(fault, "a receipt's token has more than two characters"));
    };
    let signed = match head.as_bytes() {
        b"r1" => false,
        b"s1" => true,
        [b'r' | b's', b'0'..=b'9' | b'a'..=b'z'] => {
            return Err(Error::token(
                TokenFault::Version,
                format!("the token is of version `{}`; this release reads version 1", &head[1..]),
            ));
        }
        _ => return Err(malformed("it begins with neither `r1` nor `s1`")),
    };
    let bytes = decode(body)?;
    let body = check_signature(signing, signed, &bytes)?;
    let mut reader = Reader { bytes: body };
    let store = reader.text(MAX_STORE_NAME_BYTES)?;
    let charged_at = reader.number()?;
    if charged_at > Timestamp::MAX.as_micros() {
        return Err(malformed("it was charged after the end of time"));
    }
    let idempotency = match reader.byte()? {
        0 => None,
        flags if flags & !(HAS_GROUP | IS_REPLAY) == 1 => Some(Box::new(IdempotencyNote {
            scope: reader.key(flags & HAS_GROUP != 0)?,
            key: reader.text(255)?.into(),
            replay: flags & IS_REPLAY != 0,
        })),
        _ => return Err(malformed("its idempotency mark is unknown")),
    };
    let mut parts = SmallVec::<[Part; 1]>::new();
    loop {
        let (part, another_follows) = reader.part(identity)?;
        parts.push(part);
        if !another_follows {
            break;
        }
        if parts.len() == MAX_ITEMS {
            return Err(malformed("it has too many parts"));
        }
    }
    if !reader.bytes.is_empty() {
        return Err(malformed("more follows its last part"));
    }
    let firsts = parts.iter().filter(|part| part.tops_up.is_none()).count();
    if parts.iter().filter_map(|part| part.tops_up).any(|at| usize::from(at) >= firsts) || parts[0].tops_up.is_some() {
        return Err(malformed("it tops up a part that it does not have"));
    }
    if store != identity.name().as_bytes() {
        return Err(Error::token(
            TokenFault::OtherStore,
            format!(
                "the token is of the store `{}`, this is `{}`",
                String::from_utf8_lossy(store).escape_debug(),
                identity.name()
            ),
        ));
    }
    let mut receipt = Receipt::new(identity.tag(), Timestamp::from_micros(charged_at), parts, Statuses::new());
    receipt.idempotency = idempotency;
    Ok(receipt)
}

fn decode(body: &str) -> Result<Vec<u8>, Error> {
    let decoded = URL_SAFE_NO_PAD.decode(body);
    decoded.map_err(|cause| {
        // A text cut off leaves a lone character, or bits that belong to a byte which is missing.
        let alphabet = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        let error = if body.bytes().all(alphabet) { truncated() } else { malformed("it is not URL-safe base64") };
        error.with_source(cause)
    })
}

/// The bytes of a token without their length and signature.
fn check_signature<'a>(signing: &Signing, signed: bool, bytes: &'a [u8]) -> Result<&'a [u8], Error> {
    let mut reader = Reader { bytes };
    let body = reader.text(usize::MAX)?;
    let signature = reader.bytes;
    let wanted = if signed { MAC_BYTES } else { 0 };
    if signature.len() < wanted {
        return Err(truncated());
    }
    if signature.len() > wanted {
        return Err(malformed("more follows its end"));
    }
    match signing {
        Signing::None if signed => {
            Err(forged("the token is signed, and no secret is configured here to check it with"))
        }
        Signing::None => Ok(body),
        #[cfg(feature = "signed")]
        Signing::Secret(_) if !signed => Err(forged("the token is not signed")),
        #[cfg(feature = "signed")]
        Signing::Secret(mac) => {
            use hmac::Mac;
            Signing::mac(mac, &bytes[..bytes.len() - MAC_BYTES])
                .verify_truncated_left(signature)
                .map(|()| body)
                .map_err(|cause| forged("the token's signature does not fit").with_source(cause))
        }
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    fn part(&mut self, identity: &Identity) -> Result<(Part, bool), Error> {
        let flags = self.byte()?;
        if flags & !(ANOTHER_FOLLOWS | HAS_GROUP | TOPS_UP | HAS_VARIANTS) != 0 {
            return Err(malformed("a part's marks are unknown"));
        }
        let name =
            std::str::from_utf8(self.text(MAX_NAME_BYTES)?).map_err(|_| malformed("a limit's name is not text"))?;
        let known = if flags & HAS_VARIANTS == 0 {
            identity.by_name(name)
        } else {
            identity.by_mark(name, u32::from_le_bytes(self.array()?))
        };
        let limit = match known {
            Some((_, index)) => LimitRef::Index(index.limit),
            None => LimitRef::Name(name.into()),
        };
        let key = self.key(flags & HAS_GROUP != 0)?;
        let cost = self.number()?;
        let instance = u64::from_le_bytes(self.array()?);
        let last = self
            .number()?
            .checked_add(cost)
            .filter(|&last| (1..=MAX_QUOTA).contains(&cost) && last <= MAX_UNIT)
            .ok_or_else(|| malformed("a part's units are none that a store gives out"))?;
        let refunded = self.number()?;
        if refunded > cost {
            return Err(malformed("more is refunded than was charged"));
        }
        let tops_up = if flags & TOPS_UP == 0 {
            None
        } else {
            Some(u16::try_from(self.number()?).map_err(|_| malformed("it tops up a part that it does not have"))?)
        };
        Ok((Part { limit, key, cost, instance, last, refunded, tops_up }, flags & ANOTHER_FOLLOWS != 0))
    }

    fn key(&mut self, has_group: bool) -> Result<Key, Error> {
        if !has_group {
            return Ok(Key::new(KeyRef::new(self.text(MAX_KEY_BYTES)?)));
        }
        let group = self.text(MAX_KEY_BYTES)?;
        Ok(Key::new(KeyRef::in_group(group, self.text(MAX_KEY_BYTES)?)))
    }

    fn number(&mut self) -> Result<u64, Error> {
        let mut number = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if bits << shift >> shift != bits || (byte == 0 && shift > 0) {
                return Err(malformed("a number is not in its form"));
            }
            number |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(malformed("a number is not in its form"))
    }

    fn text(&mut self, longest: usize) -> Result<&'a [u8], Error> {
        let length = self.number()?;
        if length > longest as u64 {
            return Err(malformed("a name or key is too long"));
        }
        let (text, rest) = self.bytes.split_at_checked(length as usize).ok_or_else(truncated)?;
        self.bytes = rest;
        Ok(text)
    }

    fn byte(&mut self) -> Result<u8, Error> {
        self.array::<1>().map(|[byte]| byte)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let (array, rest) = self.bytes.split_first_chunk::<N>().ok_or_else(truncated)?;
        self.bytes = rest;
        Ok(*array)
    }
}

#[cold]
fn forged(why: &str) -> Error {
    Error::token(TokenFault::Forged, why)
}

#[cold]
fn truncated() -> Error {
    Error::token(TokenFault::Truncated, "the token ends too early")
}

#[cold]
fn malformed(why: &str) -> Error {
    Error::token(TokenFault::Malformed, format!("this is not a receipt's token: {why}"))
}
