//! Text from elsewhere must not drive the terminal.

/// On one line: control characters and marks that reorder text become visible escapes.
pub(crate) fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match is_harmless(c) {
            true => out.push(c),
            false => out.extend(c.escape_default()),
        }
    }
    out
}

/// The same, newlines kept.
pub(crate) fn plain_block(text: &str) -> String {
    text.split('\n').map(plain).collect::<Vec<_>>().join("\n")
}

/// JSON text with what serde leaves alone (DEL, C1, bidirectional marks) escaped; these occur only inside strings.
pub(crate) fn json(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c == '\n' || is_harmless(c) {
            true => out.push(c),
            false => c.encode_utf16(&mut [0; 2]).iter().for_each(|unit| out.push_str(&format!("\\u{unit:04x}"))),
        }
    }
    out
}

fn is_harmless(c: char) -> bool {
    !c.is_control() && !matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_sequence_in_a_name_is_shown_and_not_obeyed() {
        assert_eq!(plain("a\x1b[31mb\r\n\u{9b}c\u{202e}d"), "a\\u{1b}[31mb\\r\\n\\u{9b}c\\u{202e}d");
        assert_eq!(plain_block("a\nb\x07"), "a\nb\\u{7}");
        assert_eq!(plain("grün 世界"), "grün 世界");
    }

    #[test]
    fn json_stays_json_and_loses_its_control_characters() {
        let value = serde_json::json!({ "a": "\u{9b}\u{202e}\u{7f}\x1b" });
        let text = json(&value.to_string());
        assert!(text.is_ascii() && !text.contains('\u{7f}'), "{text}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap(), value);
    }
}
