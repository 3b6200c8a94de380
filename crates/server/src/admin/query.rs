//! The query of a request of the admin API.

use chat::Error;
use store::now_micros;

use super::errors::{invalid_field, invalid_value};

/// The end of the year 9999, in seconds since 1970.
const MAX_SECONDS: i64 = 253_402_300_799;

/// The most values of one filter.
const MAX_VALUES: usize = 100;

/// The parameters of a query, decoded. Some may occur several times.
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    /// Parses `name=value&...`. What does not decode to UTF-8 is replaced.
    pub(super) fn parse(text: &str) -> Self {
        Self(url::form_urlencoded::parse(text.as_bytes()).into_owned().collect())
    }

    /// # Errors
    /// `InvalidRequest` for a parameter that is not in `known`.
    pub(super) fn check_names(&self, known: &[&str]) -> Result<(), Error> {
        match self.0.iter().find(|(name, _)| !known.contains(&name.as_str())) {
            None => Ok(()),
            Some((name, _)) => {
                Err(invalid_field(name, format!("Unknown parameter `{name:.32}`: expected {}", known.join(", "))))
            }
        }
    }

    /// The value of a parameter.
    pub(super) fn value(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The values of a parameter that may be repeated.
    ///
    /// # Errors
    /// `InvalidRequest` for more than 100 values.
    pub(super) fn values(&self, name: &str) -> Result<Vec<String>, Error> {
        let values: Vec<_> = self.0.iter().filter(|(known, _)| known == name).map(|(_, value)| value.clone()).collect();
        if values.len() > MAX_VALUES {
            return Err(invalid_value(name, &format!("expected at most {MAX_VALUES} values")));
        }
        Ok(values)
    }

    /// The value of a parameter, a number from 1 to `max`.
    ///
    /// # Errors
    /// `InvalidRequest` for any other value.
    pub(super) fn number(&self, name: &str, default: i64, max: i64) -> Result<i64, Error> {
        let Some(text) = self.value(name) else { return Ok(default) };
        let number = text.parse().ok().filter(|number| (1..=max).contains(number));
        number.ok_or_else(|| invalid_value(name, &format!("expected a number from 1 to {max}")))
    }

    /// The value of a parameter, one of `choices`.
    ///
    /// # Errors
    /// `InvalidRequest` for any other value.
    pub(super) fn choice<T: Copy>(&self, name: &str, choices: &[(&str, T)]) -> Result<Option<T>, Error> {
        let Some(text) = self.value(name) else { return Ok(None) };
        find_choice(name, text, choices).map(Some)
    }

    /// The value of a parameter, a time: seconds since 1970, or RFC 3339. Returns microseconds.
    ///
    /// # Errors
    /// `InvalidRequest` for any other value.
    pub(super) fn time(&self, name: &str) -> Result<Option<i64>, Error> {
        let Some(text) = self.value(name) else { return Ok(None) };
        let seconds = text.parse::<i64>().ok().map(|seconds| seconds.saturating_mul(1_000_000));
        let micros = seconds.or_else(|| text.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_microsecond));
        let micros = micros.filter(|micros| (0..=MAX_SECONDS * 1_000_000).contains(micros));
        let expected = "expected seconds since 1970, or a time such as 2026-11-29T12:00:00Z";
        micros.map(Some).ok_or_else(|| invalid_value(name, expected))
    }

    /// The span from `from` until `to`, in microseconds: until now, and `default_span` long, unless
    /// the query says otherwise.
    ///
    /// # Errors
    /// `InvalidRequest` for a time that is not one, or when `from` is not before `to`.
    pub(super) fn span(&self, default_span: i64) -> Result<(i64, i64), Error> {
        let to = self.time("to")?.unwrap_or_else(now_micros);
        let from = self.time("from")?.unwrap_or_else(|| (to - default_span).max(0));
        if from >= to {
            return Err(invalid_value("from", "expected a time before `to`"));
        }
        Ok((from, to))
    }
}

/// The choice with this name.
///
/// # Errors
/// `InvalidRequest` that lists the choices.
pub(super) fn find_choice<T: Copy>(name: &str, text: &str, choices: &[(&str, T)]) -> Result<T, Error> {
    let found = choices.iter().find(|(choice, _)| *choice == text).map(|(_, value)| *value);
    found.ok_or_else(|| {
        let choices: Vec<_> = choices.iter().map(|(choice, _)| *choice).collect();
        invalid_value(name, &format!("`{text:.32}` is not one of {}", choices.join(", ")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_decoded_and_may_be_repeated() {
        let query = Query::parse("key=olga%27s&key=a+b%2B&&from=2026-11-29T12:00:00%2B01:00&to=1795953600&all");
        assert_eq!(query.values("key").unwrap(), ["olga's", "a b+"]);
        assert_eq!(query.span(5).unwrap(), (1_795_950_000_000_000, 1_795_953_600_000_000));
        assert_eq!((query.value("all"), query.value("none")), (Some(""), None));
        let unknown = query.check_names(&["key", "from", "to"]).unwrap_err();
        assert_eq!((unknown.param.as_deref(), unknown.message.contains("`all`")), (Some("all"), true));
    }

    #[test]
    fn times_are_seconds_or_rfc_3339() {
        let time = |text: &str| Query(vec![("from".into(), text.into())]).time("from");
        assert_eq!(time("1795953600").unwrap(), Some(1_795_953_600_000_000));
        assert_eq!(time("2026-11-29T12:00:00Z").unwrap(), Some(1_795_953_600_000_000));
        assert_eq!(time("2026-11-29T13:00:00+01:00").unwrap(), Some(1_795_953_600_000_000));
        for bad in ["", "-1", "yesterday", "2026-11-29", "253402300800", "99999999999999999999", "1e9", "NaN"] {
            assert!(time(bad).is_err(), "{bad}");
        }
    }
}
