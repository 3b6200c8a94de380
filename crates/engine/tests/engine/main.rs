//! The engine as its callers see it: chats in, deltas out. A small model whose rows tell which
//! prefix they belong to shows every mistake with pages.

mod answers;
mod constrained;
mod disk_cache;
mod faults;
mod golden;
mod harness;
mod pressure;
