//! Names of cgroups may contain anything. A terminal must not be steered by what it shows.

use std::borrow::Cow;

/// `text` with all characters escaped that a terminal would not show as themselves: control
/// characters, those that turn the direction of writing (U+202E and its kind) and other invisible
/// ones. Escapes look like Rust's: `\n`, `\u{202e}`.
///
/// ```
/// assert_eq!(cgroupd_proto::printable("a\u{202e}b"), "a\\u{202e}b");
/// ```
pub fn printable(text: &str) -> Cow<'_, str> {
    if text.chars().all(is_shown) {
        return text.into();
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match is_shown(c) {
            true => shown.push(c),
            false => shown.extend(c.escape_debug()),
        }
    }
    shown.into()
}

/// As the standard library judges it for `Debug`, which escapes quotes besides. It escapes an accent
/// that stands alone, too, so the character is judged behind another one.
fn is_shown(c: char) -> bool {
    if c.is_ascii() {
        return !c.is_ascii_control();
    }
    let mut pair = String::from("a");
    pair.push(c);
    !pair.escape_debug().any(|escaped| escaped == '\\')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_steers_a_terminal_is_escaped() {
        for (text, shown) in [
            ("a\nb", "a\\nb"),
            ("\u{1b}[31m", "\\u{1b}[31m"),
            ("\u{9b}m", "\\u{9b}m"),
            ("gpj.\u{202e}exe", "gpj.\\u{202e}exe"),
            ("\u{2066}\u{2069}", "\\u{2066}\\u{2069}"),
            ("\u{200f}\u{61c}", "\\u{200f}\\u{61c}"),
            ("\u{2028}\u{feff}", "\\u{2028}\\u{feff}"),
        ] {
            assert_eq!(printable(text), shown);
        }
    }

    #[test]
    fn all_else_stays() {
        for text in ["a/b", "\"'\\x2d", "é日本語", "e\u{301}", "हिन्दी", "עברית", "🦀"]
        {
            assert_eq!(printable(text), text);
        }
    }
}
