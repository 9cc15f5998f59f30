//! Names of new objects.

use std::borrow::Borrow;
use std::collections::BTreeSet;

/// `name`, or the first of `name-2`, `name-3`, … that is not taken.
pub(super) fn free_name<T: Borrow<str> + Ord>(name: &str, taken: &BTreeSet<T>) -> String {
    let numbered = (2..).map(|number| format!("{name}-{number}"));
    std::iter::once(name.to_owned()).chain(numbered).find(|name| !taken.contains(name.as_str())).unwrap_or_default()
}
