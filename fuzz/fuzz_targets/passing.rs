//! Any bytes are a body or a form that is to pass, and an answer that passes: what is not changed comes out as it went in.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wire::form::Form;
use wire::Passage;
use wire::glance::{self, Events};
use wire::splice::Fields;

fuzz_target!(|input: (u8, Vec<u8>)| {
    let (cut, bytes) = input;
    if let Ok(fields) = Fields::scan(&bytes) {
        assert_eq!(fields.with(&[]), bytes);
        let changed = fields.with(&[("model", "\"other\"".into())]);
        let again = Fields::scan(&changed).expect("a changed object is one still");
        assert_eq!(again.text("model").as_deref(), Some("other"));
    }
    if let Ok(form) = Form::scan("multipart/form-data; boundary=x", &bytes)
        && form.text("model").is_some()
    {
        let changed = form.with("model", "other");
        let again = Form::scan("multipart/form-data; boundary=x", &changed).expect("a changed form is one still");
        assert_eq!(again.text("model").as_deref(), Some("other"));
    }
    for passage in Passage::ALL {
        glance::whole(passage, &bytes);
        let mut events = Events::new(passage, false);
        for piece in bytes.chunks(usize::from(cut).max(1)) {
            assert!(events.pass(piece).is_none());
        }
        assert!(events.rest().is_empty());
        // Cut elsewhere, the same is seen.
        let mut whole = Events::new(passage, false);
        whole.pass(&bytes);
        whole.rest();
        assert_eq!(whole.seen, events.seen);
    }
});
