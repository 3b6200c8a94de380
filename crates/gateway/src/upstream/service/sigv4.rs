//! Signatures of requests to Amazon's services: Signature Version 4.
//! <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html>

use std::fmt::Write as _;
use std::time::SystemTime;

use jiff::Timestamp;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use ring::hmac::{self, HMAC_SHA256};
use sha2::{Digest, Sha256};

use crate::secret::Secret;

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
/// The characters that are encoded in a path: all but the unreserved ones (RFC 3986) and slashes.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/');

/// A key of Amazon's services.
#[derive(Clone, Debug)]
pub struct AwsCredentials {
    pub access_key: Secret,
    pub secret_key: Secret,
    /// The token of a temporary key.
    pub session_token: Option<Secret>,
}

/// A request that is signed.
pub(crate) struct UnsignedRequest<'a> {
    pub(crate) method: &'a str,
    /// The path as it is sent, and the query without its question mark.
    pub(crate) path: &'a str,
    pub(crate) query: &'a str,
    /// The headers that are signed beside the date and the token: names in lower case, and values.
    pub(crate) headers: &'a [(&'a str, &'a str)],
    pub(crate) body: &'a [u8],
}

/// The headers that a signature adds.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct SignatureHeaders {
    pub(crate) date: String,
    pub(crate) authorization: String,
}

/// Signs requests to one service in one region.
#[derive(Clone, Debug)]
pub struct RequestSigner {
    pub(crate) credentials: AwsCredentials,
    pub(crate) region: String,
    pub(crate) service: &'static str,
}

impl RequestSigner {
    /// The headers `x-amz-date` and `authorization` of a request at `time`.
    pub(crate) fn sign(&self, request: &UnsignedRequest<'_>, time: SystemTime) -> SignatureHeaders {
        let date = format_date(time);
        let day = &date[..8];
        let mut headers: Vec<(&str, String)> =
            request.headers.iter().map(|(name, value)| (*name, canonical_value(value))).collect();
        headers.push(("x-amz-date", date.clone()));
        if let Some(token) = &self.credentials.session_token {
            headers.push(("x-amz-security-token", token.expose().to_owned()));
        }
        headers.sort_unstable();
        let names = headers.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(";");
        let mut canonical =
            format!("{}\n{}\n{}\n", request.method, encoded_path(request.path), canonical_query(request.query));
        for (name, value) in &headers {
            let _ = writeln!(canonical, "{name}:{value}");
        }
        let _ = write!(canonical, "\n{names}\n{}", hex(&Sha256::digest(request.body)));
        let scope = format!("{day}/{}/{}/aws4_request", self.region, self.service);
        let to_sign = format!("{ALGORITHM}\n{date}\n{scope}\n{}", hex(&Sha256::digest(canonical)));
        let signature = hex(hmac::sign(&self.signing_key(day), to_sign.as_bytes()).as_ref());
        let access_key = self.credentials.access_key.expose();
        let authorization =
            format!("{ALGORITHM} Credential={access_key}/{scope}, SignedHeaders={names}, Signature={signature}");
        SignatureHeaders { date, authorization }
    }

    /// The key of a day, which is derived from the secret one.
    fn signing_key(&self, day: &str) -> hmac::Key {
        let first = format!("AWS4{}", self.credentials.secret_key.expose());
        let mut key = hmac::Key::new(HMAC_SHA256, first.as_bytes());
        for part in [day, &self.region, self.service, "aws4_request"] {
            key = hmac::Key::new(HMAC_SHA256, hmac::sign(&key, part.as_bytes()).as_ref());
        }
        key
    }
}

/// A value without outer spaces, and with single inner ones.
fn canonical_value(value: &str) -> String {
    value.split_ascii_whitespace().collect::<Vec<_>>().join(" ")
}

/// The path of a canonical request: that which is sent, encoded once more.
fn encoded_path(path: &str) -> String {
    if path.is_empty() { "/".into() } else { utf8_percent_encode(path, RESERVED).to_string() }
}

/// The parameters of a query, which are encoded as they are sent, by their names.
fn canonical_query(query: &str) -> String {
    let mut parameters: Vec<(&str, &str)> = query
        .split('&')
        .filter(|part| !part.is_empty())
        .map(|part| part.split_once('=').unwrap_or((part, "")))
        .collect();
    parameters.sort_unstable();
    parameters.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&")
}

/// The time as `20150830T123600Z`.
fn format_date(time: SystemTime) -> String {
    Timestamp::try_from(time).unwrap_or_default().strftime("%Y%m%dT%H%M%SZ").to_string()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    /// 30 August 2015, 12:36:00, the time of the vendor's examples.
    const EXAMPLE_TIME: u64 = 1_440_938_160;

    fn signer(service: &'static str, session_token: Option<&str>) -> RequestSigner {
        let credentials = AwsCredentials {
            access_key: Secret::new("AKIDEXAMPLE"),
            secret_key: Secret::new("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"),
            session_token: session_token.map(Secret::new),
        };
        RequestSigner { credentials, region: "us-east-1".into(), service }
    }

    fn sign(signer: &RequestSigner, request: &UnsignedRequest<'_>) -> SignatureHeaders {
        signer.sign(request, UNIX_EPOCH + Duration::from_secs(EXAMPLE_TIME))
    }

    fn get<'a>(path: &'a str, query: &'a str, headers: &'a [(&'a str, &'a str)]) -> UnsignedRequest<'a> {
        UnsignedRequest { method: "GET", path, query, headers, body: b"" }
    }

    fn post<'a>(headers: &'a [(&'a str, &'a str)], body: &'a [u8]) -> UnsignedRequest<'a> {
        UnsignedRequest { method: "POST", path: "/", query: "", headers, body }
    }

    /// The cases of the vendor's `aws-sig-v4-test-suite` that these names are from.
    #[test]
    fn signatures_are_those_of_the_vendors_test_suite() {
        let host = ("host", "example.amazonaws.com");
        let form = ("content-type", "application/x-www-form-urlencoded");
        let unreserved = "/-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
        let spaces: [(&str, &str); 3] = [host, ("my-header1", " value1"), ("my-header2", " \"a   b   c\" ")];
        let hosts = [host];
        let forms = [host, form];
        for (name, request, signature) in [
            ("get-vanilla", get("/", "", &hosts), "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
            ("post-vanilla", post(&hosts, b""), "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"),
            (
                "get-vanilla-query-order-key-case",
                get("/", "Param2=value2&Param1=value1", &hosts),
                "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
            ),
            (
                "get-unreserved",
                get(unreserved, "", &hosts),
                "07ef7494c76fa4850883e2b006601f940f8a34d404d0cfa977f52a65bbf5f24f",
            ),
            (
                "post-x-www-form-urlencoded",
                post(&forms, b"Param1=value1"),
                "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a",
            ),
            (
                "get-header-value-trim",
                get("/", "", &spaces),
                "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736",
            ),
            (
                "get-slash, without a path",
                get("", "", &hosts),
                "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
            ),
        ] {
            let signed = sign(&signer("service", None), &request);
            assert!(signed.authorization.ends_with(&format!("Signature={signature}")), "{name}: {signed:?}");
            assert_eq!(signed.date, "20150830T123600Z");
        }
        let request = UnsignedRequest { method: "GET", path: "/", query: "", headers: &[host], body: b"" };
        assert_eq!(
            sign(&signer("service", None), &request).authorization,
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, \
             SignedHeaders=host;x-amz-date, Signature=5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"
        );
    }

    #[test]
    fn a_token_of_a_temporary_key_is_signed() {
        let token = "AQoDYXdzEPT//////////wEXAMPLEtc764bNrC9SAPBSM22wDOk4x4HIZ8j4FZTwdQWLWsKWHGBuFqwAeMicRXmxfpSPfIeoIYRqTflfKD8YUuwthAx7mSEI/qkPpKPi/kMcGdQrmGdeehM4IC1NtBmUpp2wUE8phUZampKsburEDy0KPkyQDYwT7WZ0wq5VSXDvp75YU9HFvlRd8Tx6q6fE8YQcHNVXAkiY9q6d+xo0rKwT38xVqr7ZD0u0iPPkUL64lIZbqBAz+scqKmlzm8FDrypNC9Yjc8fPOLn9FX9KSYvKTr4rvx3iSIlTJabIQwj2ICCR/oLxBA==";
        let headers = [("host", "example.amazonaws.com")];
        let request = UnsignedRequest { method: "POST", path: "/", query: "", headers: &headers, body: b"" };
        let signed = sign(&signer("service", Some(token)), &request);
        let signature = "85d96828115b5dc0cfc3bd16ad9e210dd772bbebba041836c64533a82be05ead";
        assert!(signed.authorization.ends_with(&format!("x-amz-security-token, Signature={signature}")), "{signed:?}");
    }

    /// The example of the vendor's guide, with its derived key.
    #[test]
    fn the_example_of_the_guide_is_signed() {
        let headers =
            [("content-type", "application/x-www-form-urlencoded; charset=utf-8"), ("host", "iam.amazonaws.com")];
        let query = "Action=ListUsers&Version=2010-05-08";
        let request = UnsignedRequest { method: "GET", path: "/", query, headers: &headers, body: b"" };
        let signed = sign(&signer("iam", None), &request);
        let signature = "5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7";
        assert!(signed.authorization.ends_with(signature), "{signed:?}");
    }

    #[test]
    fn a_path_is_encoded_once_more_than_it_is_sent() {
        assert_eq!(encoded_path("anthropic.claude-v2:1"), "anthropic.claude-v2%3A1");
        assert_eq!(
            encoded_path("/model/anthropic.claude-v2%3A1/converse"),
            "/model/anthropic.claude-v2%253A1/converse"
        );
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        let date = |seconds: u64| format_date(UNIX_EPOCH + Duration::from_secs(seconds));
        for (seconds, text) in [
            (0, "19700101T000000Z"),
            (951_782_399, "20000228T235959Z"),
            (951_782_400, "20000229T000000Z"),
            (4_107_542_400, "21000301T000000Z"),
            (1_798_761_599, "20261231T235959Z"),
        ] {
            assert_eq!(date(seconds), text);
        }
    }

    #[test]
    fn a_secret_key_is_not_printed() {
        assert!(!format!("{:?}", signer("service", Some("a-token"))).contains("wJalr"));
    }
}
