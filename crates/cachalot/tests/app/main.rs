//! Tests of the whole program.

mod admin;
mod app;
mod arrows;
mod chat;
mod commands;
mod keys;
mod providers;
mod schemas;
mod secrets;
mod serve;
mod shapes;
mod tasks;
mod telemetry;
mod transcripts;
