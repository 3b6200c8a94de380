//! `cachalot usage rebuild`: computes the sums of usage anew from the records.

use std::io::Write;

use anyhow::Result;

use crate::store_args::StoreArgs;

/// Compute the sums by hours and days anew from the usage records
///
/// Works while a server runs. Until it is done, sums are read from the records, which takes longer.
#[derive(clap::Args, Clone, Debug)]
pub struct Args {}

pub(crate) fn run(store_args: &StoreArgs) -> Result<()> {
    store_args.run_with_store(async |store, _| {
        store.reset_usage_sums().await?;
        let mut days = 1;
        while store.fill_usage_sums().await? {
            days += 1;
        }
        Ok(writeln!(std::io::stdout(), "summed {days} days with usage records anew")?)
    })
}
