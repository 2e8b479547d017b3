//! `seb.v1.RecordService`: what auditors read.
//!
//! Every answer is bounded in memory, whatever the log holds.

use std::sync::Arc;

use futures::StreamExt as _;
use futures::stream::{self, BoxStream};
use tokio::sync::watch;
use tonic::{Request, Response, Status};

use super::convert;
use super::status::{self, Cause, Violation};
use crate::digest::Digest;
use crate::proto::seb::v1 as wire;
use crate::proto::seb::v1::record_service_server::{RecordService, RecordServiceServer};
use crate::store::{Query, Record, Store, StoreError};

/// The records that are read from the store at a time: at most 4 MiB.
const BATCH: u32 = 64;

/// The octets of envelopes after which a page ends, so that it fits into the 4 MiB that clients read by default.
const MAX_PAGE_OCTETS: usize = 3 * 1024 * 1024;

/// The largest request.
const MAX_REQUEST: usize = 16 * 1024;

/// The service, over a store.
#[derive(Debug)]
pub struct Service<S>(Arc<S>);

impl<S: Store> Service<S> {
    /// The service.
    pub fn server(store: Arc<S>) -> RecordServiceServer<Self> {
        RecordServiceServer::new(Self(store)).max_decoding_message_size(MAX_REQUEST)
    }
}

fn failed(error: &StoreError) -> Status {
    status::unavailable("the broker's store failed", error)
}

fn invalid(field: &str, what: &str) -> Status {
    status::invalid(&[Violation { field: field.to_owned(), what: what.to_owned() }])
}

#[tonic::async_trait]
impl<S: Store> RecordService for Service<S> {
    async fn list(&self, request: Request<wire::ListRequest>) -> Result<Response<wire::ListResponse>, Status> {
        let query = convert::list(request.into_inner()).map_err(|invalid| status::invalid(&invalid.0))?;
        let wanted = usize::try_from(query.limit).unwrap_or(usize::MAX);
        let (mut records, mut octets, mut after) = (Vec::new(), 0_usize, query.after);
        loop {
            let left = u32::try_from(wanted.saturating_sub(records.len())).unwrap_or(u32::MAX);
            let limit = left.min(BATCH);
            let batch = self.0.records(Query { after, limit, filter: query.filter.clone() }).await;
            let batch = batch.map_err(|error| failed(&error))?;
            let last = batch.len() < usize::try_from(limit).unwrap_or(usize::MAX);
            for record in batch {
                octets = octets.saturating_add(record.envelope.len());
                if octets > MAX_PAGE_OCTETS && !records.is_empty() {
                    return Ok(Response::new(wire::ListResponse { records, next_after: after }));
                }
                after = record.number;
                records.push(convert::wire_record(record));
            }
            if last {
                return Ok(Response::new(wire::ListResponse { records, next_after: 0 }));
            }
            if records.len() >= wanted {
                return Ok(Response::new(wire::ListResponse { records, next_after: after }));
            }
        }
    }

    async fn get(&self, request: Request<wire::GetRequest>) -> Result<Response<wire::Record>, Status> {
        let number = request.into_inner().number;
        let record = self.0.record(number).await.map_err(|error| failed(&error))?;
        let absent = || Cause::NotFound.status(format_args!("there is no record {number}"));
        Ok(Response::new(convert::wire_record(record.ok_or_else(absent)?)))
    }

    type FollowStream = BoxStream<'static, Result<wire::Record, Status>>;

    async fn follow(&self, request: Request<wire::FollowRequest>) -> Result<Response<Self::FollowStream>, Status> {
        let query = convert::follow(request.into_inner()).map_err(|invalid| status::invalid(&invalid.0))?;
        let follower = Follower { store: Arc::clone(&self.0), head: self.0.subscribe(), query };
        let batches = stream::unfold(Some(follower), |follower| async { follower?.next().await });
        Ok(Response::new(batches.flat_map(stream::iter).boxed()))
    }

    async fn get_artefact(
        &self,
        request: Request<wire::GetArtefactRequest>,
    ) -> Result<Response<wire::Artefact>, Status> {
        let Ok(digest) = request.into_inner().digest.parse::<Digest>() else {
            return Err(invalid("digest", "is not `sha256:` and 64 lower-case hexadecimal digits"));
        };
        let artefact = self.0.artefact(digest).await.map_err(|error| failed(&error))?;
        let artefact =
            artefact.ok_or_else(|| Cause::NotFound.status(format_args!("there is no artefact `{digest}`")))?;
        let (media_type, content) = (artefact.media_type().to_owned(), artefact.octets().to_vec());
        Ok(Response::new(wire::Artefact { media_type, content }))
    }
}

/// Somebody who follows the log.
struct Follower<S> {
    store: Arc<S>,
    head: watch::Receiver<u64>,
    query: Query,
}

type Batch = Vec<Result<wire::Record, Status>>;

impl<S: Store> Follower<S> {
    /// The next records, as soon as there are any; an error is the last thing that follows.
    async fn next(mut self) -> Option<(Batch, Option<Self>)> {
        loop {
            // Seen before the query, so that nothing that comes during it is passed over.
            let head = *self.head.borrow_and_update();
            let found = self.store.records(Query { limit: BATCH, ..self.query.clone() }).await;
            let batch: Vec<Record> = match found {
                Ok(batch) => batch,
                Err(error) => return Some((vec![Err(failed(&error))], None)),
            };
            if let Some(last) = batch.last() {
                self.query.after = self.query.after.max(last.number);
                return Some((batch.into_iter().map(|record| Ok(convert::wire_record(record))).collect(), Some(self)));
            }
            // Up to there nothing matches; it need not be searched again.
            self.query.after = self.query.after.max(head);
            if self.head.changed().await.is_err() {
                return None;
            }
        }
    }
}

#[cfg(test)]
mod tests;
