//! The elements of a JSON list, for bodies that are forwarded: single elements are replaced or
//! removed, and all other bytes stay unchanged.

use std::ops::Range;

use crate::passthrough::json_scanner::JsonScanner;

/// The change of an element.
pub(crate) enum ElementChange {
    Keep,
    Replace(Vec<u8>),
    Remove,
}

/// The positions of the elements of `list`; `None` when it is not a complete list.
fn element_ranges(list: &[u8]) -> Option<Vec<Range<usize>>> {
    let mut scan = JsonScanner { body: list, position: 0 };
    let mut ranges = Vec::new();
    scan.expect(b'[')?;
    if scan.peek()? != b']' {
        loop {
            scan.peek()?;
            let from = scan.position;
            scan.scan_value()?;
            ranges.push(from..scan.position);
            if scan.peek()? != b',' {
                break;
            }
            scan.position += 1;
        }
    }
    scan.expect(b']')?;
    scan.peek().is_none().then_some(ranges)
}

/// The list with the changes that `change` returns for its elements; `None` when there are none, or
/// when `list` is not a complete list.
pub(crate) fn change_elements(list: &[u8], mut change: impl FnMut(&[u8]) -> ElementChange) -> Option<Vec<u8>> {
    let ranges = element_ranges(list)?;
    let mut out = Vec::new();
    let mut is_changed = false;
    let mut has_elements = false;
    let mut written = ranges.first()?.start;
    for range in ranges {
        let element = &list[range.clone()];
        let new = match change(element) {
            ElementChange::Keep => None,
            ElementChange::Replace(new) => Some(new),
            ElementChange::Remove => {
                (is_changed, written) = (true, range.end);
                continue;
            }
        };
        is_changed |= new.is_some();
        // A separator follows an element only.
        match std::mem::replace(&mut has_elements, true) {
            true => out.extend_from_slice(&list[written..range.start]),
            false => out.push(b'['),
        }
        out.extend_from_slice(new.as_deref().unwrap_or(element));
        written = range.end;
    }
    if !has_elements {
        out.push(b'[');
    }
    out.push(b']');
    is_changed.then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(list: &str) -> Option<String> {
        let change = |element: &[u8]| match element {
            b"0" => ElementChange::Remove,
            b"1" => ElementChange::Replace(b"\"one\"".to_vec()),
            _ => ElementChange::Keep,
        };
        change_elements(list.as_bytes(), change).map(|list| String::from_utf8(list).unwrap())
    }

    #[test]
    fn elements_are_replaced_and_removed_in_place() {
        for (list, want) in [
            ("[2, 1 ,{\"a\":[0]}]", Some("[2, \"one\" ,{\"a\":[0]}]")),
            ("[0,2, 3]", Some("[2, 3]")),
            ("[2,0,3]", Some("[2,3]")),
            ("[2, 0]", Some("[2]")),
            ("[0 , 0]", Some("[]")),
            ("[2,3]", None),
            ("[]", None),
            ("[0", None),
            ("[0]x", None),
            ("{\"a\":0}", None),
        ] {
            assert_eq!(changed(list).as_deref(), want, "{list}");
        }
    }
}
