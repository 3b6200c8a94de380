//! Counts as providers write them. What stands there and is no count is neither cut to one nor
//! fails the answer: it is read as [`Usage::INVALID_COUNT`], for whoever knows what can be true.

use std::fmt;

use chat::Usage;
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// A count of tokens; `None` where there is none, or null.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct TokenCount(Option<u64>);

impl TokenCount {
    pub(crate) const ABSENT: Self = Self(None);
    pub(crate) const INVALID: Self = Self(Some(Usage::INVALID_COUNT));

    pub(crate) fn get(self) -> Option<u64> {
        self.0
    }

    /// 0 where there is none.
    pub(crate) fn or_zero(self) -> u64 {
        self.0.unwrap_or(0)
    }

    pub(crate) fn or(self, other: Self) -> Self {
        Self(self.0.or(other.0))
    }
}

/// A provider's token counts of an answer.
pub(crate) trait ProviderUsage: for<'a> Deserialize<'a> {
    /// The value for an object that cannot be read.
    const INVALID: Self;

    /// Reads the value of a `usage` field; `None` for null.
    fn parse(json: &str) -> Option<Self> {
        let json = json.trim_ascii();
        if json == "null" {
            return None;
        }
        // A list would be taken for the fields in their order.
        let parsed = json.starts_with('{').then(|| serde_json::from_str(json).ok());
        Some(parsed.flatten().unwrap_or(Self::INVALID))
    }

    /// The same for a field that may be absent.
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

    /// Some write whole numbers as `12.0`.
    fn visit_f64<E>(self, count: f64) -> Result<TokenCount, E> {
        // Beyond 2^53 a float no longer says which integer it means.
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
    fn what_is_no_count_is_told_from_none() {
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
