//! The order of versions.
//!
//! A version is a name of printable ASCII ([`proto_handoff::record::Version`]). Names are ordered as Semantic
//! Versioning orders them, and so that every other name has its place, too: parts between dots count, numbers
//! among them by their value; what stands behind the first `-` is a version ahead of the one without it; what
//! stands behind a `+` does not count.
//!
//! Source: Semantic Versioning 2.0.0 §11.

use core::cmp::Ordering;

/// Compares two names of versions. Equal does not mean that the names are the same: `1.0` and `1.0.0` are.
///
/// ```
/// use core::cmp::Ordering;
/// use proto_update::version::compare;
/// assert_eq!(compare("0.10.0", "0.9.1"), Ordering::Greater);
/// assert_eq!(compare("1.0.0-rc.1", "1.0.0"), Ordering::Less);
/// ```
#[must_use]
pub fn compare(a: &str, b: &str) -> Ordering {
    let ((a, ahead_a), (b, ahead_b)) = (split(a), split(b));
    let by_core = parts(a, "0", b);
    by_core.then_with(|| match (ahead_a, ahead_b) {
        (None, None) => Ordering::Equal,
        (None, Some(_)) => Ordering::Greater,
        (Some(_), None) => Ordering::Less,
        (Some(a), Some(b)) => parts(a, "", b),
    })
}

/// The version itself, and what it is ahead of.
fn split(name: &str) -> (&str, Option<&str>) {
    let name = name.split_once('+').map_or(name, |(name, _)| name);
    match name.split_once('-') {
        Some((core, ahead)) => (core, Some(ahead)),
        None => (name, None),
    }
}

/// Compares part by part; those that one of them lacks are `missing`.
fn parts(a: &str, missing: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a.split('.'), b.split('.'));
    loop {
        let (left, right) = match (a.next(), b.next()) {
            (None, None) => return Ordering::Equal,
            (left, right) => (left.unwrap_or(missing), right.unwrap_or(missing)),
        };
        let order = part(left, right);
        if order.is_ne() {
            return order;
        }
    }
}

/// Numbers by value and ahead of words; words by their bytes. An empty part is ahead of both.
fn part(a: &str, b: &str) -> Ordering {
    let number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    match (number(a), number(b)) {
        (true, true) => {
            // However long they are.
            let (a, b) = (a.trim_start_matches('0'), b.trim_start_matches('0'));
            a.len().cmp(&b.len()).then_with(|| a.cmp(b))
        }
        (true, false) if !b.is_empty() => Ordering::Less,
        (false, true) if !a.is_empty() => Ordering::Greater,
        _ => a.cmp(b),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn versions_stand_in_this_order() {
        let order = [
            "",
            "0.0.9",
            "0.1",
            "0.1.1",
            "0.9.0",
            "0.10.0-alpha",
            "0.10.0-alpha.1",
            "0.10.0-alpha.beta",
            "0.10.0-rc.2",
            "0.10.0-rc.10",
            "0.10.0",
            "1.0.0",
            "1.0.99999999999999999999998",
            "1.0.99999999999999999999999",
            "1.x",
            "v1",
        ];
        for (at, a) in order.iter().enumerate() {
            for (other, b) in order.iter().enumerate() {
                assert_eq!(compare(a, b), at.cmp(&other), "{a} {b}");
            }
        }
        for (a, b) in [("1", "1.0.0"), ("1.0", "1.00"), ("1.0.0+a", "1.0.0+b"), ("0", "0.0")] {
            assert_eq!(compare(a, b), Ordering::Equal, "{a} {b}");
        }
    }

    proptest! {
        #[test]
        fn it_is_an_order(names in prop::collection::vec("[a01.+-]{0,8}", 3)) {
            let [a, b, c] = &names[..] else { unreachable!() };
            prop_assert_eq!(compare(a, a), Ordering::Equal);
            prop_assert_eq!(compare(a, b), compare(b, a).reverse());
            if compare(a, b).is_le() && compare(b, c).is_le() {
                prop_assert!(compare(a, c).is_le());
            }
        }
    }
}
