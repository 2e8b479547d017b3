use std::time::Duration;

use tonic::Code;

use super::*;
use crate::record::Kind;
use crate::record::testing::{deny, genesis_of, key, plain};
use crate::store::fake::Fake;

/// A log of genesis, then records of one kind and denials in turn.
async fn log(records: u64) -> Arc<Fake> {
    let key = key();
    let genesis = genesis_of(&key);
    let store = Arc::new(Fake::new(key));
    store.append(genesis).await.unwrap();
    for number in 1..records {
        let draft = if number % 2 == 0 { plain(Kind::Boundary, number) } else { deny(number) };
        store.append(draft).await.unwrap();
    }
    store
}

fn service(store: &Arc<Fake>) -> Service<Fake> {
    Service(Arc::clone(store))
}

fn page(after: u64, page_size: u32, kind: &str) -> Request<wire::ListRequest> {
    let filter = Some(wire::Filter { kind: kind.to_owned(), ..Default::default() });
    Request::new(wire::ListRequest { filter, page_size, after })
}

async fn pages(service: &Service<Fake>, size: u32, kind: &str) -> Vec<u64> {
    let (mut numbers, mut after) = (Vec::new(), 0);
    loop {
        let answer = service.list(page(after, size, kind)).await.unwrap().into_inner();
        assert!(answer.records.len() <= usize::try_from(size).unwrap());
        numbers.extend(answer.records.iter().map(|record| record.number));
        match answer.next_after {
            0 => return numbers,
            next => after = next,
        }
    }
}

#[tokio::test]
async fn pages_give_every_record_once_and_in_order() {
    let service = service(&log(150).await);
    for size in [1, 7, 64, 65, 149, 150, 1000] {
        assert_eq!(pages(&service, size, "").await, (1..=150).collect::<Vec<_>>(), "{size}");
    }
    let boundaries: Vec<_> = (1..=150).filter(|number| number % 2 == 1 && *number > 1).collect();
    assert_eq!(pages(&service, 10, "boundary").await, boundaries);
    let refused = service.list(page(0, 1001, "nonsense")).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
}

#[tokio::test]
async fn following_gives_what_is_there_and_then_what_comes() {
    let store = log(3).await;
    let service = service(&store);
    let ask = Request::new(wire::FollowRequest { after: 1, filter: None });
    let mut following = service.follow(ask).await.unwrap().into_inner();
    let next = async |following: &mut BoxStream<'static, Result<wire::Record, Status>>| {
        let next = tokio::time::timeout(Duration::from_secs(60), following.next()).await;
        next.unwrap().unwrap().unwrap().number
    };
    assert_eq!((next(&mut following).await, next(&mut following).await), (2, 3));
    for number in 4..=200_u64 {
        store.append(plain(Kind::Boundary, number)).await.unwrap();
    }
    for number in 4..=200 {
        assert_eq!(next(&mut following).await, number);
    }
    let filter = Some(wire::Filter { kind: "decision".to_owned(), ..Default::default() });
    let ask = Request::new(wire::FollowRequest { after: 150, filter });
    let mut filtered = service.follow(ask).await.unwrap().into_inner();
    let waiting = tokio::spawn(async move { filtered.next().await.unwrap().unwrap().number });
    store.append(plain(Kind::Boundary, 201)).await.unwrap();
    store.append(deny(202)).await.unwrap();
    assert_eq!(tokio::time::timeout(Duration::from_secs(60), waiting).await.unwrap().unwrap(), 202);
}

#[tokio::test]
async fn one_record_and_its_artefacts_can_be_had() {
    let store = log(2).await;
    let service = service(&store);
    let record = service.get(Request::new(wire::GetRequest { number: 2 })).await.unwrap().into_inner();
    assert_eq!(record.digest, Digest::of(&record.envelope).to_string());
    for number in [0, 3, u64::MAX] {
        let absent = service.get(Request::new(wire::GetRequest { number })).await.unwrap_err();
        assert_eq!(absent.code(), Code::NotFound);
    }
    let ask = |digest: String| Request::new(wire::GetArtefactRequest { digest });
    let artefact = service.get_artefact(ask(Digest::of(b"nonsense").to_string())).await.unwrap().into_inner();
    assert_eq!(artefact.content, b"nonsense");
    let absent = service.get_artefact(ask(Digest::of(b"absent").to_string())).await.unwrap_err();
    assert_eq!(absent.code(), Code::NotFound);
    let malformed = service.get_artefact(ask("sha256:0".to_owned())).await.unwrap_err();
    assert_eq!(malformed.code(), Code::InvalidArgument);
}
