//! The three ways to a session of a mutation, each with the issuer of the identities that it takes.

use std::sync::Arc;

use seb::decision::Terms;
use seb::identity::Issuer;
use seb::target::aws::Aws as Driver;
use seb::target::aws::settings::{Account, ExchangeSettings};
use seb::target::{Performed, Target};

use crate::exchanges::{believed, believed_below};
use crate::house::World as House;
use crate::permits::{Ask, Gate};
use crate::roles_anywhere::{PROFILE, ROLE, TRUST_ANCHOR};
use crate::sessions::{AUDIENCE, WEB};
use crate::testbed::PATIENCE;
use crate::testbed::spire::Spire;
use crate::world::{POOL, TARGET, World};

/// A way to a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    PerMutation,
    Pooled,
    WebIdentity,
}

impl Way {
    pub const ALL: [Self; 3] = [Self::PerMutation, Self::Pooled, Self::WebIdentity];

    pub fn settings(self) -> ExchangeSettings {
        let arn = |text: &str| text.parse().unwrap();
        match self {
            Self::PerMutation => ExchangeSettings::PerMutation {
                trust_anchor: arn(TRUST_ANCHOR),
                profile: arn(PROFILE),
                bootstrap_role: arn(ROLE),
                role: arn(TARGET),
                per_second: 10,
            },
            Self::Pooled => {
                ExchangeSettings::Pooled { profile: arn(PROFILE), bootstrap_role: arn(POOL), role: arn(TARGET) }
            }
            Self::WebIdentity => ExchangeSettings::WebIdentity { audience: AUDIENCE.to_owned(), role: arn(WEB) },
        }
    }

    /// The name, as configurations have it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::PerMutation => "per-mutation",
            Self::Pooled => "pooled",
            Self::WebIdentity => "web-identity",
        }
    }

    /// What the record says of it.
    pub const fn says(self) -> &'static str {
        match self {
            Self::PerMutation => "source identity, name and tag are the mutation's",
            Self::Pooled => "the source identity is the broker's",
            Self::WebIdentity => "no source identity and no tag",
        }
    }
}

/// A way, with what it needs.
pub struct Means {
    pub way: Way,
    issuer: Arc<dyn Issuer>,
    pub spire: Option<Spire>,
}

impl Means {
    pub async fn of(world: &World, way: Way) -> Self {
        let (issuer, spire): (Arc<dyn Issuer>, _) = match way {
            Way::PerMutation | Way::Pooled => (Arc::clone(&world.issuer) as _, None),
            Way::WebIdentity => {
                let (spire, issuer) = believed(world).await;
                (Arc::new(issuer), Some(spire))
            }
        };
        Self { way, issuer, spire }
    }

    /// For the broker of a house: SPIRE, where it is needed, is of the house's trust domain.
    pub async fn in_house(house: &House, world: &World, way: Way) -> Self {
        let spire = match way {
            Way::PerMutation | Way::Pooled => None,
            Way::WebIdentity => {
                let ca = |name: &str| house.path("domain/active").join(name);
                Some(believed_below(world, Some((ca("root.pem"), ca("root-key.pem")))).await)
            }
        };
        Self { way, issuer: Arc::clone(&world.issuer) as _, spire }
    }

    /// A driver of the account, whose services are at this origin.
    pub fn driver(&self, world: &World, origin: &str) -> Driver {
        let account = Account { endpoint: Some(origin.parse().unwrap()), ..world.account() };
        account.open(Some(&self.way.settings()), &world.identities).unwrap()
    }

    /// Has it done, once.
    pub async fn perform(&self, driver: &Driver, ask: &Ask, fence: &Gate) -> (Terms, Performed) {
        let permit = ask.permit();
        let terms = permit.terms().clone();
        let (form, now) = (driver.form(terms.call()), seb::clock::now().unwrap());
        let plan = self.issuer.plan(terms.mutation_id(), form, now, terms.deadline());
        let identity = self.issuer.mint(plan.unwrap()).await.unwrap();
        let performed = driver.perform(permit.release(), identity, fence);
        (terms, tokio::time::timeout(PATIENCE, performed).await.expect("it ends"))
    }
}
