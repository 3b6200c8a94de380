//! OpenAI's Responses API, to the extent a server without a memory can speak it (API document 2.4).

mod request;
mod response;
#[cfg(test)]
mod tests;

pub use request::{Request, copied_bytes, parse_request, read_request};
pub use response::{Asked, Responses};
