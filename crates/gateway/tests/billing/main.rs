//! Billing: implausible counts, prices that are known in advance, and budgets.
#![forbid(unsafe_code)]

mod batch_provider;
mod batches;
#[path = "../common/fixture.rs"]
mod fixture;
mod helpers;
mod implausible_counts;
mod known_prices;
mod overdraft;
mod period_budgets;
#[path = "../common/upstream.rs"]
mod upstream;
