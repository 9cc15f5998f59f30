//! Text for a terminal whose locale has no Unicode.

use std::borrow::Cow;

/// The signs of this tool's texts, each with what replaces it. Other characters stay: they are the cluster's.
const SIGNS: [(char, &str); 9] = [
    ('─', "-"),
    ('·', "-"),
    ('▶', ">"),
    ('◀', "<"),
    ('✗', "x"),
    ('✓', "*"),
    ('×', "x"),
    ('→', "->"),
    // As wide as the sign: what is cut fits its column.
    ('…', "~"),
];

/// The text without the signs that only Unicode has.
pub(super) fn ascii(text: &str) -> Cow<'_, str> {
    let sign = |c: char| SIGNS.iter().find(|(sign, _)| *sign == c).map(|(_, plain)| *plain);
    if text.is_ascii() || !text.contains(|c| sign(c).is_some()) {
        return Cow::Borrowed(text);
    }
    let mut plain = String::with_capacity(text.len());
    for c in text.chars() {
        match sign(c) {
            Some(replacement) => plain.push_str(replacement),
            None => plain.push(c),
        }
    }
    Cow::Owned(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signs_have_a_replacement_and_other_characters_stay() {
        for (text, plain) in [
            ("── Step 1 of 5 · A rogue asks ──▶ ✗", "-- Step 1 of 5 - A rogue asks --> x"),
            ("mode PERMISSIVE → STRICT, reset 3×", "mode PERMISSIVE -> STRICT, reset 3x"),
            ("boards-with-a-long-na…", "boards-with-a-long-na~"),
            ("Grüße, 世界", "Grüße, 世界"),
            ("plain", "plain"),
        ] {
            assert_eq!(ascii(text), plain);
        }
    }
}
