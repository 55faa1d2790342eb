//! Which router a method leads to.

use crate::router::Router;

const STANDARD: usize = 9;

/// A router for each method that rules name, and one for all others.
#[derive(Debug)]
pub(crate) struct Methods {
    pub(crate) routers: Vec<Router>,
    pub(crate) standard: [Class; STANDARD],
    pub(crate) other: Vec<(Box<str>, Class)>,
    pub(crate) rest: Class,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// Never limited.
    Exempt,
    /// By number.
    Router(usize),
}

impl Methods {
    /// Methods are told apart by case, as HTTP does.
    #[inline]
    pub(crate) fn class(&self, method: &str) -> Class {
        match standard(method) {
            Some(number) => self.standard[number],
            None => self.other.iter().find(|(name, _)| **name == *method).map_or(self.rest, |&(_, class)| class),
        }
    }

    #[inline]
    pub(crate) fn router(&self, number: usize) -> &Router {
        &self.routers[number]
    }

    /// Every method in one class.
    pub(crate) fn all(class: Class) -> Self {
        Methods { routers: Vec::new(), standard: [class; STANDARD], other: Vec::new(), rest: class }
    }

    pub(crate) fn set(&mut self, method: &str, class: Class) {
        match standard(method) {
            Some(number) => self.standard[number] = class,
            None => match self.other.iter_mut().find(|(name, _)| **name == *method) {
                Some((_, known)) => *known = class,
                None => self.other.push((method.into(), class)),
            },
        }
    }
}

#[inline]
fn standard(method: &str) -> Option<usize> {
    Some(match method {
        "GET" => 0,
        "POST" => 1,
        "PUT" => 2,
        "DELETE" => 3,
        "PATCH" => 4,
        "HEAD" => 5,
        "OPTIONS" => 6,
        "CONNECT" => 7,
        "TRACE" => 8,
        _ => return None,
    })
}
