//! The prices that the gateway charges: the built-in ones and those of the operator's file.

use std::sync::LazyLock;

use anyhow::{Context, Result};
use gateway::Prices;

use crate::config::Config;

/// The built-in prices, parsed once and not at each reload.
static BUILTIN_PRICES: LazyLock<Prices> = LazyLock::new(|| {
    let parse = |text| Prices::parse(text).expect("a test reads the built-in files");
    let mut prices = parse(include_str!("../../../prices.hosted.toml"));
    prices.extend(parse(include_str!("../../../prices.toml")));
    prices
});

/// The built-in prices, and those of the file that `prices` in `[gateway]` names.
///
/// # Errors
/// A file that cannot be read, or that is not a price file.
pub fn load_prices(config: &Config) -> Result<Prices> {
    let mut prices = BUILTIN_PRICES.clone();
    if let Some(path) = &config.gateway.prices {
        let context = || format!("the prices `{}`", path.display());
        let text = files::read_text(path, crate::MAX_INPUT_BYTES).with_context(context)?;
        prices.extend(Prices::parse(&text).with_context(context)?);
    }
    Ok(prices)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_prices_can_be_read() {
        assert!(load_prices(&Config::default()).unwrap().find(gateway::LOCAL, "any model").is_some());
    }
}
