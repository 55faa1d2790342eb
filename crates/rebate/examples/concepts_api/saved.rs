//! What users have saved. It stands for a database and is gone with the process.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Serialize;

/// How many are listed.
const RECENT: usize = 10;

/// A saved concept.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Concept {
    pub(crate) id: usize,
    pub(crate) prompt: String,
}

/// The concepts of each user, in the order they were saved in. How many a user may save is limited.
#[derive(Debug, Default)]
pub(crate) struct Saved {
    by_user: Mutex<HashMap<String, Vec<Concept>>>,
}

impl Saved {
    pub(crate) fn add(&self, user: &str, prompt: String) -> Concept {
        let mut by_user = self.lock();
        let concepts = by_user.entry(user.to_owned()).or_default();
        let concept = Concept { id: concepts.len() + 1, prompt };
        concepts.push(concept.clone());
        concept
    }

    /// The latest first.
    pub(crate) fn recent(&self, user: &str) -> Vec<Concept> {
        self.lock().get(user).map_or_else(Vec::new, |concepts| concepts.iter().rev().take(RECENT).cloned().collect())
    }

    pub(crate) fn find(&self, user: &str, id: usize) -> Option<Concept> {
        self.lock().get(user)?.get(id.checked_sub(1)?).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Vec<Concept>>> {
        self.by_user.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
