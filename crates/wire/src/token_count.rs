//! Token counts of providers. A value that is not a count is neither rounded nor an error: it
//! becomes [`Usage::INVALID_COUNT`], which the gateway treats as implausible.

use std::fmt;

use chat::Usage;
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// A token count; `None` when it is absent or null.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct TokenCount(Option<u64>);

impl TokenCount {
    pub(crate) const ABSENT: Self = Self(None);
    pub(crate) const INVALID: Self = Self(Some(Usage::INVALID_COUNT));

    pub(crate) fn get(self) -> Option<u64> {
        self.0
    }

    /// The count, or 0 when it is absent.
    pub(crate) fn or_zero(self) -> u64 {
        self.0.unwrap_or(0)
    }

    pub(crate) fn or(self, other: Self) -> Self {
        Self(self.0.or(other.0))
    }
}

/// The usage of an answer in the format of a provider.
pub(crate) trait ProviderUsage: for<'a> Deserialize<'a> {
    /// The value of an object that cannot be parsed.
    const INVALID: Self;

    /// Parses the value of a `usage` field; `None` for null.
    fn parse(json: &str) -> Option<Self> {
        let json = json.trim_ascii();
        if json == "null" {
            return None;
        }
        // A derived `Deserialize` would accept a list of the fields in order.
        let parsed = json.starts_with('{').then(|| serde_json::from_str(json).ok());
        Some(parsed.flatten().unwrap_or(Self::INVALID))
    }

    /// Parses a field that may be absent.
    fn parse_optional(field: Option<&RawValue>) -> Option<Self> {
        Self::parse(field?.get())
    }
}

impl<'de> Deserialize<'de> for TokenCount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TokenCountVisitor)
    }
}

struct TokenCountVisitor;

impl<'de> Visitor<'de> for TokenCountVisitor {
    type Value = TokenCount;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a count")
    }

    fn visit_u64<E>(self, count: u64) -> Result<TokenCount, E> {
        Ok(TokenCount(Some(count)))
    }

    fn visit_i64<E>(self, count: i64) -> Result<TokenCount, E> {
        Ok(u64::try_from(count).map_or(TokenCount::INVALID, |count| TokenCount(Some(count))))
    }

    /// Some providers write whole numbers as `12.0`.
    fn visit_f64<E>(self, count: f64) -> Result<TokenCount, E> {
        // Beyond 2^53 a float does not represent every integer.
        const EXACT: f64 = 9_007_199_254_740_992.0;
        let whole = count.fract() == 0.0 && (0.0..=EXACT).contains(&count);
        Ok(if whole { TokenCount(Some(count as u64)) } else { TokenCount::INVALID })
    }

    fn visit_unit<E>(self) -> Result<TokenCount, E> {
        Ok(TokenCount::ABSENT)
    }

    fn visit_bool<E>(self, _: bool) -> Result<TokenCount, E> {
        Ok(TokenCount::INVALID)
    }

    fn visit_str<E>(self, _: &str) -> Result<TokenCount, E> {
        Ok(TokenCount::INVALID)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<TokenCount, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(TokenCount::INVALID)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<TokenCount, A::Error> {
        while object.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(TokenCount::INVALID)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_invalid_count_differs_from_an_absent_one() {
        let read = |json: &str| serde_json::from_str::<TokenCount>(json).unwrap().get();
        assert_eq!((read("0"), read("12"), read("12.0"), read("1e3")), (Some(0), Some(12), Some(12), Some(1000)));
        assert_eq!((read("9223372036854775808"), read("null")), (Some(1 << 63), None));
        let odd = [
            "-1",
            "-9223372036854775808",
            "1.5",
            "18446744073709551616",
            "1e30",
            "-0.5",
            "\"12\"",
            "true",
            "[1]",
            "{}",
        ];
        for odd in odd {
            assert_eq!(read(odd), Some(Usage::INVALID_COUNT), "{odd}");
        }
    }
}
