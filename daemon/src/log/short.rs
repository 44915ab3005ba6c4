//! What a log line shows of text that a peer had a say in.

use std::borrow::Cow;

/// The longest text in a line, in bytes, before what is not printable is escaped.
const LONGEST: usize = 256;

/// The start of a text, at most 256 bytes of it. Lines show it as [`std::fmt::Debug`] does, which
/// escapes control characters and those that turn the direction of writing.
pub(crate) fn start_of(text: &str) -> Cow<'_, str> {
    if text.len() <= LONGEST {
        return text.into();
    }
    let end = (0..=LONGEST).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    format!("{}…", &text[..end]).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_bounded_and_whole_characters() {
        assert_eq!(start_of("a/b"), "a/b");
        let longest = "é".repeat(LONGEST / 2);
        assert_eq!(start_of(&longest), longest);
        assert_eq!(start_of(&format!("x{longest}")), format!("x{}…", "é".repeat(LONGEST / 2 - 1)));
    }

    #[test]
    fn what_would_steer_a_terminal_is_escaped() {
        let shown = format!("{:?}", start_of("a\u{202e}b\u{2066}\n\u{1b}[31m\u{9b}\u{200f}"));
        assert_eq!(shown, r#""a\u{202e}b\u{2066}\n\u{1b}[31m\u{9b}\u{200f}""#);
    }
}
