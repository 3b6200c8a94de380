//! Tests of the whole program.

mod app;
mod arrows;
mod chat;
mod commands;
mod schemas;
mod serve;
mod shapes;
