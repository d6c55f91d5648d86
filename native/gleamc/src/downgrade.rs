//! Erlang source for OTP 25 and 26, from what the compiler writes for OTP 27.
//!
//! Two things are too new for them: the attributes `-doc` and `-moduledoc`, which are blanked, and
//! the sigil `~"..."`, which becomes `<<"..."/utf8>>`. What is blanked keeps its line breaks, so
//! every form stays on its line.

use std::{iter::Peekable, str::CharIndices};

/// Rewrites one source file. Sigils in strings, quoted atoms, comments and characters (`$~`, `$"`)
/// are text and stay.
pub fn downgrade(source: &str) -> String {
    let mut scanner = Scanner::new(source);
    let mut output = String::with_capacity(source.len() + source.len() / 16);
    let mut line_is_blank = true;
    while let Some((start, character)) = scanner.next() {
        let at_line_start = line_is_blank;
        line_is_blank = character == '\n' || (at_line_start && character.is_whitespace());
        match character {
            '-' if at_line_start && scanner.is_documentation(start) => {
                scanner.skip_form();
                output.extend(scanner.since(start).chars().map(blank));
                continue;
            }
            '~' if scanner.peek() == Some('"') => {
                scanner.skip_token('~');
                output.push_str("<<");
                output.push_str(scanner.since(start).get(1..).unwrap_or_default());
                output.push_str("/utf8>>");
                continue;
            }
            _ => scanner.skip_token(character),
        }
        output.push_str(scanner.since(start));
    }
    output
}

fn blank(character: char) -> char {
    if character == '\n' { '\n' } else { ' ' }
}

/// Walks over a source, one token or single character at a time.
struct Scanner<'a> {
    source: &'a str,
    characters: Peekable<CharIndices<'a>>,
}

impl<'a> Scanner<'a> {
    fn new(source: &'a str) -> Self {
        Self {
            source,
            characters: source.char_indices().peekable(),
        }
    }

    fn next(&mut self) -> Option<(usize, char)> {
        self.characters.next()
    }

    fn peek(&mut self) -> Option<char> {
        self.characters.peek().map(|(_, character)| *character)
    }

    fn position(&mut self) -> usize {
        match self.characters.peek() {
            Some((position, _)) => *position,
            None => self.source.len(),
        }
    }

    /// The text from `start` up to what comes next.
    fn since(&mut self, start: usize) -> &'a str {
        let end = self.position();
        self.source.get(start..end).unwrap_or_default()
    }

    /// Whether the form that starts at `start` is `-doc` or `-moduledoc`.
    fn is_documentation(&self, start: usize) -> bool {
        let form = self
            .source
            .get(start + 1..)
            .unwrap_or_default()
            .trim_start();
        ["doc", "moduledoc"].iter().any(|name| {
            form.strip_prefix(name)
                .and_then(|rest| rest.chars().next())
                .is_some_and(|next| next == '(' || next == '"' || next.is_whitespace())
        })
    }

    /// Goes on behind the full stop that ends a form.
    fn skip_form(&mut self) {
        while let Some((_, character)) = self.next() {
            let ends_form = character == '.'
                && self
                    .peek()
                    .is_none_or(|next| next.is_whitespace() || next == '%');
            if ends_form {
                return;
            }
            self.skip_token(character);
        }
    }

    /// Goes on behind the token that `first`, just taken, begins, where text in it could be taken
    /// for something else: a comment, a character, a string, a quoted atom, a sigil of a string.
    fn skip_token(&mut self, first: char) {
        match first {
            '%' => {
                while self.peek().is_some_and(|next| next != '\n') {
                    self.next();
                }
            }
            '$' => {
                if let Some((_, '\\')) = self.next() {
                    self.next();
                }
            }
            '~' if self.peek() == Some('"') => {
                self.next();
                self.skip_quoted('"');
            }
            '"' | '\'' => self.skip_quoted(first),
            _ => {}
        }
    }

    fn skip_quoted(&mut self, quote: char) {
        while let Some((_, character)) = self.next() {
            if character == '\\' {
                self.next();
            } else if character == quote {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::downgrade;

    #[test]
    fn a_sigil_becomes_a_binary() {
        assert_eq!(downgrade(r#"f() -> ~"hi"."#), r#"f() -> <<"hi"/utf8>>."#);
        assert_eq!(downgrade(r#"[~"",~"b"]"#), r#"[<<""/utf8>>,<<"b"/utf8>>]"#);
        assert_eq!(downgrade("~\"two\nlines\""), "<<\"two\nlines\"/utf8>>");
        assert_eq!(
            downgrade(r#"<<~"a"/binary>>"#),
            r#"<<<<"a"/utf8>>/binary>>"#
        );
    }

    #[test]
    fn what_a_sigil_holds_stays() {
        assert_eq!(
            downgrade(r#"~"say \"~\"\\", x"#),
            r#"<<"say \"~\"\\"/utf8>>, x"#
        );
        assert_eq!(
            downgrade(r#"~"% no comment" % one"#),
            r#"<<"% no comment"/utf8>> % one"#
        );
        assert_eq!(downgrade(r#"~"grüße ☂""#), r#"<<"grüße ☂"/utf8>>"#);
    }

    #[test]
    fn a_sigil_in_text_is_text() {
        for text in [
            r#""a ~\"b\" c""#,
            r#"'it~"s'"#,
            r#"% ~"comment""#,
            r#"[$~, "x", $", ~b]"#,
            r#"[$\", "~"]"#,
            r#"{$', '"', "~s"}"#,
            "A ~ B",
        ] {
            assert_eq!(downgrade(text), text);
        }
    }

    #[test]
    fn a_character_does_not_open_a_string() {
        assert_eq!(downgrade(r#"[$", ~"a"]"#), r#"[$", <<"a"/utf8>>]"#);
        assert_eq!(downgrade(r#"[$\", ~"a"]"#), r#"[$\", <<"a"/utf8>>]"#);
        assert_eq!(downgrade(r#"[$\\, ~"a"]"#), r#"[$\\, <<"a"/utf8>>]"#);
        assert_eq!(
            downgrade(r#"[$', ~"a", $%, ~"b"]"#),
            r#"[$', <<"a"/utf8>>, $%, <<"b"/utf8>>]"#
        );
    }

    #[test]
    fn documentation_is_blanked() {
        assert_eq!(
            downgrade("-doc(false).\nf() -> 1.\n"),
            "            \nf() -> 1.\n"
        );
        assert_eq!(downgrade("-moduledoc(false).\n").trim(), "");
        assert_eq!(downgrade("  -doc(~\"x\").").trim(), "");
        assert_eq!(
            downgrade("-doc \"x\".\n-export([doc/0]).").trim(),
            "-export([doc/0])."
        );
        assert_eq!(
            downgrade("-doc(#{since => ~\"1.2\"}). % why\n").trim(),
            "% why"
        );
    }

    #[test]
    fn documentation_keeps_its_lines() {
        let source =
            "-doc(~\" One. Two \\\"quoted\\\").\n\n f(). -doc(x).\n 3.\").\ng() -> ~\"z\".\n";
        let output = downgrade(source);
        assert_eq!(output.lines().count(), source.lines().count());
        assert_eq!(output.lines().nth(4), Some("g() -> <<\"z\"/utf8>>."));
        assert_eq!(output.trim(), "g() -> <<\"z\"/utf8>>.");
    }

    #[test]
    fn what_only_looks_like_documentation_stays() {
        for text in [
            "-document(x).",
            "-docs(false).",
            "f(Doc) -> Doc\n-doc.",
            "f() -> 1 -doc(2).",
            "g(doc) -> x -\ndoc(1).",
            "% -doc(false).",
            "\"\n-doc(false).\n\"",
        ] {
            assert_eq!(downgrade(text), text);
        }
    }

    #[test]
    fn a_source_that_ends_too_early_is_kept_whole() {
        for text in ["\"open", "'open", "$", "$\\", "\"a\\", "%"] {
            assert_eq!(downgrade(text), text);
        }
        assert_eq!(downgrade("~\"open"), "<<\"open/utf8>>");
        assert_eq!(downgrade("-doc(false"), "          ");
        assert_eq!(downgrade(""), "");
    }
}
