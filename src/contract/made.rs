//! Resources that an operation makes, and whose identifier AWS chooses: nobody knows their ARN before.
//!
//! Only for these may an ARN in a contract have a wildcard, and only in the place of that identifier. What must be true:
//!
//! - The wildcard stands in the resource part. Service, region and account are the contract's own, to the letter.
//! - Each certified action either makes resources of just this form, or is one of IAM or KMS, which know no such resources:
//!   a session that could do anything else to `instance/*` could do it to every instance.
//!
//! The forms are those of AWS's service authorization reference, of operations that make what they are asked to.

use super::resource::AwsResource;

/// Actions, and the forms of what they make. `{}` is a name that is certified.
const MADE: &[(&str, &[&str])] = &[
    ("autoscaling:CreateAutoScalingGroup", &["autoScalingGroup:*:autoScalingGroupName/{}"]),
    ("autoscaling:CreateLaunchConfiguration", &["launchConfiguration:*:launchConfigurationName/{}"]),
    ("ec2:AllocateAddress", &["elastic-ip/*"]),
    ("ec2:AllocateHosts", &["dedicated-host/*"]),
    ("ec2:AuthorizeSecurityGroupEgress", &["security-group-rule/*"]),
    ("ec2:AuthorizeSecurityGroupIngress", &["security-group-rule/*"]),
    ("ec2:CreateInternetGateway", &["internet-gateway/*"]),
    ("ec2:CreateLaunchTemplate", &["launch-template/*"]),
    ("ec2:CreateNatGateway", &["natgateway/*"]),
    ("ec2:CreateNetworkAcl", &["network-acl/*"]),
    ("ec2:CreateNetworkInterface", &["network-interface/*"]),
    ("ec2:CreateRouteTable", &["route-table/*"]),
    ("ec2:CreateSecurityGroup", &["security-group/*"]),
    ("ec2:CreateSubnet", &["subnet/*"]),
    ("ec2:CreateVolume", &["volume/*"]),
    ("ec2:CreateVpc", &["vpc/*"]),
    ("ec2:CreateVpcEndpoint", &["vpc-endpoint/*"]),
    ("ec2:RunInstances", &["instance/*", "network-interface/*", "volume/*"]),
    ("elasticloadbalancing:CreateLoadBalancer", &["loadbalancer/app/{}/*", "loadbalancer/net/{}/*"]),
    ("elasticloadbalancing:CreateTargetGroup", &["targetgroup/{}/*"]),
    ("secretsmanager:CreateSecret", &["secret:{}-??????"]),
];

/// Services whose actions know keys and identities alone.
const BESIDE: [&str; 2] = ["iam", "kms"];

/// An ARN with all six parts that IAM takes literally: no wildcard, and no policy variable such as `${aws:username}`.
pub(super) fn is_exact_arn(text: &str) -> bool {
    let mut parts = text.splitn(6, ':');
    text.len() <= 2048
        && text.bytes().all(|b| b.is_ascii_graphic() && b != b'*' && b != b'?')
        && !text.contains("${")
        && parts.next() == Some("arn")
        && parts.next().is_some_and(|partition| !partition.is_empty())
        && parts.next().is_some_and(|service| !service.is_empty())
        && parts.nth(2).is_some_and(|resource| !resource.is_empty())
}

/// Whether a text has what IAM takes for a wildcard.
pub(super) fn has_wildcard(text: &str) -> bool {
    text.contains(['*', '?'])
}

/// Whether `arn` is that of something that the actions of `resource` make, complete but for the identifier.
pub(super) fn is_made(resource: &AwsResource, arn: &str) -> bool {
    let parts: Vec<&str> = arn.splitn(6, ':').collect();
    let ["arn", partition, service, region, account, made] = parts.as_slice() else { return false };
    let own = *region == resource.region && *account == resource.account && !has_wildcard(partition);
    let mut some = false;
    own && resource.actions.iter().all(|action| {
        let makes = action.service() == *service && forms(action.as_str()).any(|form| fits(form, made));
        some |= makes;
        makes || BESIDE.contains(&action.service())
    }) && some
}

fn forms(action: &str) -> impl Iterator<Item = &'static str> {
    MADE.iter().filter(move |(name, _)| *name == action).flat_map(|(_, forms)| forms.iter().copied())
}

fn fits(form: &str, made: &str) -> bool {
    match form.split_once("{}") {
        None => form == made,
        Some((before, after)) => {
            let name = made.strip_prefix(before).and_then(|rest| rest.strip_suffix(after));
            name.is_some_and(|name| !name.is_empty() && !has_wildcard(name) && !name.contains(':'))
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::target::aws::request::Operation;

    fn resource(actions: &[&str], arn: &str) -> AwsResource {
        AwsResource {
            account: "123456789012".to_owned(),
            region: "eu-west-1".to_owned(),
            actions: actions.iter().map(|action| action.parse().unwrap()).collect(),
            arns: vec![arn.to_owned()],
            read: None,
        }
    }

    fn is_taken(actions: &[&str], arn: &str) -> bool {
        resource(actions, arn).check().is_ok()
    }

    #[test]
    fn arns_are_exact() {
        for good in ["arn:aws:s3:::bucket", "arn:aws-cn:iam::123456789012:role/a/b", "arn:aws:s3:::b/a$b"] {
            assert!(is_exact_arn(good), "{good}");
        }
        let long = format!("arn:aws:s3:::{}", "a".repeat(2048));
        for bad in
            ["arn:aws:s3:::", "arn:aws:s3", "arn::s3:::b", "ARN:aws:s3:::b", "arn:aws:s3:::*", "arn:aws:s3:::b ", &long]
        {
            assert!(!is_exact_arn(bad), "{bad}");
        }
    }

    const INSTANCE: &str = "arn:aws:ec2:eu-west-1:123456789012:instance/*";

    #[test]
    fn i4_a_wildcard_stands_where_aws_chooses_the_identifier() {
        let ec2 = |made: &str| format!("arn:aws:ec2:eu-west-1:123456789012:{made}");
        for made in ["instance/*", "volume/*", "network-interface/*"] {
            assert!(is_taken(&["ec2:RunInstances"], &ec2(made)), "{made}");
            assert!(is_taken(&["ec2:RunInstances", "iam:PassRole", "kms:CreateGrant"], &ec2(made)), "{made}");
        }
        let secret = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:shop/db-??????";
        assert!(is_taken(&["secretsmanager:CreateSecret"], secret));
        let group = "arn:aws:autoscaling:eu-west-1:123456789012:autoScalingGroup:*:autoScalingGroupName/shop";
        assert!(is_taken(&["autoscaling:CreateAutoScalingGroup"], group));
        let balancer = "arn:aws:elasticloadbalancing:eu-west-1:123456789012:loadbalancer/app/shop/*";
        assert!(is_taken(&["elasticloadbalancing:CreateLoadBalancer"], balancer));
    }

    #[test]
    fn i4_a_wildcard_stands_nowhere_else() {
        let run = ["ec2:RunInstances"].as_slice();
        for arn in [
            "arn:aws:ec2:eu-west-1:123456789012:*",
            "arn:aws:ec2:eu-west-1:123456789012:*/*",
            "arn:aws:ec2:eu-west-1:123456789012:instance/i-*",
            "arn:aws:ec2:eu-west-1:123456789012:instance/?",
            "arn:aws:ec2:eu-west-1:123456789012:instance*",
            "arn:aws:ec2:eu-west-1:123456789012:subnet/*",
            "arn:aws:ec2:eu-west-1:*:instance/*",
            "arn:aws:ec2:eu-west-1::instance/*",
            "arn:aws:ec2:eu-west-1:999999999999:instance/*",
            "arn:aws:ec2:*:123456789012:instance/*",
            "arn:aws:ec2:eu-west-2:123456789012:instance/*",
            "arn:aws:*:eu-west-1:123456789012:instance/*",
            "arn:aws:rds:eu-west-1:123456789012:instance/*",
            "arn:*:ec2:eu-west-1:123456789012:instance/*",
            "arn:aws*:ec2:eu-west-1:123456789012:instance/*",
            "*",
        ] {
            assert!(!is_taken(run, arn), "{arn}");
        }
        // What could be done to each of them.
        for actions in [
            ["ec2:TerminateInstances"].as_slice(),
            &["ec2:RunInstances", "ec2:TerminateInstances"],
            &["ec2:RunInstances", "ec2:CreateTags"],
            &["ec2:RunInstances", "ssm:SendCommand"],
            &["iam:PassRole"],
        ] {
            assert!(!is_taken(actions, INSTANCE), "{actions:?}");
        }
        for name in ["", "*", "a*", "a?", "a:b"] {
            let arn = format!("arn:aws:secretsmanager:eu-west-1:123456789012:secret:{name}-??????");
            assert!(!is_taken(&["secretsmanager:CreateSecret"], &arn), "{name}");
        }
        let told = resource(run, "arn:aws:ec2:eu-west-1:123456789012:subnet/*").check().unwrap_err();
        assert!(told.0 == "arns" && told.1.contains("`instance/*` of `ec2:RunInstances`"), "{told:?}");
    }

    #[test]
    fn what_makes_something_is_a_mutation_of_the_tables() {
        for (action, forms) in MADE {
            assert!(Operation::mutation(&action.parse().unwrap()).is_ok(), "{action}");
            assert!(!forms.is_empty() && forms.iter().all(|form| has_wildcard(form)), "{action}");
        }
        assert!(MADE.is_sorted_by_key(|(action, _)| action));
    }

    proptest! {
        /// Whatever is taken is literal but for the identifier: account, region and type are there, to the letter.
        #[test]
        fn i4_what_is_taken_names_type_account_and_region(
            region in "(eu-west-[12]|\\*)", account in "(123456789012|\\*|)", made in "(instance|subnet|\\*)/(\\*|i-[*?a-f]{0,3})",
        ) {
            let arn = format!("arn:aws:ec2:{region}:{account}:{made}");
            if has_wildcard(&arn) && is_taken(&["ec2:RunInstances"], &arn) {
                prop_assert_eq!(arn.as_str(), INSTANCE);
            }
        }
    }
}
