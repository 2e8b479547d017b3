//! `[targets.aws]`: an account, as broker and authority are told of it; `[targets.mutations]`: how the broker makes mutations.

use super::Table;
use super::kind::{self, Integer, OneOf, PathTo};
use crate::target::aws::arn::Arn;
use crate::target::aws::endpoint::{Endpoint, Region, Variant};
use crate::target::aws::settings::{Account, ExchangeSettings};

const VARIANTS: OneOf<Variant> = OneOf(&[
    ("regional", Variant::Regional),
    ("fips", Variant::Fips),
    ("dual-stack", Variant::DualStack),
    ("fips-dual-stack", Variant::FipsDualStack),
]);

/// The exchanges, by their names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    PerMutation,
    Pooled,
    WebIdentity,
}

const WAYS: OneOf<Way> =
    OneOf(&[("per-mutation", Way::PerMutation), ("pooled", Way::Pooled), ("web-identity", Way::WebIdentity)]);

const fn arn() -> kind::Text<Arn> {
    kind::text("an ARN, complete and without wildcards")
}

const fn endpoint() -> kind::Text<Endpoint> {
    kind::text("`https://HOST` or `https://HOST:PORT`; `http` on the loopback alone")
}

/// Reads `[targets.aws]`.
pub(super) fn account(table: &mut Table<'_>) -> Option<Account> {
    let region = kind::text::<Region>("a region, such as `eu-west-1`");
    let region = table.required(
        "region",
        region,
        "The region of IAM Roles Anywhere and STS. Calls go to the regions of their contracts.",
    );
    let meaning = "The ARN of the trust anchor below which this process has its own SVID.";
    let trust_anchor = table.required("trust_anchor", arn(), meaning);
    let profile = table.required("profile", arn(), "The ARN of the profile with `reader_role`.");
    let meaning = "The ARN of the role by which this process reads the account, one that can only read.";
    let reader_role = table.required("reader_role", arn(), meaning);
    let variant = table.default("endpoints", VARIANTS, "\"regional\"", "Which of AWS's own endpoints are used.");
    let meaning =
        "An endpoint of your own for all services and STS, in place of AWS's: one in your network, or an emulator.";
    let own = table.optional("endpoint", endpoint(), meaning);
    let meaning = "An endpoint of your own for IAM Roles Anywhere, in place of AWS's.";
    let roles_anywhere = table.optional("roles_anywhere_endpoint", endpoint(), meaning);
    let meaning =
        "The file with the CA certificates, in PEM, by which endpoints are recognized instead of the system's.";
    let ca_file = table.optional("ca", PathTo::File, meaning);
    let meaning = "The proxy by which AWS is reached, `http://HOST:PORT`; the environment is not asked.";
    let proxy = table.optional("proxy", kind::text::<Proxy>("`http://HOST:PORT`, without a user"), meaning);
    let account = Account {
        region: region?,
        variant: variant?,
        endpoint: own?,
        roles_anywhere: roles_anywhere?,
        ca_file: ca_file?,
        proxy: proxy?.map(|Proxy(url)| url),
        trust_anchor: trust_anchor?,
        profile: profile?,
        reader_role: reader_role?,
    };
    fitting(table, "reader_role", &account, (&account.trust_anchor, &account.profile, &account.reader_role))?;
    Some(account)
}

/// Reads `[targets.mutations]` for this account.
pub(super) fn exchange(table: &mut Table<'_>, account: Option<&Account>) -> Option<ExchangeSettings> {
    let meaning = "How an execution identity becomes a session: `per-mutation`, by IAM Roles Anywhere and for at most 10 in a second; `pooled`, by a session of the broker's own; `web-identity`, where the account knows the issuer of the JWT-SVIDs. What binds a session in each: docs/aws.md.";
    let way = table.required("exchange", WAYS, meaning);
    let role =
        table.required("role", arn(), "The ARN of the role whose sessions make mutations, each narrowed to its call.");
    let meaning = "The ARN of the role that can only assume `role`. Required for `per-mutation` and `pooled`.";
    let bootstrap_role = table.optional("bootstrap_role", arn(), meaning);
    let meaning = "The ARN of the trust anchor below which execution identities are. Required for `per-mutation`.";
    let trust_anchor = table.optional("trust_anchor", arn(), meaning);
    let meaning = "The ARN of the profile with `bootstrap_role`; left out, the one of `[targets.aws]`. For `per-mutation` and `pooled`.";
    let profile = table.optional("profile", arn(), meaning);
    let meaning = "How many `CreateSession` a second this broker makes at most: its share of the account's quota. For `per-mutation`.";
    let per_second = table.default("create_sessions_per_second", Integer(1..=10_000), "10", meaning);
    let meaning = "The audience of execution identities: a client id of the identity provider in the account. Required for `web-identity`.";
    let audience = table.optional("audience", kind::text::<Audience>("1 to 1024 visible ASCII characters"), meaning);
    let (way, role, bootstrap_role, trust_anchor) = (way?, role?, bootstrap_role?, trust_anchor?);
    let (profile, per_second, audience, account) = (profile?, per_second?, audience?, account?);
    let lacks = |name: &str| table.refuse(name, "is missing; this exchange needs it", None);
    let unused = match way {
        Way::PerMutation => ["audience"].as_slice(),
        Way::Pooled => ["trust_anchor", "create_sessions_per_second", "audience"].as_slice(),
        Way::WebIdentity => ["bootstrap_role", "trust_anchor", "profile", "create_sessions_per_second"].as_slice(),
    };
    if let Some(name) = unused.iter().find(|name| table.has(name)) {
        return table.refuse(name, "this exchange has none: leave it out", None);
    }
    match way {
        Way::WebIdentity => match audience {
            Some(Audience(audience)) => Some(ExchangeSettings::WebIdentity { audience, role }),
            None => lacks("audience"),
        },
        Way::Pooled => {
            let Some(bootstrap_role) = bootstrap_role else { return lacks("bootstrap_role") };
            let profile = profile.unwrap_or_else(|| account.profile.clone());
            fitting(table, "bootstrap_role", account, (&account.trust_anchor, &profile, &bootstrap_role))?;
            Some(ExchangeSettings::Pooled { profile, bootstrap_role, role })
        }
        Way::PerMutation => {
            let Some(bootstrap_role) = bootstrap_role else { return lacks("bootstrap_role") };
            let Some(trust_anchor) = trust_anchor else { return lacks("trust_anchor") };
            let profile = profile.unwrap_or_else(|| account.profile.clone());
            fitting(table, "bootstrap_role", account, (&trust_anchor, &profile, &bootstrap_role))?;
            Some(ExchangeSettings::PerMutation { trust_anchor, profile, bootstrap_role, role, per_second })
        }
    }
}

fn fitting(
    table: &Table<'_>,
    name: &str,
    account: &Account,
    (anchor, profile, role): (&Arn, &Arn, &Arn),
) -> Option<()> {
    match account.roles(anchor, profile, role) {
        Ok(_) => Some(()),
        Err(error) => table.refuse(name, error, None),
    }
}

/// The URL of a proxy.
struct Proxy(String);

impl std::str::FromStr for Proxy {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let authority = text.strip_prefix("http://").unwrap_or_default();
        let authority: http::uri::Authority = authority.parse().map_err(|_| ())?;
        match authority.port_u16().is_some() && !text.contains('@') {
            true => Ok(Self(text.to_owned())),
            false => Err(()),
        }
    }
}

/// An audience of tokens.
struct Audience(String);

impl std::str::FromStr for Audience {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let longest = crate::identity::MAX_AUDIENCE_OCTETS;
        match (1..=longest).contains(&text.len()) && text.bytes().all(|octet| octet.is_ascii_graphic()) {
            true => Ok(Self(text.to_owned())),
            false => Err(()),
        }
    }
}
