//! The ARNs that an operator configures: of a trust anchor, a profile, a role.

use std::fmt;
use std::str::FromStr;

/// The longest ARN that IAM takes, in octets.
pub const MAX_ARN: usize = 2048;

/// An ARN, complete and literal: printable ASCII without `*`, `?`, `$`, quotes and backslashes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Arn(String);

/// The text is not such an ARN.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not an ARN: expected `arn:PARTITION:SERVICE:REGION:ACCOUNT:RESOURCE`, complete and without wildcards"
)]
pub struct InvalidArn(String);

impl Arn {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn part(&self, place: usize) -> &str {
        self.0.splitn(6, ':').nth(place).unwrap_or_default()
    }

    /// The partition: `aws`, `aws-cn`, `aws-us-gov`.
    pub fn partition(&self) -> &str {
        self.part(1)
    }

    /// The service: `iam`, `rolesanywhere`.
    pub fn service(&self) -> &str {
        self.part(2)
    }

    /// The region; empty where the service has none.
    pub fn region(&self) -> &str {
        self.part(3)
    }

    /// The account; empty where the resource has none.
    pub fn account(&self) -> &str {
        self.part(4)
    }

    /// The resource, with its type where it has one: `role/seb-execution`.
    pub fn resource(&self) -> &str {
        self.part(5)
    }
}

impl FromStr for Arn {
    type Err = InvalidArn;

    fn from_str(text: &str) -> Result<Self, InvalidArn> {
        let plain = |octet: u8| octet.is_ascii_graphic() && !b"*?$\"'\\`<>".contains(&octet);
        let parts: Vec<&str> = text.splitn(6, ':').collect();
        let complete = matches!(parts.as_slice(), ["arn", partition, service, _, _, resource]
            if !partition.is_empty() && !service.is_empty() && !resource.is_empty());
        match complete && text.len() <= MAX_ARN && text.bytes().all(plain) {
            true => Ok(Self(text.to_owned())),
            false => Err(InvalidArn(text.chars().take(80).collect())),
        }
    }
}

impl fmt::Display for Arn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Arn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_where_they_belong() {
        let arn: Arn = "arn:aws-cn:rolesanywhere:cn-north-1:123456789012:profile/a:b".parse().unwrap();
        assert_eq!((arn.partition(), arn.service(), arn.region()), ("aws-cn", "rolesanywhere", "cn-north-1"));
        assert_eq!((arn.account(), arn.resource()), ("123456789012", "profile/a:b"));
        let long = format!("arn:aws:s3:::{}", "a".repeat(MAX_ARN));
        for bad in ["", "arn:aws:s3:::", "arn:aws:s3::", "ARN:aws:s3:::b", "arn:aws:s3:::*", "arn:aws:s3:::a b", &long]
        {
            assert!(bad.parse::<Arn>().is_err(), "{bad}");
        }
    }
}
