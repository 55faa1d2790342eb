//! The secret that signs a service's tokens.

use std::fs;
use std::path::PathBuf;

use clap::Args;
use rebate::{Limiter, RedisStore};

use crate::trouble::Trouble;

/// Where the secret is, if there is one.
#[derive(Args, Debug)]
pub(crate) struct SecretArguments {
    /// A file with the secret that signs the services' tokens; a line break at its end is no part of it [default: the
    /// variable REBATE_SECRET, if it is set; else tokens are not signed]
    #[arg(long, value_name = "FILE")]
    secret_file: Option<PathBuf>,
}

impl SecretArguments {
    /// A limiter that reads and writes the services' tokens.
    pub(crate) fn limiter(&self, store: RedisStore) -> Result<Limiter<RedisStore>, Trouble> {
        match self.read()? {
            Some(secret) => Ok(Limiter::signed(store, &secret)?),
            None => Ok(Limiter::new(store)),
        }
    }

    pub(crate) fn read(&self) -> Result<Option<Vec<u8>>, Trouble> {
        let Some(path) = &self.secret_file else {
            let secret = std::env::var_os("REBATE_SECRET").map(|secret| secret.into_encoded_bytes());
            return Ok(secret.filter(|secret| !secret.is_empty()));
        };
        let mut secret = fs::read(path)
            .map_err(|error| Trouble::Usage(format!("the secret's file {} cannot be read: {error}", path.display())))?;
        // Editors end every line; nobody means that to be secret.
        if secret.ends_with(b"\n") {
            secret.pop();
            if secret.ends_with(b"\r") {
                secret.pop();
            }
        }
        Ok(Some(secret))
    }
}
