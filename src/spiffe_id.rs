//! SPIFFE IDs in text that is signed, hashed or configured: one spelling of each.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use spiffe::SpiffeId;

/// The longest SPIFFE ID in octets (SPIFFE-ID section 2.3).
const MAX_OCTETS: usize = 2048;

/// The SPIFFE ID that `text` spells exactly, in at most 2048 octets.
///
/// [`SpiffeId`] alone also reads other spellings of the same ID (upper case in scheme and trust domain) and longer
/// ones; of a text under a signature or a digest there must be one.
pub(crate) fn exact(text: &str) -> Option<SpiffeId> {
    if text.len() > MAX_OCTETS {
        return None;
    }
    SpiffeId::new(text).ok().filter(|id| id.to_string() == text)
}

/// A SPIFFE ID with a text form for serde, where [`SpiffeId`] has none.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Text(pub(crate) SpiffeId);

impl Serialize for Text {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        exact(&text).map(Self).ok_or_else(|| {
            let start: String = text.chars().take(80).collect();
            serde::de::Error::custom(format!(
                "`{start}` is not a SPIFFE ID in its normal form, such as `spiffe://example.org/agent`"
            ))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_spelling_is_accepted() {
        assert!(exact("spiffe://example.org/agent").is_some());
        for bad in [
            "",
            "spiffe://Example.org/agent",
            "SPIFFE://example.org/agent",
            "spiffe://example.org/agent/",
            "spiffe://example.org//agent",
            "https://example.org/agent",
            " spiffe://example.org/agent",
        ] {
            assert_eq!(exact(bad), None, "{bad}");
        }
        assert!(exact(&format!("spiffe://example.org/{}", "a".repeat(2027))).is_some());
        assert_eq!(exact(&format!("spiffe://example.org/{}", "a".repeat(2028))), None);
    }
}
