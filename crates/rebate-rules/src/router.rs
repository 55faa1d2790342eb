//! Which target a method and path lead to: the most specific one.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;

use crate::path::{Segment, is_plain};

/// Where a route leads: a rule or an exemption, by number.
pub(crate) type Target = u32;

/// The routes of one class of methods.
///
/// Patterns without dynamic segments lie apart, so that a path which one of them matches is looked up once and
/// without an allocation. The router crate cannot hold a dynamic segment beside a rest in the same place, so
/// the others lie in as many layers as that takes; most often one.
#[derive(Debug, Default)]
pub(crate) struct Router {
    /// With whether the route is plain: so is a path that it matches, being the same.
    fixed: matchit::Router<(Target, bool)>,
    layers: Vec<matchit::Router<(Rank, Target)>>,
}

/// The place of a route among all, the most specific first.
type Rank = u32;

impl Router {
    /// A router of these routes, no two of which are the same.
    pub(crate) fn new(routes: &BTreeMap<Vec<Segment>, Target>) -> Self {
        let mut router = Router::default();
        let mut ordered: Vec<_> = routes.iter().collect();
        ordered.sort_by_key(|(segments, _)| specificity(segments));
        let mut taken: Vec<Wildcards<'_>> = Vec::new();
        for (rank, (segments, &target)) in (0..).zip(ordered) {
            let route = written(segments);
            if segments.iter().all(|segment| matches!(segment, Segment::Static(_))) {
                let plain = is_plain(&route);
                let inserted = router.fixed.insert(route, (target, plain));
                debug_assert!(inserted.is_ok(), "no two routes are the same");
                continue;
            }
            let layer = match taken.iter_mut().position(|taken| taken.take(segments)) {
                Some(layer) => layer,
                None => {
                    let mut wildcards = Wildcards::default();
                    wildcards.take(segments);
                    taken.push(wildcards);
                    router.layers.push(matchit::Router::new());
                    taken.len() - 1
                }
            };
            if router.layers[layer].insert(route.clone(), (rank, target)).is_err() {
                // Not foreseen, but a route must not be lost.
                let mut alone = matchit::Router::new();
                let _ = alone.insert(route, (rank, target));
                router.layers.push(alone);
                taken.push(Wildcards::full());
            }
        }
        router
    }

    /// The target of a path that is plain because it is letter by letter a plain route without dynamic segments, as most
    /// are: found without a look at each of its bytes. `None` says nothing of other paths.
    #[inline]
    pub(crate) fn at_plain(&self, path: &str) -> Option<Target> {
        match self.fixed.at(path) {
            Ok(found) if found.value.1 => Some(found.value.0),
            _ => None,
        }
    }

    /// The target of the most specific route that `path` matches.
    #[inline]
    pub(crate) fn at(&self, path: &str) -> Option<Target> {
        match self.fixed.at(path) {
            Ok(found) => Some(found.value.0),
            Err(_) => self.layers.iter().filter_map(|layer| Some(*layer.at(path).ok()?.value)).min().map(|best| best.1),
        }
    }
}

/// Which wildcard follows each beginning of a route in a layer.
#[derive(Default)]
struct Wildcards<'r> {
    after: HashMap<&'r [Segment], &'r Segment>,
    full: bool,
}

impl<'r> Wildcards<'r> {
    fn full() -> Self {
        Wildcards { after: HashMap::new(), full: true }
    }

    /// Notes the wildcards of a route, if they can stand beside those of the others.
    fn take(&mut self, route: &'r [Segment]) -> bool {
        let wildcards = || (0..route.len()).filter(|&at| !matches!(route[at], Segment::Static(_)));
        let fits = |at: usize| self.after.get(&route[..at]).is_none_or(|known| **known == route[at]);
        let fits = !self.full && wildcards().all(fits);
        if fits {
            self.after.extend(wildcards().map(|at| (&route[..at], &route[at])));
        }
        fits
    }
}

/// Orders routes that match the same path, the most specific first: the first segment in which they differ
/// decides, a fixed one before a dynamic one before a rest.
fn specificity(segments: &[Segment]) -> Vec<u8> {
    let kind = |segment: &Segment| match segment {
        Segment::Static(_) => 0,
        Segment::Dynamic => 1,
        Segment::Rest => 2,
    };
    segments.iter().map(kind).collect()
}

/// As the router crate reads it.
fn written(segments: &[Segment]) -> String {
    let mut route = String::new();
    for (at, segment) in segments.iter().enumerate() {
        route.push('/');
        // Writing to a string cannot fail.
        let _ = match segment {
            Segment::Static(text) => write!(route, "{}", text.replace('{', "{{").replace('}', "}}")),
            Segment::Dynamic => write!(route, "{{p{at}}}"),
            Segment::Rest => write!(route, "{{*rest}}"),
        };
    }
    if route.is_empty() { "/".to_owned() } else { route }
}
