//! Finds the names that a user may have meant instead of one that does not exist.

/// The names of `known` that differ from `name` in few letters, the nearest first, at most three; else up to five that
/// contain it.
pub fn near_names<'a>(name: &str, known: &[&'a str]) -> Vec<&'a str> {
    if name.is_empty() {
        return Vec::new();
    }
    let similar = similar::get_close_matches(name, known, 3, 0.7);
    if !similar.is_empty() {
        return similar;
    }
    known.iter().copied().filter(|known| known.contains(name)).take(5).collect()
}

/// `did you mean boards or boards-mongodb?`; `None` if no name is near.
pub fn did_you_mean(name: &str, known: &[String]) -> Option<String> {
    let known: Vec<&str> = known.iter().map(String::as_str).collect();
    let near = near_names(name, &known);
    (!near.is_empty()).then(|| format!("did you mean {}?", near.join(" or ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_names_are_found() {
        let known = ["app-ui", "boards", "boards-mongodb", "userprofile"].map(str::to_owned);
        let rows = [
            ("bords", Some("did you mean boards?")),
            ("mongodb", Some("did you mean boards-mongodb?")),
            ("board", Some("did you mean boards?")),
            ("xyzzy", None),
            ("", None),
        ];
        for (name, expected) in rows {
            assert_eq!(did_you_mean(name, &known).as_deref(), expected, "{name}");
        }
    }
}
