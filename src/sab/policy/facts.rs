//! What the authority knows of a proposal, as Cedar requests: one for each path of each step.

use cedar_policy::{
    Context, Entities, Entity, EntityId, EntityTypeName, EntityUid, Request, RestrictedExpression, Schema,
};
use spiffe::SpiffeId;

use super::values::{TooManyPlaces, Values};
use crate::contract::{Baseline, Body, Contract, Resource, Step, Verb};
use crate::sab::proposal::Live;
use crate::timestamp::Timestamp;

/// Everything that a policy decision depends on, besides the policies.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// Who proposes.
    pub agent: &'a SpiffeId,
    /// What the proposal was compiled to.
    pub contract: &'a Contract,
    /// The object of each step, in their order, as it was read.
    pub live: &'a [Live],
    /// The names of the pieces of evidence.
    pub evidence: &'a [String],
    /// The time of the decision.
    pub now: Timestamp,
}

/// The facts cannot be put to the policies.
#[derive(Debug, thiserror::Error)]
pub enum UnaskableFacts {
    /// A value is too large to be shown.
    #[error(transparent)]
    Large(#[from] TooManyPlaces),
    /// There is not one live state for each step.
    #[error("there is no live state of step `{0}`")]
    Live(String),
    /// Cedar takes them not, or they are not of the schema.
    #[error("the facts do not fit the schema: {0}")]
    Schema(String),
}

/// One question to the policies.
pub(super) struct Question {
    pub(super) request: Request,
    pub(super) entities: Entities,
    /// What is asked, for people: "`merge` of `services/checkout` at `shop`".
    pub(super) text: String,
}

fn misfit(error: impl std::fmt::Display) -> UnaskableFacts {
    UnaskableFacts::Schema(error.to_string().chars().take(200).collect())
}

fn uid(entity_type: &str, id: &str) -> Result<EntityUid, UnaskableFacts> {
    let entity_type: EntityTypeName = entity_type.parse().map_err(misfit)?;
    Ok(EntityUid::from_type_name_and_id(entity_type, EntityId::new(id)))
}

fn text(text: &str) -> RestrictedExpression {
    RestrictedExpression::new_string(text.to_owned())
}

fn texts<'t>(texts: impl IntoIterator<Item = &'t str>) -> RestrictedExpression {
    RestrictedExpression::new_set(texts.into_iter().map(text))
}

fn long(number: u64) -> RestrictedExpression {
    RestrictedExpression::new_long(i64::try_from(number).unwrap_or(i64::MAX))
}

impl Facts<'_> {
    /// The questions that all have to be answered by yes.
    pub(super) fn questions(&self, schema: &Schema) -> Result<Vec<Question>, UnaskableFacts> {
        let mut questions = Vec::new();
        for (index, step) in self.contract.steps().iter().enumerate() {
            let live = self.live.get(index).ok_or_else(|| UnaskableFacts::Live(step.name().to_string()))?;
            for path in step.mutation().resource().paths() {
                questions.push(self.question(step, live, &path, schema)?);
            }
        }
        Ok(questions)
    }

    fn question(&self, step: &Step, live: &Live, path: &str, schema: &Schema) -> Result<Question, UnaskableFacts> {
        let mutation = step.mutation();
        let live_values = match live {
            Live::Absent => Values::default(),
            Live::Present { state, .. } => Values::fixed(state)?,
        };
        let proposed = match mutation.body() {
            Body::None => Values::default(),
            Body::Inline(body) => Values::open_at(body, mutation.parameters())?,
            Body::Detached(_) => Values::unknown(),
        };
        let principal = uid("Agent", &self.agent.to_string())?;
        let action = match mutation.verb() {
            Verb::Aws(_) => "aws",
            verb => verb.as_str(),
        };
        let action = uid("Action", action)?;
        let resource = uid(resource_type(mutation.resource()), path)?;
        let mut entities = self.agent_entities(&principal)?;
        entities.extend(self.resource_entities(mutation.resource(), &resource, path)?);
        let live_entities = value_entities("live", &live_values, &mut entities)?;
        let proposed_entities = value_entities("proposed", &proposed, &mut entities)?;
        let record = |values: &Values, of| RestrictedExpression::new_record(values.record(of)).map_err(misfit);
        let context = [
            ("exists", RestrictedExpression::new_bool(matches!(live, Live::Present { .. }))),
            ("live", record(&live_values, &live_entities)?),
            ("proposed", record(&proposed, &proposed_entities)?),
        ];
        let context = context.into_iter().chain(self.circumstances(step));
        let context = context.map(|(name, value)| (name.to_owned(), value));
        let context = Context::from_pairs(context.collect::<Vec<_>>()).map_err(misfit)?;
        Ok(Question {
            request: Request::new(principal, action, resource, context, Some(schema)).map_err(misfit)?,
            entities: Entities::from_entities(entities, Some(schema)).map_err(misfit)?,
            text: format!("`{}` of `{path}` at `{}`", mutation.verb(), self.contract.target_name()),
        })
    }

    /// The plain parts of the context.
    fn circumstances(&self, step: &Step) -> Vec<(&'static str, RestrictedExpression)> {
        let limits = self.contract.limits();
        let iam_actions = match step.mutation().resource() {
            Resource::Aws(resource) => texts(resource.actions.iter().map(|action| action.as_str())),
            Resource::Sandbox(_) | Resource::Kubernetes(_) => texts([]),
        };
        let baseline = match step.baseline() {
            Baseline::Absent => "absent",
            Baseline::Exact { .. } => "exact",
            Baseline::Fields { .. } => "fields",
        };
        let days = self.now.seconds() / 86_400;
        vec![
            ("operation", text(step.mutation().verb().as_str())),
            ("iam_actions", iam_actions),
            ("steps", long(self.contract.steps().len() as u64)),
            ("detached", RestrictedExpression::new_bool(matches!(step.mutation().body(), Body::Detached(_)))),
            ("baseline", text(baseline)),
            ("uses", long(limits.uses.into())),
            ("spacing_seconds", long(limits.spacing.as_secs())),
            ("valid_seconds", long(limits.not_after.since(limits.not_before).as_secs())),
            ("ends_in_seconds", long(limits.not_after.since(self.now).as_secs())),
            ("deadline_seconds", long(self.contract.deadline().as_secs())),
            ("evidence", texts(self.evidence.iter().map(String::as_str))),
            // 1970-01-01 was a Thursday.
            ("weekday", long((days + 3) % 7 + 1)),
            ("hour", long(self.now.seconds() % 86_400 / 3600)),
        ]
    }

    fn agent_entities(&self, principal: &EntityUid) -> Result<Vec<Entity>, UnaskableFacts> {
        let id = self.agent.to_string();
        let prefixes = id.match_indices('/').filter(|(at, _)| *at > "spiffe:/".len());
        let groups = prefixes.filter_map(|(at, _)| id.get(..at)).map(|prefix| uid("Group", prefix));
        let groups = groups.collect::<Result<Vec<_>, _>>()?;
        let attributes = [
            ("trust_domain".to_owned(), text(self.agent.trust_domain().as_ref())),
            ("path".to_owned(), text(self.agent.path())),
        ];
        let mut entities: Vec<Entity> =
            groups.iter().map(|group| entity(group.clone(), Vec::new(), Vec::new())).collect::<Result<_, _>>()?;
        entities.push(entity(principal.clone(), attributes.into(), groups)?);
        Ok(entities)
    }

    fn resource_entities(
        &self,
        resource: &Resource,
        resource_uid: &EntityUid,
        path: &str,
    ) -> Result<[Entity; 2], UnaskableFacts> {
        let attributes = match resource {
            Resource::Sandbox(object) => vec![("collection", text(&object.collection)), ("name", text(&object.name))],
            Resource::Kubernetes(object) => {
                let optional = [("subresource", &object.subresource), ("namespace", &object.namespace)];
                let optional = optional.into_iter().filter_map(|(name, value)| Some((name, text(value.as_deref()?))));
                let always = [
                    ("group", text(&object.group)),
                    ("version", text(&object.version)),
                    ("resource", text(&object.resource)),
                    ("name", text(&object.name)),
                ];
                always.into_iter().chain(optional).collect()
            }
            Resource::Aws(resource) => vec![
                ("account", text(&resource.account)),
                ("region", text(&resource.region)),
                ("service", text(path.split(':').nth(2).unwrap_or_default())),
                ("arn", text(path)),
                ("made", RestrictedExpression::new_bool(resource.made().any(|arn| arn == path))),
            ],
        };
        let attributes = attributes.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let target = uid("Target", self.contract.target_name().as_str())?;
        let kind = vec![("kind".to_owned(), text(self.contract.target_kind().as_str()))];
        Ok([entity(target.clone(), kind, Vec::new())?, entity(resource_uid.clone(), attributes, vec![target])?])
    }
}

const fn resource_type(resource: &Resource) -> &'static str {
    match resource {
        Resource::Sandbox(_) => "SandboxObject",
        Resource::Kubernetes(_) => "KubernetesObject",
        Resource::Aws(_) => "AwsResource",
    }
}

fn entity(
    uid: EntityUid,
    attributes: Vec<(String, RestrictedExpression)>,
    parents: Vec<EntityUid>,
) -> Result<Entity, UnaskableFacts> {
    Entity::new(uid, attributes.into_iter().collect(), parents.into_iter().collect()).map_err(misfit)
}

/// Adds the entities that hold `values`; their ids, in the order of [`Values::tags`].
fn value_entities(of: &str, values: &Values, entities: &mut Vec<Entity>) -> Result<[EntityUid; 5], UnaskableFacts> {
    let uids = [
        uid("Numbers", &format!("least {of}"))?,
        uid("Numbers", &format!("greatest {of}"))?,
        uid("Integers", of)?,
        uid("Texts", of)?,
        uid("Flags", of)?,
    ];
    for (uid, tags) in uids.iter().zip(values.tags()) {
        entities.push(Entity::new_with_tags(uid.clone(), [], [], tags).map_err(misfit)?);
    }
    Ok(uids)
}
