//! How the cost of a record comes about: a line for each part of it.

use chat::{ExtraCount, ExtraCounts, ServiceTier, Usage};
use store::UsageRecord;

use crate::pricing::{CostLine, Price, Prices, Quantity};

impl Prices {
    /// The parts of the cost of a record, which add up to it. `None` if the price that was applied
    /// is not among these prices any more, or does not give that cost.
    pub fn cost_lines(&self, record: &UsageRecord) -> Option<Vec<CostLine>> {
        if record.cost == 0 {
            return Some(Vec::new());
        }
        let usage = usage_of(record)?;
        let price = self.by_name(&record.price)?;
        let quantity = price.paid_quantity(&usage, record)?;
        let mut lines = price.cost_lines(&usage, quantity, record.at)?;
        let rounding = lines.iter().try_fold(record.cost, |rest, line| rest.checked_sub(line.cost))?;
        if rounding != 0 {
            lines.push(CostLine { of: "rounding", quantity: 1, price: rounding, per: 1, cost: rounding });
        }
        Some(lines)
    }
}

/// The counts of a record.
fn usage_of(record: &UsageRecord) -> Option<Usage> {
    let count = |tokens: i64| u64::try_from(tokens).ok();
    let mut extra = ExtraCounts::default();
    for (name, value) in &record.extra_counts {
        // A count that only another version knows was billed by a price that is not known here.
        extra.0[ExtraCount::ALL.iter().position(|count| count.name == name)?] = count(*value)?;
    }
    Some(Usage {
        prompt_tokens: count(record.prompt_tokens)?,
        cached_tokens: count(record.cached_tokens)?,
        cache_write_tokens: count(record.cache_write_tokens)?,
        cache_write_1h_tokens: count(record.cache_write_1h_tokens)?,
        completion_tokens: count(record.completion_tokens)?,
        reasoning_tokens: Some(count(record.reasoning_tokens)?),
        extra,
        service_tier: record.service_tier.as_deref().and_then(ServiceTier::parse),
    })
}

impl Price {
    /// The calls and seconds that were paid with the cost of a record: what tokens do not explain.
    fn paid_quantity(&self, usage: &Usage, record: &UsageRecord) -> Option<Quantity> {
        let cost = |quantity| self.unclamped_cost(usage, quantity, record.at);
        let fits = |quantity: &Quantity| cost(*quantity) == i128::from(record.cost);
        let one_call = Quantity::default();
        if fits(&one_call) {
            return Some(one_call);
        }
        let rest = record.cost - i64::try_from(cost(Quantity { calls: 0, seconds: 0 })).ok()?;
        let seconds = self.paid_seconds(rest, record.at).map(|seconds| Quantity { calls: 1, seconds });
        let calls = self.paid_calls(rest, record.at).map(|calls| Quantity { calls, seconds: 0 });
        seconds.into_iter().chain(calls).find(fits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRICES: &str = "[[price]]\nprovider='p'\nmodel='m'\nsource='s'\ndate='2026-11-27'\ninput=1.25\ncached=0.125\noutput=10\nreasoning=10\n\
        [[price]]\nprovider='p'\nmodel='writes'\nsource='s'\ndate='d'\ninput=3\ncache_write=3.75\ncache_write_1h=6\n\
        [[price]]\nprovider='p'\nmodel='image'\nsource='s'\ndate='d'\nper_call=0.04\n\
        [[price]]\nprovider='p'\nmodel='video'\nsource='s'\ndate='d'\nper_call=0.01\nper_second=0.1\n\
        [[price]]\nprovider='p'\nmodel='sound'\nsource='s'\ndate='d'\ninput=1\noutput=2\naudio_input=30\nimage_output=50\nper_search=0.01\n\
        service=[{tier='priority', input=2, output=4}]\n";

    fn record(price: &str, cost: i64) -> UsageRecord {
        UsageRecord { price: price.into(), cost, ..UsageRecord::default() }
    }

    fn lines(record: &UsageRecord) -> Option<Vec<(&'static str, u64, i64)>> {
        let lines = Prices::parse(PRICES).unwrap().cost_lines(record)?;
        assert_eq!(lines.iter().map(|line| line.cost).sum::<i64>(), record.cost);
        Some(lines.into_iter().map(|line| (line.of, line.quantity, line.cost)).collect())
    }

    #[test]
    fn the_lines_add_up_to_the_cost() {
        let chat = UsageRecord {
            prompt_tokens: 6310,
            cached_tokens: 1920,
            completion_tokens: 744,
            reasoning_tokens: 512,
            ..record("p/m@2026-11-27", 13_167_500)
        };
        let expected = [
            ("prompt_tokens", 4390, 5_487_500),
            ("cached_tokens", 1920, 240_000),
            ("completion_tokens", 232, 2_320_000),
            ("reasoning_tokens", 512, 5_120_000),
        ];
        assert_eq!(lines(&chat).unwrap(), expected);
        // Each line is rounded down, and the cost once.
        let odd = UsageRecord { prompt_tokens: 6, cached_tokens: 3, ..record("p/m@2026-11-27", 4125) };
        assert_eq!(lines(&odd).unwrap(), [("prompt_tokens", 3, 3750), ("cached_tokens", 3, 375)]);
        let written = UsageRecord {
            prompt_tokens: 5,
            cache_write_tokens: 5,
            cache_write_1h_tokens: 2,
            ..record("p/writes@d", 3 * 3750 + 2 * 6000)
        };
        let expected = [("cache_write_tokens", 3, 11_250), ("cache_write_1h_tokens", 2, 12_000)];
        assert_eq!(lines(&written).unwrap(), expected);
        let heard = UsageRecord {
            prompt_tokens: 100,
            completion_tokens: 10,
            extra_counts: [("audio_prompt_tokens".into(), 60), ("searches".into(), 2)].into(),
            ..record("p/sound@d", 60 * 30_000 + 40 * 1000 + 10 * 2000 + 20_000_000)
        };
        let expected = [
            ("prompt_tokens", 40, 40_000),
            ("completion_tokens", 10, 20_000),
            ("audio_prompt_tokens", 60, 1_800_000),
            ("searches", 2, 20_000_000),
        ];
        assert_eq!(lines(&heard).unwrap(), expected);
        // A tier without a price of audio or of searches bills tokens alone.
        let fast = UsageRecord { service_tier: Some("priority".into()), cost: 100 * 2000 + 10 * 4000, ..heard };
        let expected =
            [("prompt_tokens", 40, 80_000), ("completion_tokens", 10, 40_000), ("audio_prompt_tokens", 60, 120_000)];
        assert_eq!(lines(&fast).unwrap(), expected);
        assert_eq!(lines(&record("p/image@d", 120_000_000)).unwrap(), [("calls", 3, 120_000_000)]);
        let video = lines(&record("p/video@d", 810_000_000)).unwrap();
        assert_eq!(video, [("calls", 1, 10_000_000), ("seconds", 8, 800_000_000)]);
    }

    #[test]
    fn a_cost_that_the_price_does_not_give_has_no_lines() {
        assert_eq!(lines(&record("p/m@2025-01-01", 5)), None, "another date");
        assert_eq!(lines(&record("p/image@d", 41_000_000)), None, "another price");
        assert_eq!(lines(&record("p/image@d", -40_000_000)), None, "a refund");
        assert_eq!(lines(&record("", 0)), Some(vec![]));
    }
}
