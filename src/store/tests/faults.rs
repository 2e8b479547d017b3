//! The fake fails as asked, so that what stands on a store can be tested against every failure.

use std::sync::Arc;

use tokio::sync::Notify;

use super::claim;
use crate::digest::Digest;
use crate::record::testing::{allow, deny, genesis_of, key};
use crate::store::fake::{Fake, Fault};
use crate::store::{Claimed, Store};

async fn fake() -> Arc<Fake> {
    let key = key();
    let fake = Fake::new(crate::record::testing::again(&key));
    fake.append(genesis_of(&key)).await.unwrap();
    Arc::new(fake)
}

#[tokio::test]
async fn i3_a_failed_write_may_or_may_not_be_there_and_can_be_asked_for() {
    let certificate = Digest::of(b"certificate");
    for (fault, there) in [(Fault::Before, false), (Fault::After, true)] {
        let store = fake().await;
        store.then(Some(fault));
        let decide = || store.decide(allow(certificate, 1, 1), claim(certificate, 1, "", 1));
        let error = decide().await.unwrap_err();
        assert!(error.is_uncertain(), "{error}");
        let mutation = claim(certificate, 1, "", 1).mutation_id;
        assert_eq!(store.execution(&mutation).await.unwrap().is_some(), there);
        // Asking once more is safe: the use is consumed once either way.
        let again = decide().await.unwrap();
        assert_eq!(matches!(again, Claimed::New(_)), !there, "{again:?}");
        assert_eq!(super::conformance::uses(&*store, certificate).await.consumed, 1);
        assert_eq!(store.head().await.unwrap().unwrap().number, 2);
    }
}

#[tokio::test]
async fn a_held_write_is_not_there_until_it_goes_on() {
    let store = fake().await;
    let go_on = Arc::new(Notify::new());
    store.then(Some(Fault::Hold(Arc::clone(&go_on))));
    let held = tokio::spawn({
        let store = Arc::clone(&store);
        async move { store.append(deny(1)).await }
    });
    // Faults are taken in order: once this one is answered, the held one has begun.
    tokio::task::yield_now().await;
    assert_eq!(store.append(deny(2)).await.unwrap().number, 2);
    go_on.notify_one();
    assert_eq!(held.await.unwrap().unwrap().number, 3);
}
