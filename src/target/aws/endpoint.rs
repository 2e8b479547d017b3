//! Where IAM Roles Anywhere and STS are reached.

use std::fmt;
use std::str::FromStr;

/// Which of AWS's endpoints of a region.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Variant {
    /// The regional endpoint.
    Regional,
    /// The one with validated cryptography.
    Fips,
    /// The one over IPv4 and IPv6.
    DualStack,
    /// Both.
    FipsDualStack,
}

/// A service that has such endpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Service {
    /// IAM Roles Anywhere.
    RolesAnywhere,
    /// The security token service.
    Sts,
}

impl Service {
    const fn prefix(self) -> &'static str {
        match self {
            Self::RolesAnywhere => "rolesanywhere",
            Self::Sts => "sts",
        }
    }
}

/// A region: `eu-west-1`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Region(String);

/// An origin: `https://HOST[:PORT]`; `http` on the loopback alone.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Endpoint {
    origin: String,
    host: String,
}

/// The text names no endpoint, or no region.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidEndpoint {
    /// It is not the origin of a URL.
    #[error("`{0}` is not an endpoint: expected `https://HOST` or `https://HOST:PORT`, without a path")]
    Origin(String),
    /// It has no TLS, and is not on the loopback.
    #[error("`{0}` would send credentials in the clear: `http` is for the loopback alone")]
    Clear(String),
    /// It is not a region's name.
    #[error("`{0}` is not a region: expected one such as `eu-west-1`")]
    Region(String),
}

impl Region {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The domain of its partition: AWS's own, and the one of the endpoints with IPv6.
    fn domains(&self) -> (&'static str, &'static str) {
        match self.0.split('-').next() {
            Some("cn") => ("amazonaws.com.cn", "api.amazonwebservices.com.cn"),
            _ => ("amazonaws.com", "api.aws"),
        }
    }
}

impl FromStr for Region {
    type Err = InvalidEndpoint;

    fn from_str(text: &str) -> Result<Self, InvalidEndpoint> {
        let part = |part: &str| {
            !part.is_empty() && part.bytes().all(|octet| octet.is_ascii_lowercase() || octet.is_ascii_digit())
        };
        let parts: Vec<&str> = text.split('-').collect();
        let named = text.starts_with(|first: char| first.is_ascii_lowercase());
        match (3..=4).contains(&parts.len()) && text.len() <= 32 && named && parts.iter().all(|it| part(it)) {
            true => Ok(Self(text.to_owned())),
            false => Err(InvalidEndpoint::Region(text.chars().take(80).collect())),
        }
    }
}

impl fmt::Display for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Endpoint {
    /// AWS's own endpoint of a service in a region.
    pub fn of(service: Service, region: &Region, variant: Variant) -> Self {
        let (single, dual) = region.domains();
        let (suffix, domain) = match variant {
            Variant::Regional => ("", single),
            Variant::Fips => ("-fips", single),
            Variant::DualStack => ("", dual),
            Variant::FipsDualStack => ("-fips", dual),
        };
        let host = format!("{}{suffix}.{region}.{domain}", service.prefix());
        Self { origin: format!("https://{host}"), host }
    }

    /// The origin, `https://HOST[:PORT]`.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// The host, with its port where it is not the scheme's.
    pub fn host(&self) -> &str {
        &self.host
    }
}

impl FromStr for Endpoint {
    type Err = InvalidEndpoint;

    fn from_str(text: &str) -> Result<Self, InvalidEndpoint> {
        let start = || text.chars().take(80).collect::<String>();
        let invalid = || InvalidEndpoint::Origin(start());
        let (scheme, host) = text.split_once("://").ok_or_else(invalid)?;
        let authority: http::uri::Authority = host.parse().map_err(|_| invalid())?;
        let plain = |octet: u8| octet.is_ascii_alphanumeric() || b".-:[]".contains(&octet);
        if authority.host().is_empty() || !host.bytes().all(plain) || host.ends_with(':') || host.len() > 255 {
            return Err(invalid());
        }
        // What is signed is what a client sends, and clients leave out the scheme's own port.
        let own = match scheme {
            "https" => "443",
            "http" if matches!(authority.host(), "127.0.0.1" | "[::1]" | "localhost") => "80",
            "http" => return Err(InvalidEndpoint::Clear(start())),
            _ => return Err(invalid()),
        };
        let host = match authority.port() {
            Some(port) if port.as_str() == own => authority.host().to_owned(),
            _ => host.to_owned(),
        };
        Ok(Self { origin: format!("{scheme}://{host}"), host })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_those_of_aws() {
        let origin = |service, region: &str, variant| {
            Endpoint::of(service, &region.parse().unwrap(), variant).origin().to_owned()
        };
        for (region, variant, expected) in [
            ("eu-west-1", Variant::Regional, "https://rolesanywhere.eu-west-1.amazonaws.com"),
            ("us-east-1", Variant::Fips, "https://rolesanywhere-fips.us-east-1.amazonaws.com"),
            ("eu-west-1", Variant::DualStack, "https://rolesanywhere.eu-west-1.api.aws"),
            ("us-gov-west-1", Variant::FipsDualStack, "https://rolesanywhere-fips.us-gov-west-1.api.aws"),
            ("cn-north-1", Variant::Regional, "https://rolesanywhere.cn-north-1.amazonaws.com.cn"),
            ("cn-north-1", Variant::DualStack, "https://rolesanywhere.cn-north-1.api.amazonwebservices.com.cn"),
        ] {
            assert_eq!(origin(Service::RolesAnywhere, region, variant), expected);
        }
        assert_eq!(origin(Service::Sts, "eu-west-1", Variant::Regional), "https://sts.eu-west-1.amazonaws.com");
    }

    #[test]
    fn only_origins_are_taken_and_only_under_tls() {
        for (text, origin, host) in [
            ("https://vpce-1.example.com", "https://vpce-1.example.com", "vpce-1.example.com"),
            ("https://a.example:8443", "https://a.example:8443", "a.example:8443"),
            ("https://a.example:443", "https://a.example", "a.example"),
            ("http://127.0.0.1:4566", "http://127.0.0.1:4566", "127.0.0.1:4566"),
            ("http://[::1]:4566", "http://[::1]:4566", "[::1]:4566"),
        ] {
            let endpoint: Endpoint = text.parse().unwrap();
            assert_eq!((endpoint.origin(), endpoint.host()), (origin, host));
        }
        for bad in ["", "a.example", "https://", "https://a/", "https://u@a", "https://a:", "ftp://a", "https://a?b"] {
            assert!(matches!(bad.parse::<Endpoint>(), Err(InvalidEndpoint::Origin(_))), "{bad}");
        }
        for bad in ["http://a.example", "http://127.0.0.1.example", "http://127.0.0.2"] {
            assert!(matches!(bad.parse::<Endpoint>(), Err(InvalidEndpoint::Clear(_))), "{bad}");
        }
        for bad in ["", "eu", "eu-west", "EU-west-1", "1-a-b", "eu-west-1.evil", "a--b-c", "a-b-c-d-e"] {
            assert!(bad.parse::<Region>().is_err(), "{bad}");
        }
    }
}
