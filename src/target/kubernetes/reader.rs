//! Reading objects, by an identity that can only read.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use http::header::{ACCEPT, AUTHORIZATION, HOST};
use http::{HeaderValue, Method, Request, StatusCode};
use http_body_util::Full;
use hyper::body::Bytes;
use tokio::time::Instant;

use super::answer::{Object, Status};
use super::connection::{Answer, Pool, Sent};
use super::plan::{Seen, state_path};
use super::{Failure, bearer, read_file};
use crate::clock;
use crate::contract::{KubernetesResource, Pointer};

/// The longest that reading may take, connecting included.
const READ: Duration = Duration::from_secs(5);

/// How long a token is good for before its file is read again.
const TOKEN: Duration = Duration::from_secs(5);

/// How old a state may be from which a request is written; the request itself says which version it is about.
const RECENT: Duration = Duration::from_millis(500);

/// The most states that are kept for the requests that follow them.
const MAX_RECENT: usize = 1024;

/// Reads objects of one API server.
#[derive(Debug)]
pub(super) struct Reader {
    pool: Pool,
    token: Option<TokenFile>,
    recent: Mutex<BTreeMap<KubernetesResource, (Seen, Instant)>>,
}

/// A file with a bearer token, which is exchanged while it is used.
#[derive(Debug)]
pub(super) struct TokenFile {
    path: PathBuf,
    current: Mutex<Option<(HeaderValue, Instant)>>,
}

impl TokenFile {
    pub(super) const fn new(path: PathBuf) -> Self {
        Self { path, current: Mutex::new(None) }
    }

    /// The `Authorization` header with the token as it is now.
    pub(super) async fn bearer(&self) -> Result<HeaderValue, Failure> {
        let known = self.current.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((bearer, read_at)) = known
            && clock::instant().duration_since(read_at) < TOKEN
        {
            return Ok(bearer);
        }
        let octets = read_file(&self.path).await?;
        let text = std::str::from_utf8(&octets).ok().map(str::trim).filter(|text| !text.is_empty());
        let text = text.ok_or_else(|| Failure(format!("`{}` holds no token", self.path.display())))?;
        let bearer = bearer(text)?;
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = Some((bearer.clone(), clock::instant()));
        Ok(bearer)
    }
}

impl Reader {
    pub(super) const fn new(pool: Pool, token: Option<TokenFile>) -> Self {
        Self { pool, token, recent: Mutex::new(BTreeMap::new()) }
    }

    /// The object that a baseline of `resource` is about; none where there is none.
    pub(super) async fn object(&self, resource: &KubernetesResource) -> Result<Option<Object>, Failure> {
        let answer = self.get(&state_path(resource)).await?;
        if answer.status == StatusCode::OK {
            let object = Object::read(&answer).map_err(|why| Failure(format!("an answer that is {why}")))?;
            return match object.name() == Some(&resource.name) {
                true => Ok(Some(object)),
                false => Err(Failure("an answer about another object".to_owned())),
            };
        }
        match Status::failure(&answer) {
            Some(status) if answer.status == StatusCode::NOT_FOUND && status.name() == Some(&resource.name) => Ok(None),
            Some(status) => Err(Failure(status.says())),
            None => Err(Failure(format!("an answer with status {} that is not an API server's", answer.status))),
        }
    }

    /// The state of `resource` in these fields, read now, and kept a moment for the request that may follow.
    pub(super) async fn state(
        &self,
        resource: &KubernetesResource,
        fields: &BTreeSet<Pointer>,
    ) -> Result<Option<Seen>, Failure> {
        let Some(object) = self.object(resource).await? else { return Ok(None) };
        let seen = object.seen(fields).ok_or_else(|| Failure("an object without uid or version".to_owned()))?;
        let now = clock::instant();
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        if recent.len() >= MAX_RECENT {
            recent.retain(|_, (_, read_at)| now.duration_since(*read_at) < RECENT);
        }
        // The whole object is not what a request needs.
        if recent.len() < MAX_RECENT && !fields.contains(&Pointer::root()) {
            recent.insert(resource.clone(), (seen.clone(), now));
        }
        Ok(Some(seen))
    }

    /// The state of `resource` with these fields: one that was read a moment ago, or is read now.
    pub(super) async fn recent_state(
        &self,
        resource: &KubernetesResource,
        fields: &BTreeSet<Pointer>,
    ) -> Result<Option<Seen>, Failure> {
        let kept = self.recent.lock().unwrap_or_else(PoisonError::into_inner).remove(resource);
        if let Some((seen, read_at)) = kept
            && clock::instant().duration_since(read_at) < RECENT
            && fields.iter().all(|field| seen.fields.contains_key(field))
        {
            return Ok(Some(seen));
        }
        let seen = self.state(resource, fields).await;
        self.recent.lock().unwrap_or_else(PoisonError::into_inner).remove(resource);
        seen
    }

    /// The answer to a GET. Where it does not come, it is asked for once more: reading changes nothing.
    async fn get(&self, path: &str) -> Result<Answer, Failure> {
        let deadline = clock::instant() + READ;
        match self.once(path, deadline).await? {
            Sent::Answered(answer) => Ok(answer),
            _ => match self.once(path, deadline).await? {
                Sent::Answered(answer) => Ok(answer),
                Sent::NotWritten(failure) | Sent::Lost(failure) => Err(failure),
                Sent::Denied(denial) => Err(Failure(denial.to_string())),
            },
        }
    }

    async fn once(&self, path: &str, deadline: Instant) -> Result<Sent, Failure> {
        let mut request = Request::builder()
            .method(Method::GET)
            .uri(path)
            .header(HOST, self.pool.endpoint().address())
            .header(ACCEPT, "application/json");
        if let Some(token) = &self.token {
            request = request.header(AUTHORIZATION, token.bearer().await?);
        }
        let request = request.body(Full::new(Bytes::new())).map_err(|error| Failure::of(&error))?;
        Ok(self.pool.send(request, None, deadline).await)
    }
}
