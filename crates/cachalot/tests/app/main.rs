//! Tests of the whole program.

mod admin;
mod app;
mod arrows;
mod chat;
mod circles;
mod commands;
mod key_envs;
mod keys;
mod layout;
mod local_model;
mod lost_store;
mod modules;
mod process;
mod provider_answers;
mod providers;
mod rust_text;
mod schemas;
mod secrets;
mod serve;
mod source;
mod startup;
mod tasks;
mod telemetry;
mod transcripts;
mod usage_check;
