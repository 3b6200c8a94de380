//! Amounts in US dollars as text, and in nano-dollars.

const NANOS_PER_DOLLAR: i64 = 1_000_000_000;

/// Parses US dollars with up to nine decimals, such as `5`, `0.25` or `$1000.5`. Returns the exact
/// amount in nano-dollars.
///
/// # Errors
/// A message about text that is not such an amount.
pub fn parse(text: &str) -> Result<i64, String> {
    let fault = || format!("`{text}` is not an amount of US dollars such as 5 or 0.25");
    let plain = text.trim().trim_start_matches('$');
    let (whole, decimals) = plain.split_once('.').unwrap_or((plain, ""));
    let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || decimals.len() > 9 || !digits(whole) || !digits(decimals) {
        return Err(fault());
    }
    let decimals: i64 = format!("{decimals:0<9}").parse().map_err(|_| fault())?;
    let whole: i64 = whole.parse().map_err(|_| fault())?;
    whole.checked_mul(NANOS_PER_DOLLAR).and_then(|nano| nano.checked_add(decimals)).ok_or_else(fault)
}

/// Formats nano-dollars as dollars with `decimals` digits (at most nine), rounded down, so that a
/// balance never shows more than is left.
pub fn format(nano: i64, decimals: u32) -> String {
    let unit = NANOS_PER_DOLLAR / 10_i64.pow(decimals.min(9));
    let units = nano.div_euclid(unit);
    let (sign, units) = (if units < 0 { "-" } else { "" }, units.unsigned_abs());
    let per_dollar = (NANOS_PER_DOLLAR / unit) as u64;
    match decimals {
        0 => format!("{sign}{units}"),
        _ => format!("{sign}{}.{:0width$}", units / per_dollar, units % per_dollar, width = decimals.min(9) as usize),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_exact() {
        assert_eq!(parse("5"), Ok(5_000_000_000));
        assert_eq!(parse("$0.003625"), Ok(3_625_000));
        assert_eq!(parse("1000.5"), Ok(1_000_500_000_000));
        for bad in ["", "-1", "1.2.3", "0.0000000001", "1e3", "five", "99999999999999999999", "9999999999"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn amounts_are_rounded_down() {
        assert_eq!((format(1_239_999_999, 2), format(-1, 2)), ("1.23".into(), "-0.01".into()));
        assert_eq!((format(3_625_000, 6), format(5_000_000_000, 0)), ("0.003625".into(), "5".into()));
        assert_eq!((format(-1_500_000_000, 1), format(0, 2)), ("-1.5".into(), "0.00".into()));
        assert_eq!(format(i64::MIN, 9), "-9223372036.854775808");
    }
}
