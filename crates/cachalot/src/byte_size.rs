//! Sizes of memory and files as people write them: `4GiB`.

/// The largest size, an exbibyte: more is a mistake.
const MAX_SIZE: u64 = 1 << 60;

/// Parses bytes with an optional unit: `4GiB`, `512M`, `1000000`. Units are powers of 1024.
///
/// # Errors
/// An unknown unit, text that is not a number, zero, more than an exbibyte.
pub fn parse_bytes(text: &str) -> Result<u64, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let shift = match text[digits..].trim().to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        unit => return Err(format!("unknown unit `{unit}`: write bytes, or K, M, G, T")),
    };
    let fault = || format!("`{text}` is not a number of bytes, such as 4GiB");
    let number = &text[..digits];
    let unit = 1u64 << shift;
    let bytes = match number.parse::<u64>() {
        Ok(whole) => whole.checked_mul(unit),
        Err(_) => {
            let number: f64 = number.parse().map_err(|_| fault())?;
            let bytes = number * unit as f64;
            (bytes <= MAX_SIZE as f64).then_some(bytes as u64)
        }
    };
    match bytes {
        Some(0) => Err(format!("`{text}` is zero bytes: write at least 1")),
        Some(bytes) if bytes <= MAX_SIZE => Ok(bytes),
        _ => Err(format!("`{text}` is more than any machine has: at most {MAX_SIZE} bytes")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_take_units() {
        assert_eq!(parse_bytes("4GiB"), Ok(4 << 30));
        assert_eq!(parse_bytes("1.5k"), Ok(1536));
        assert_eq!(parse_bytes("77"), Ok(77));
        assert_eq!(parse_bytes("9007199254740993"), Ok(9_007_199_254_740_993));
        for bad in [
            "4 parsecs",
            "",
            "0",
            "0GiB",
            "0.0",
            "-1",
            "-1GiB",
            "99999999999999999999GiB",
            "99999999999999999999",
            "18446744073709551616",
            "16777216TiB",
            "1e3",
            "inf",
            "NaN",
            ".",
            "1.2.3",
            "0.0000001k",
            "٣",
        ] {
            assert!(parse_bytes(bad).is_err(), "{bad}");
        }
    }
}
