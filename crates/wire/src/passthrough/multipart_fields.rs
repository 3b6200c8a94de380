//! The fields of a `multipart/form-data` body (RFC 7578) and their byte ranges, for bodies that are
//! forwarded. [`JsonFields`](crate::passthrough::json_fields::JsonFields) is the same for JSON.

use std::ops::Range;

use chat::Error;
use memchr::memmem;

/// Maximum number of parts of a form, including files.
const MAX_PARTS: usize = 256;
/// Maximum number of bytes of the headers of a part.
const MAX_HEADER_BYTES: usize = 16 << 10;

/// A scanned form.
#[derive(Clone, Debug)]
pub struct MultipartFields<'a> {
    body: &'a [u8],
    boundary: String,
    /// The position of the first boundary.
    first_boundary: usize,
    /// The names of the fields and the ranges of their contents, without files.
    fields: Vec<(String, Range<usize>)>,
    files: Vec<(Disposition, Range<usize>)>,
}

/// A file of a form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FormFile {
    /// The name that the client gave it.
    pub filename: String,
    /// The position of its bytes in the form.
    pub range: Range<usize>,
}

impl<'a> MultipartFields<'a> {
    /// Scans the fields of `body`, whose type is `content_type`.
    ///
    /// # Errors
    /// `InvalidRequest` when the body is not a complete form, or has a field twice that is not a
    /// list (`image[]`): the provider might use the other one.
    pub fn scan(content_type: &str, body: &'a [u8]) -> Result<Self, Error> {
        let parse_error =
            |what: &str| Error::invalid(format!("Failed to parse the request body as multipart/form-data: {what}"));
        let boundary = header_parameter(content_type, "boundary").filter(|boundary| (1..=70).contains(&boundary.len()));
        let boundary = boundary.ok_or_else(|| parse_error("its type names no boundary"))?;
        let (first, next) = (format!("--{boundary}"), format!("\r\n--{boundary}"));
        let next = memmem::Finder::new(next.as_bytes());
        // A preamble before the first boundary is ignored.
        let begin = match body.starts_with(first.as_bytes()) {
            true => 0,
            false => next.find(body).ok_or_else(|| parse_error("it has no parts"))? + 2,
        };
        let mut at = begin + first.len();
        let (mut fields, mut files) = (Vec::new(), Vec::new());
        for part in 0.. {
            let rest = &body[at..];
            if rest.starts_with(b"--") {
                break;
            }
            if part == MAX_PARTS {
                return Err(parse_error("it has too many parts"));
            }
            let headers = memmem::find(&rest[..rest.len().min(MAX_HEADER_BYTES)], b"\r\n\r\n")
                .ok_or_else(|| parse_error("a part has no end of its headers"))?;
            let from = at + headers + 4;
            // A part without content ends with the line break that ends its headers.
            let until = next.find(&body[from - 2..]).ok_or_else(|| parse_error("it does not end"))? + from - 2;
            let text = String::from_utf8_lossy(&rest[..headers]);
            let disposition = content_disposition(&text).ok_or_else(|| parse_error("a part has no name"))?;
            if disposition.filename.is_some() {
                files.push((disposition, from.min(until)..until));
            } else {
                let name = disposition.name;
                if !name.ends_with("[]") && fields.iter().any(|(known, _)| *known == name) {
                    return Err(parse_error(&format!("the field `{name:.64}` is there twice")));
                }
                fields.push((name, from.min(until)..until));
            }
            at = until + first.len() + 2;
        }
        Ok(Self { body, boundary, first_boundary: begin, fields, files })
    }

    /// The file of a name; `None` without one.
    ///
    /// # Errors
    /// `InvalidRequest` for several: the provider might use another one.
    pub fn file(&self, name: &str) -> Result<Option<FormFile>, Error> {
        let mut found = self.files.iter().filter(|(disposition, _)| disposition.name == name);
        let first = found.next();
        if found.next().is_some() {
            return Err(Error::invalid(format!(
                "The form has several files `{name}`: send each in a request of its own"
            )));
        }
        let file = |(disposition, range): &(Disposition, Range<usize>)| FormFile {
            filename: disposition.filename.clone().unwrap_or_default(),
            range: range.clone(),
        };
        Ok(first.map(file))
    }

    /// The text of a field.
    pub fn text(&self, name: &str) -> Option<String> {
        String::from_utf8(self.get(name)?.to_vec()).ok()
    }

    /// The bytes of a field.
    pub fn get(&self, name: &str) -> Option<&'a [u8]> {
        let (_, span) = self.fields.iter().find(|(known, _)| known == name)?;
        Some(&self.body[span.clone()])
    }

    /// Returns the form with an additional field before the others.
    pub fn with_added_field(&self, name: &str, value: &str) -> Vec<u8> {
        let part = format!("--{}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n", self.boundary);
        [&self.body[..self.first_boundary], part.as_bytes(), &self.body[self.first_boundary..]].concat()
    }

    /// Returns the form with another value of an existing field.
    pub fn with_value(&self, name: &str, value: &str) -> Vec<u8> {
        let Some((_, span)) = self.fields.iter().find(|(known, _)| known == name) else { return self.body.to_vec() };
        let (before, after) = (&self.body[..span.start], &self.body[span.end..]);
        // If the line break before the boundary also ends the headers, a value needs another one.
        let line_break: &[u8] = if before.ends_with(b"\r\n\r\n") { b"" } else { b"\r\n" };
        [before, line_break, value.as_bytes(), after].concat()
    }
}

#[derive(Clone, Debug)]
struct Disposition {
    name: String,
    /// The name of a file; `None` for a field.
    filename: Option<String>,
}

/// Parses the `Content-Disposition` header of a part.
fn content_disposition(headers: &str) -> Option<Disposition> {
    let is_disposition = |line: &&str| line.trim_start().to_ascii_lowercase().starts_with("content-disposition:");
    let line = headers.split("\r\n").find(is_disposition)?;
    let filename = header_parameter(line, "filename").or_else(|| header_parameter(line, "filename*"));
    Some(Disposition { name: header_parameter(line, "name")?, filename })
}

/// A parameter of a header, quoted or not.
fn header_parameter(header: &str, name: &str) -> Option<String> {
    let mut rest = header.split_once(';')?.1;
    loop {
        let (key, after) = rest.split_once('=')?;
        let after = after.trim_start();
        let (value, more) = match after.strip_prefix('"') {
            Some(quoted) => {
                let mut value = String::new();
                let mut letters = quoted.char_indices();
                let end = loop {
                    match letters.next()? {
                        (_, '\\') => value.push(letters.next()?.1),
                        (at, '"') => break at,
                        (_, letter) => value.push(letter),
                    }
                };
                (value, quoted[end + 1..].split_once(';').map_or("", |(_, more)| more))
            }
            None => {
                let (value, more) = after.split_once(';').unwrap_or((after, ""));
                (value.trim().to_owned(), more)
            }
        };
        if key.trim().eq_ignore_ascii_case(name) {
            return Some(value);
        }
        rest = more;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TYPE: &str = "multipart/form-data; boundary=\"x y\"";

    fn multipart_body(parts: &[(&str, &str)]) -> Vec<u8> {
        let part = |(name, content): &(&str, &str)| {
            format!("--x y\r\nContent-Disposition: form-data; name={name}\r\n\r\n{content}\r\n")
        };
        (parts.iter().map(part).collect::<String>() + "--x y--\r\n").into_bytes()
    }

    #[test]
    fn fields_are_found_and_replaced_and_files_left_alone() {
        let body = multipart_body(&[
            ("file; filename=\"a.mp3\"\r\nContent-Type: audio/mpeg", "\r\n--x\r\n\0"),
            ("\"model\"", "whisper-1"),
            ("\"prompt\"", ""),
            ("\"image[]\"", "a"),
            ("\"image[]\"", "b"),
        ]);
        let scanned = MultipartFields::scan(TYPE, &body).unwrap();
        assert_eq!(scanned.text("model").as_deref(), Some("whisper-1"));
        assert_eq!((scanned.text("prompt").as_deref(), scanned.text("file")), (Some(""), None));
        let file = scanned.file("file").unwrap().unwrap();
        assert_eq!((file.filename.as_str(), &body[file.range]), ("a.mp3", b"\r\n--x\r\n\0".as_slice()));
        assert_eq!(scanned.file("model").unwrap(), None);
        let two = multipart_body(&[("file; filename=a", "1"), ("file; filename=b", "2")]);
        assert!(MultipartFields::scan(TYPE, &two).unwrap().file("file").is_err());
        let added = scanned.with_added_field("seconds", "4");
        assert_eq!(MultipartFields::scan(TYPE, &added).unwrap().text("seconds").as_deref(), Some("4"));
        assert_eq!(&added[added.len() - body.len()..], body);
        let edited = scanned.with_value("model", "other");
        assert_eq!(MultipartFields::scan(TYPE, &edited).unwrap().text("model").as_deref(), Some("other"));
        assert_eq!(String::from_utf8(edited).unwrap().replace("other", "whisper-1").into_bytes(), body);
    }

    #[test]
    fn a_field_without_content_gets_one() {
        let head = "--x y\r\nContent-Disposition: form-data; name=model\r\n\r\n";
        for body in [format!("{head}--x y--"), format!("{head}\r\n--x y--")] {
            let scanned = MultipartFields::scan(TYPE, body.as_bytes()).unwrap();
            assert_eq!(scanned.text("model").as_deref(), Some(""));
            assert_eq!(String::from_utf8(scanned.with_value("model", "m")).unwrap(), format!("{head}m\r\n--x y--"));
        }
    }

    #[test]
    fn what_is_not_a_form_is_refused() {
        let twice = multipart_body(&[("model", "a"), ("model", "b")]);
        for (kind, body, word) in [
            ("multipart/form-data", multipart_body(&[]), "boundary"),
            (TYPE, b"".to_vec(), "no parts"),
            (TYPE, b"--x y\r\nContent-Disposition: form-data; name=a\r\n\r\nb".to_vec(), "does not end"),
            (TYPE, b"--x y\r\nContent-Type: a\r\n\r\nb\r\n--x y--".to_vec(), "no name"),
            (TYPE, twice, "twice"),
        ] {
            let error = MultipartFields::scan(kind, &body).unwrap_err().message;
            assert!(error.contains(word), "{error}");
        }
        let files = vec![("a; filename=b", "c"); MAX_PARTS + 1];
        assert!(MultipartFields::scan(TYPE, &multipart_body(&files)).unwrap_err().message.contains("too many parts"));
        assert!(MultipartFields::scan(TYPE, &multipart_body(&files[1..])).is_ok());
        let empty = multipart_body(&[]);
        assert!(MultipartFields::scan(TYPE, &empty).unwrap().text("model").is_none());
    }

    proptest! {
        #[test]
        fn any_bytes_are_scanned(bytes in prop::collection::vec(prop_oneof![Just(b'\r'), Just(b'\n'), Just(b'-'), Just(b'x'), Just(b' '), Just(b'y'), Just(b';'), Just(b'='), Just(b'"'), any::<u8>()], 0..120), kind in ".{0,40}") {
            let _ = MultipartFields::scan(TYPE, &bytes);
            let _ = MultipartFields::scan(&kind, &bytes);
            let _ = MultipartFields::scan(TYPE, &[b"--x y\r\nContent-Disposition: form-data; name=a\r\n\r\n".as_slice(), &bytes].concat());
        }
    }
}
