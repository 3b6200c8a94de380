//! Tests of the whole program.

mod app;
mod arrows;
mod commands;
mod serve;
