//! Where a request goes: the region that it is signed for, and the host.

use super::model::Service;
use crate::target::aws::endpoint::{Endpoint, Variant};

/// By which endpoint services are reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reach {
    /// AWS's own, which each service has in each region.
    Aws(Variant),
    /// This one, for every service: an endpoint of your own network, or an emulator.
    At(Endpoint),
}

/// There is no endpoint for this.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoEndpoint {
    /// The region belongs to no partition that is known, or the service has no endpoint of this kind there.
    #[error("`{service}` has no such endpoint in `{region}`: look at the region, and at FIPS and dual stack")]
    Region {
        /// The service.
        service: String,
        /// The region.
        region: String,
    },
    /// The service is regional.
    #[error("`{0}` has endpoints by region: `aws-global` is none")]
    Regional(String),
}

/// Where a service is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    /// `https://HOST[:PORT]`, or `http` on the loopback.
    pub(super) origin: String,
    /// The host, with its port where it is not the scheme's.
    pub(super) host: String,
    /// The region that is signed.
    pub(super) region: String,
}

/// The partition of a region, of those that the tables have.
fn partition(region: &str) -> &'static str {
    let starts = |prefix| region.starts_with(prefix);
    match region {
        "aws-cn-global" => "aws-cn",
        "aws-us-gov-global" => "aws-us-gov",
        _ if starts("cn-") => "aws-cn",
        _ if starts("us-gov-") => "aws-us-gov",
        _ if starts("eusc-") => "aws-eusc",
        // Their endpoints are not in the tables.
        _ if ["us-iso", "eu-iso"].into_iter().any(starts) => "",
        _ => "aws",
    }
}

pub(super) fn place(name: &str, service: &Service, region: &str, reach: &Reach) -> Result<Place, NoEndpoint> {
    let variant = match reach {
        Reach::Aws(variant) => *variant,
        Reach::At(_) => Variant::Regional,
    };
    let none = || NoEndpoint::Region { service: name.to_owned(), region: region.chars().take(63).collect() };
    let plain = |octet: u8| octet.is_ascii_lowercase() || octet.is_ascii_digit() || octet == b'-';
    if region.is_empty() || region.len() > 63 || !region.bytes().all(plain) {
        return Err(none());
    }
    let template = service.endpoint(variant, region, partition(region)).ok_or_else(none)?;
    let (template, signed) = template.split_once('@').unwrap_or((template, "{region}"));
    if region.ends_with("-global") && (template.contains("{region}") || signed == "{region}") {
        return Err(NoEndpoint::Regional(name.to_owned()));
    }
    let signed = signed.replace("{region}", region);
    Ok(match reach {
        Reach::Aws(_) => {
            let host = template.replace("{region}", region);
            Place { origin: format!("https://{host}"), host, region: signed }
        }
        Reach::At(endpoint) => {
            Place { origin: endpoint.origin().to_owned(), host: endpoint.host().to_owned(), region: signed }
        }
    })
}

impl Place {
    /// The same with a label in front of the host.
    pub(super) fn under(&self, label: &str) -> Self {
        let host = format!("{label}.{}", self.host);
        Self { origin: format!("https://{host}"), host, region: self.region.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::super::model::service;
    use super::*;

    fn at(name: &str, region: &str, variant: Variant) -> Result<(String, String), NoEndpoint> {
        let service = service(name).unwrap().unwrap();
        place(name, service, region, &Reach::Aws(variant)).map(|place| (place.origin, place.region))
    }

    #[test]
    fn endpoints_are_those_of_the_services() {
        for (name, region, variant, origin, signed) in [
            ("ec2", "eu-west-1", Variant::Regional, "https://ec2.eu-west-1.amazonaws.com", "eu-west-1"),
            ("ec2", "us-gov-west-1", Variant::Fips, "https://ec2.us-gov-west-1.amazonaws.com", "us-gov-west-1"),
            ("eks", "us-east-1", Variant::Fips, "https://fips.eks.us-east-1.amazonaws.com", "us-east-1"),
            ("cloudcontrol", "eu-west-1", Variant::DualStack, "https://cloudcontrolapi.eu-west-1.api.aws", "eu-west-1"),
            ("s3", "eu-west-1", Variant::DualStack, "https://s3.dualstack.eu-west-1.amazonaws.com", "eu-west-1"),
            ("s3", "us-east-1", Variant::Regional, "https://s3.us-east-1.amazonaws.com", "us-east-1"),
            ("sqs", "cn-north-1", Variant::Regional, "https://sqs.cn-north-1.amazonaws.com.cn", "cn-north-1"),
            ("iam", "eu-west-1", Variant::Regional, "https://iam.amazonaws.com", "us-east-1"),
            ("iam", "aws-global", Variant::Regional, "https://iam.amazonaws.com", "us-east-1"),
            ("iam", "us-gov-east-1", Variant::Regional, "https://iam.us-gov.amazonaws.com", "us-gov-west-1"),
            ("iam", "cn-northwest-1", Variant::Regional, "https://iam.cn-north-1.amazonaws.com.cn", "cn-north-1"),
            // A region that came after the tables is of the partition that its name begins with.
            ("kms", "eu-new-7", Variant::Regional, "https://kms.eu-new-7.amazonaws.com", "eu-new-7"),
        ] {
            assert_eq!(at(name, region, variant).unwrap(), (origin.to_owned(), signed.to_owned()));
        }
    }

    #[test]
    fn what_is_nowhere_is_refused() {
        assert_eq!(at("ec2", "aws-global", Variant::Regional).unwrap_err(), NoEndpoint::Regional("ec2".to_owned()));
        for (name, region, variant) in [
            ("s3", "cn-north-1", Variant::Fips),
            ("ec2", "us-iso-east-1", Variant::Regional),
            ("ec2", "evil.example/", Variant::Regional),
            ("ec2", "", Variant::Regional),
        ] {
            assert!(matches!(at(name, region, variant), Err(NoEndpoint::Region { .. })), "{name} {region}");
        }
    }

    #[test]
    fn an_endpoint_of_ones_own_is_for_every_service() {
        let reach = Reach::At("http://127.0.0.1:4566".parse().unwrap());
        for (name, signed) in [("iam", "us-east-1"), ("sqs", "eu-west-1")] {
            let service = service(name).unwrap().unwrap();
            let place = place(name, service, "eu-west-1", &reach).unwrap();
            assert_eq!((place.origin.as_str(), place.region.as_str()), ("http://127.0.0.1:4566", signed));
        }
    }
}
