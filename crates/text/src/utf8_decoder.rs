//! Incremental UTF-8 decoding: an incomplete character is held until its remaining bytes arrive.

/// Decodes bytes to whole characters.
#[derive(Default)]
pub(crate) struct Utf8Decoder {
    /// The beginning of a character: at most three bytes.
    pending: Vec<u8>,
}

impl Utf8Decoder {
    /// Adds bytes and returns the text that is complete. Invalid UTF-8 becomes U+FFFD, as by
    /// `String::from_utf8_lossy` on all bytes.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> String {
        self.pending.extend_from_slice(bytes);
        let pending = std::mem::take(&mut self.pending);
        let mut text = String::with_capacity(pending.len());
        let mut rest = pending.as_slice();
        loop {
            match std::str::from_utf8(rest) {
                Ok(valid) => {
                    text.push_str(valid);
                    return text;
                }
                Err(error) => {
                    let (valid, after) = rest.split_at(error.valid_up_to());
                    text.push_str(std::str::from_utf8(valid).expect("valid up to here"));
                    let Some(invalid) = error.error_len() else {
                        self.pending = after.to_vec();
                        return text;
                    };
                    text.push(char::REPLACEMENT_CHARACTER);
                    rest = &after[invalid..];
                }
            }
        }
    }

    /// Ends the input and returns the text of the remaining bytes.
    pub(crate) fn finish(&mut self) -> String {
        String::from_utf8_lossy(&std::mem::take(&mut self.pending)).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_a_character_waits_and_garbage_does_not() {
        let mut utf8 = Utf8Decoder::default();
        assert_eq!(utf8.push(b"a\xf0\x9f"), "a");
        assert_eq!(utf8.push(b"\x98\x80b\xff"), "😀b\u{fffd}");
        assert_eq!(utf8.push(b"\xe4\xbd"), "");
        assert_eq!(utf8.finish(), "\u{fffd}");
        assert_eq!(utf8.finish(), "");
    }
}
