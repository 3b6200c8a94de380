use chat::{ExtraCount, ExtraCounts, ServiceTier, Usage};

use super::*;
use crate::billing::plausibility::MAX_COST;

fn prices() -> Prices {
    Prices::parse(
        r#"
        [[price]]
        provider = "deepseek"
        model = "DeepSeek-Chat"
        source = "the provider's price page"
        date = "2025-12-01"
        input = 0.28
        cached = 0.003625
        output = 0.42
        per_call = 0.001
        per_second = 0.0005
        period = [{ from = "16:30", until = "00:30", input = 0.14, output = 0.21 }]
        "#,
    )
    .unwrap()
}

fn at(hour: i64, minute: i64) -> i64 {
    1_764_547_200_000_000 + (hour * 60 + minute) * 60_000_000
}

#[test]
fn every_kind_of_token_has_its_price_and_the_sum_is_rounded_once() {
    let price = prices().find("deepseek", "deepseek-chat").unwrap();
    let usage = Usage { prompt_tokens: 1_000_000, cached_tokens: 400_000, ..Usage::default() };
    // 600,000 tokens at $0.28, 400,000 at $0.003625, and $0.001 for the call.
    assert_eq!(price.cost(&usage, Quantity::default(), at(12, 0)), 168_000_000 + 1_450_000 + 1_000_000);
    let usage = Usage { completion_tokens: 3, reasoning_tokens: Some(2), ..Usage::default() };
    assert_eq!(price.cost(&usage, Quantity::default(), at(12, 0)), 1_260 + 1_000_000);
    let one = Usage { prompt_tokens: 1, cached_tokens: 1, ..Usage::default() };
    // 3.625 nano-dollars.
    assert_eq!(price.cost(&one, Quantity::default(), at(12, 0)), 4 + 1_000_000);
    let quantity = Quantity { calls: 3, seconds: 8 };
    assert_eq!(price.cost(&Usage::default(), quantity, at(12, 0)), 3_000_000 + 8 * 500_000);
    assert_eq!(&*price.name, "deepseek/DeepSeek-Chat@2025-12-01");
}

#[test]
fn a_period_over_midnight_counts_on_both_sides() {
    let price = prices().find("deepseek", "deepseek-chat").unwrap();
    let million = Usage { prompt_tokens: 1_000_000, ..Usage::default() };
    for (time, cost) in [(at(16, 29), 281), (at(16, 30), 140), (at(23, 59), 140), (at(0, 29), 140), (at(0, 30), 281)] {
        assert_eq!(price.cost(&million, Quantity::default(), time) / 1_000_000, cost);
    }
}

#[test]
fn a_long_prompt_makes_the_whole_request_more_expensive() {
    let row =
        |tiers: &str| format!("[[price]]\nprovider='p'\nmodel='m'\nsource='s'\ndate='d'\ninput=1\noutput=2\n{tiers}");
    let tiers = "above = [{prompt_tokens=100, input=10, output=20}, {prompt_tokens=1000, input=100, output=200}]";
    let cost = |tiers: &str, prompt_tokens: u64, time: i64| {
        let usage = Usage { prompt_tokens, completion_tokens: 1, ..Usage::default() };
        Prices::parse(&row(tiers)).unwrap().find("p", "m").unwrap().cost(&usage, Quantity::default(), time) / 1000
    };
    assert_eq!([100, 101, 1000, 1001].map(|tokens| cost(tiers, tokens, 0)), [102, 1030, 10_020, 100_300]);
    // A period that matches takes precedence.
    let both = format!("{tiers}\nperiod = [{{from='16:30', until='00:30', input=0.5, output=1}}]");
    assert_eq!([at(16, 29), at(16, 30)].map(|time| cost(&both, 102, time)), [1040, 52]);
}

#[test]
fn counts_that_contradict_each_other_never_have_a_negative_cost() {
    let price = prices().find("deepseek", "deepseek-chat").unwrap();
    let contradictory = Usage {
        prompt_tokens: 1,
        cached_tokens: 9,
        cache_write_tokens: 9,
        cache_write_1h_tokens: 99,
        completion_tokens: 1,
        reasoning_tokens: Some(9),
        extra: ExtraCounts([99; ExtraCount::ALL.len()]),
        service_tier: None,
    };
    assert!(price.cost(&contradictory, Quantity::default(), 0) > 0);
    let most = Usage { prompt_tokens: u64::MAX, ..Usage::default() };
    assert_eq!(price.cost(&most, Quantity::default(), 0), MAX_COST);
    let most = Usage { completion_tokens: u64::MAX, reasoning_tokens: Some(u64::MAX), ..most };
    let quantity = Quantity { calls: u64::MAX, seconds: u64::MAX };
    assert!(price.unclamped_cost(&most, quantity, 0) > i128::from(i64::MAX));
}

#[test]
fn writes_to_the_cache_cost_what_they_are_kept_for() {
    let row = |more: &str| {
        format!("[[price]]\nprovider='p'\nmodel='m'\nsource='s'\ndate='d'\ninput=3\ncached=0.3\noutput=15\n{more}")
    };
    let usage = Usage {
        prompt_tokens: 1_000_000,
        cached_tokens: 100_000,
        cache_write_tokens: 600_000,
        cache_write_1h_tokens: 200_000,
        ..Usage::default()
    };
    let rest = 300_000 * 3_000 + 100_000 * 300;
    for (more, cost) in [
        ("cache_write=3.75\ncache_write_1h=6", 400_000 * 3_750 + 200_000 * 6_000),
        ("cache_write=3.75", 400_000 * 3_750 + 200_000 * 6_000),
        ("cache_write=1", 600_000 * 1_000),
        ("cache_write_1h=6", 400_000 * 3_000 + 200_000 * 6_000),
        ("", 600_000 * 3_000),
    ] {
        let price = Prices::parse(&row(more)).unwrap().find("p", "m").unwrap();
        assert_eq!(price.cost(&usage, Quantity::default(), 0), rest + cost, "{more}");
        // A reservation covers the dearest kind of input.
        assert!(price.worst_case(1_000_000, Quantity::default(), 0).prompt >= i128::from(rest + cost));
    }
    // No more is kept for an hour than was written.
    let price = Prices::parse(&row("cache_write=1\ncache_write_1h=2")).unwrap().find("p", "m").unwrap();
    let all = Usage { cache_write_1h_tokens: 9, cache_write_tokens: 5, prompt_tokens: 5, ..Usage::default() };
    assert_eq!(price.cost(&all, Quantity::default(), 0), 5 * 2_000);
}

#[test]
fn an_invalid_row_is_refused() {
    let row = |more: &str| format!("[[price]]\nprovider='p'\nmodel='m'\nsource='s'\ndate='d'\n{more}");
    for (bad, word) in [
        ("input = -1", "input"),
        ("output = nan", "output"),
        ("period = [{from='25:00',until='1:00'}]", "25:00"),
        ("period = [{from='15:00',until='1:00',inptu=1}]", "inptu"),
        ("above = [{prompt_tokens=1,output=-1}]", "output"),
        ("above = [{input=1}]", "prompt_tokens"),
        ("inptu = 1", "inptu"),
        ("context = 0", "context"),
        ("context = 1073741825", "context"),
        ("max_output = 0", "max_output"),
    ] {
        let error = Prices::parse(&row(bad)).expect_err(bad).to_string();
        assert!(error.contains(word), "{error}");
    }
}

#[test]
fn audio_images_and_searches_have_prices_of_their_own() {
    let row = "[[price]]\nprovider='p'\nmodel='m'\nsource='s'\ndate='d'\ninput=1\ncached=0.5\noutput=2\n";
    let cost = |prices: &str, usage: Usage| {
        let price = Prices::parse(&format!("{row}{prices}")).unwrap().find("p", "m").unwrap();
        price.cost(&usage, Quantity::default(), 0)
    };
    let counts = |extra| Usage {
        prompt_tokens: 100,
        cached_tokens: 30,
        completion_tokens: 20,
        extra: ExtraCounts(extra),
        ..Usage::default()
    };
    let text = 70 * 1000 + 30 * 500 + 20 * 2000;
    assert_eq!(cost("", counts([50, 10, 20, 0, 3])), text, "without a price they are text");
    let prices = "audio_input=10\nimage_input=4\naudio_output=60\nimage_output=30\nper_search=0.01\n";
    let expected = 10 * 1000 + 30 * 500 + 50 * 10_000 + 10 * 4000 + 5 * 2000 + 15 * 60_000 + 3 * 10_000_000;
    assert_eq!(cost(prices, counts([50, 10, 15, 0, 3])), expected);
    // Parts have room in what the cache did not have.
    assert_eq!(cost(prices, counts([100, 100, 0, 0, 0])), 30 * 500 + 70 * 10_000 + 20 * 2000);
    let worst = |prompt_tokens| {
        let price = Prices::parse(&format!("{row}{prices}")).unwrap().find("p", "m").unwrap();
        price.worst_case(prompt_tokens, Quantity::default(), 0)
    };
    assert_eq!((worst(100).prompt, worst(100).output_per_million), (1_000_000, 60_000_000_000));
}

#[test]
fn a_service_tier_has_its_prices() {
    let row = "[[price]]\nprovider='p'\nmodel='m'\nsource='s'\ndate='d'\ninput=1\noutput=2\n\
        above=[{prompt_tokens=1000, input=2}]\nperiod=[{from='00:00', until='12:00', input=0.5}]\n\
        service=[{tier='flex', input=0.5}, {tier='priority', input=3, output=6}, {tier='priority', prompt_tokens=1000, input=7}]";
    let price = Prices::parse(row).unwrap().find("p", "m").unwrap();
    let cost = |service_tier, prompt_tokens| {
        price.cost(&Usage { prompt_tokens, service_tier, ..Usage::default() }, Quantity::default(), at(13, 0))
    };
    assert_eq!((cost(None, 1000), cost(None, 1001)), (1_000_000, 2_002_000));
    assert_eq!(cost(Some(ServiceTier::Flex), 1001), 500_500);
    assert_eq!(
        (cost(Some(ServiceTier::Priority), 1000), cost(Some(ServiceTier::Priority), 1001)),
        (3_000_000, 7_007_000)
    );
    let worst = |tokens| price.worst_case(tokens, Quantity::default(), at(13, 0)).prompt;
    assert_eq!((worst(1000), worst(1001)), (3_000_000, 7_007_000));
    for (odd, message) in [
        ("service=[{tier='turbo', input=1}]", "`turbo`"),
        ("audio_inputs=1", "audio_inputs"),
        ("per_search=-1", "per_search"),
    ] {
        let row = format!("[[price]]\nprovider='p'\nmodel='m'\nsource='s'\ndate='d'\n{odd}");
        let error = Prices::parse(&row).unwrap_err().to_string();
        assert!(error.contains(message), "{error}");
    }
}
