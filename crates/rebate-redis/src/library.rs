//! The functions that run inside the server.

use sha2::{Digest, Sha256};

/// A library of server functions.
pub(crate) struct Library {
    /// Its text.
    pub(crate) source: String,
    /// What its functions' names end in: made from the text, so that two releases live side by side on a server.
    pub(crate) suffix: String,
}

/// In the order in which they need each other.
const SCRIPTS: [&str; 12] = [
    include_str!("../scripts/common.lua"),
    include_str!("../scripts/fixed.lua"),
    include_str!("../scripts/sliding.lua"),
    include_str!("../scripts/bucket.lua"),
    include_str!("../scripts/entries.lua"),
    include_str!("../scripts/marks.lua"),
    include_str!("../scripts/refund.lua"),
    include_str!("../scripts/reserved.lua"),
    include_str!("../scripts/charge.lua"),
    include_str!("../scripts/look.lua"),
    include_str!("../scripts/settle.lua"),
    include_str!("../scripts/register.lua"),
];

impl Library {
    /// The store's own.
    pub(crate) fn new() -> Self {
        let text = SCRIPTS.concat();
        let digest = Sha256::digest(&text);
        let suffix: String =
            std::iter::once("_".to_owned()).chain(digest.iter().take(4).map(|byte| format!("{byte:02x}"))).collect();
        Library { source: format!("#!lua name=rebate{suffix}\nlocal SUFFIX = '{suffix}'\n{text}"), suffix }
    }
}
