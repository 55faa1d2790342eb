//! What was meant by a name that is not known.

/// The known name that is nearest to `name`, if one is near.
pub(crate) fn nearest<'n>(name: &str, known: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    // A name may be as long as its file; those that are known are short.
    let name: Vec<char> = name.chars().take(80).collect();
    let allowed = (name.len() / 3).clamp(1, 3);
    let distances = known.map(|other| (distance(&name, other), other));
    distances.filter(|&(distance, _)| distance <= allowed).min_by_key(|&(distance, _)| distance).map(|near| near.1)
}

/// How many characters must be put in, left out or replaced to make one of the other.
fn distance(name: &[char], other: &str) -> usize {
    let mut row: Vec<usize> = (0..=name.len()).collect();
    for (line, c) in other.chars().take(80).enumerate() {
        let mut diagonal = row[0];
        row[0] = line + 1;
        for (at, &wanted) in name.iter().enumerate() {
            let above = row[at + 1];
            row[at + 1] = (above + 1).min(row[at] + 1).min(diagonal + usize::from(c != wanted));
            diagonal = above;
        }
    }
    row[name.len()]
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn the_nearest_name_is_found_and_none_that_is_far() {
        let known = ["path", "prefix", "name", "methods", "limits_of"];
        let meant = |name| nearest(name, known.into_iter());
        assert_eq!(meant("pth"), Some("path"));
        assert_eq!(meant("method"), Some("methods"));
        assert_eq!(meant("limit_of"), Some("limits_of"));
        assert_eq!(meant("colour"), None);
        assert_eq!(meant(""), None);
    }
}
