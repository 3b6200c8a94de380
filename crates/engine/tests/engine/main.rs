//! Tests of the engine through its public interface: chats in, deltas out. The rows of a small test
//! model identify their prefix, which reveals every error in the assignment of pages.

mod answers;
mod constrained;
mod control_tokens;
mod disk_cache;
mod faults;
mod golden;
mod harness;
mod pressure;
mod prompt_echo;
