//! The layer: rules from a file, the user as key, and what responses say.

use rebate::rules::Rules;
use rebate::tower::{Headers, IdempotencyKeys, RateLimitLayer};
use rebate::{AnyStore, Limiter};

use crate::Trouble;
use crate::body::HungUp;
use crate::settings::Settings;
use crate::user;

/// The rules that are built in.
const RULES: &str = include_str!("rules.toml");

/// What charges every request.
pub(crate) fn layer(settings: &Settings, limiter: Limiter<AnyStore>) -> Result<RateLimitLayer<AnyStore>, Trouble> {
    let (text, name) = match &settings.rules {
        None => (RULES.to_owned(), "rules.toml".into()),
        Some(path) => {
            let name = path.display().to_string();
            (std::fs::read_to_string(path).map_err(|error| format!("{name} cannot be read: {error}"))?, name)
        }
    };
    let rules = Rules::parse(&text).map_err(|problems| format!("{name} is wrong:\n{problems}"))?;
    for warning in rules.warnings() {
        tracing::warn!("{name}: {warning}");
    }
    let mut layer = RateLimitLayer::builder(limiter, rules)
        .user(|request| user::of(request.headers).map(|name| name.as_bytes().into()))
        // The draft's, and those that older clients read.
        .headers(Headers::draft_11().and(Headers::x_ratelimit()))
        // A client that tries again under its `Idempotency-Key` is not billed again.
        .idempotency_keys(IdempotencyKeys::new())
        .refund_on_disconnect(settings.refund_on_disconnect);
    if settings.refund_on_disconnect {
        layer = layer.refund_when(|response| response.extensions.get::<HungUp>().is_some());
    }
    if let Some(secret) = &settings.mask_secret {
        layer = layer.mask_secret(secret);
    }
    Ok(layer.build()?)
}
