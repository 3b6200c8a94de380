//! A scanner of JSON text: finds where keys and values end, without building values.

use std::borrow::Cow;

use memchr::memchr2;

/// A position in a body. Its methods return `None` when the text there is not the expected one.
pub(super) struct JsonScanner<'a> {
    pub(super) body: &'a [u8],
    pub(super) position: usize,
}

impl<'a> JsonScanner<'a> {
    /// Skips white space and returns the next byte.
    pub(super) fn peek(&mut self) -> Option<u8> {
        let whitespace =
            self.body[self.position..].iter().take_while(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r'));
        self.position += whitespace.count();
        self.body.get(self.position).copied()
    }

    /// Consumes `byte`, after white space.
    pub(super) fn expect(&mut self, byte: u8) -> Option<()> {
        (self.peek()? == byte).then(|| self.position += 1)
    }

    /// Consumes a string and returns it without escapes.
    pub(super) fn scan_key(&mut self) -> Option<Cow<'a, str>> {
        self.peek()?;
        let from = self.position;
        self.scan_string()?;
        let written = &self.body[from..self.position];
        let plain = std::str::from_utf8(&written[1..written.len() - 1]).ok()?;
        // Other parsers resolve escapes in names.
        Some(if plain.contains('\\') {
            Cow::Owned(serde_json::from_slice(written).ok()?)
        } else {
            Cow::Borrowed(plain)
        })
    }

    fn scan_string(&mut self) -> Option<()> {
        if *self.body.get(self.position)? != b'"' {
            return None;
        }
        self.position += 1;
        loop {
            self.position += memchr2(b'"', b'\\', &self.body[self.position..])?;
            if self.body[self.position] == b'"' {
                self.position += 1;
                return Some(());
            }
            self.position += 2;
            self.body.get(self.position)?;
        }
    }

    /// Consumes a value of any type.
    pub(super) fn scan_value(&mut self) -> Option<()> {
        let mut depth = 0usize;
        loop {
            match self.body.get(self.position)? {
                b'"' => {
                    self.scan_string()?;
                    if depth == 0 {
                        return Some(());
                    }
                }
                b'{' | b'[' => {
                    depth += 1;
                    self.position += 1;
                }
                b'}' | b']' => {
                    depth = depth.checked_sub(1)?;
                    self.position += 1;
                    if depth == 0 {
                        return Some(());
                    }
                }
                b',' | b':' if depth == 0 => return None,
                _ if depth == 0 => return self.scan_literal(),
                _ => self.position += 1,
            }
        }
    }

    /// Consumes a number, `true`, `false` or `null`.
    fn scan_literal(&mut self) -> Option<()> {
        let rest = &self.body[self.position..];
        let length = rest.iter().take_while(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(byte)).count();
        self.position += length;
        (length > 0).then_some(())
    }
}
