//! Tests of the whole program, and of the rules for the workspace's source text.

mod admin;
mod app;
mod chat;
mod commands;
mod generation_config;
mod key_envs;
mod keys;
mod local_model;
mod logs;
mod lost_store;
mod media;
mod process;
mod provider_answers;
mod providers;
mod renamed_settings;
mod schemas;
mod secrets;
mod serve;
mod special_files;
mod startup;
mod task_app;
mod tasks;
mod telemetry;
mod transcripts;
mod usage_check;
mod workspace;
