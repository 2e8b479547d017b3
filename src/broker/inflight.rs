//! Requests that are being executed: a second one waits for the first one's answer.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

/// What is being done, by a key, and what came of it.
#[derive(Debug)]
pub(super) struct InFlight<K, V> {
    running: Arc<Mutex<HashMap<K, watch::Receiver<Option<V>>>>>,
}

/// Whether one is the first.
#[derive(Debug)]
pub(super) enum Entry<K: Eq + std::hash::Hash, V> {
    /// It is, and has to do it, and to say what came of it.
    First(Lead<K, V>),
    /// It is being done.
    Waiting(watch::Receiver<Option<V>>),
}

/// Held by whoever does it. Dropped without an answer, it lets the next one begin.
#[derive(Debug)]
pub(super) struct Lead<K: Eq + std::hash::Hash, V> {
    running: Arc<Mutex<HashMap<K, watch::Receiver<Option<V>>>>>,
    key: K,
    answer: watch::Sender<Option<V>>,
}

impl<K: Clone + Eq + std::hash::Hash, V: Clone> InFlight<K, V> {
    pub(super) fn new() -> Self {
        Self { running: Arc::new(Mutex::new(HashMap::new())) }
    }

    pub(super) fn enter(&self, key: &K) -> Entry<K, V> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(waiting) = running.get(key) {
            return Entry::Waiting(waiting.clone());
        }
        let (answer, receiver) = watch::channel(None);
        running.insert(key.clone(), receiver);
        Entry::First(Lead { running: Arc::clone(&self.running), key: key.clone(), answer })
    }

    pub(super) fn len(&self) -> usize {
        self.running.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

impl<K: Eq + std::hash::Hash, V> Lead<K, V> {
    /// Tells everybody who waits.
    pub(super) fn answer(self, value: V) {
        // Nobody may be waiting.
        let _ = self.answer.send(Some(value));
    }
}

impl<K: Eq + std::hash::Hash, V> Drop for Lead<K, V> {
    fn drop(&mut self) {
        self.running.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn i3_one_leads_and_the_others_get_its_answer() {
        let requests = InFlight::<u32, &str>::new();
        let Entry::First(lead) = requests.enter(&1) else { panic!("nobody was before") };
        let waiting: Vec<_> = (0..8)
            .map(|_| match requests.enter(&1) {
                Entry::Waiting(receiver) => receiver,
                Entry::First(_) => panic!("the first one is not done"),
            })
            .collect();
        assert!(matches!(requests.enter(&2), Entry::First(_)));
        lead.answer("done");
        for mut receiver in waiting {
            assert_eq!(*receiver.wait_for(Option::is_some).await.unwrap(), Some("done"));
        }
        assert_eq!(requests.len(), 0);
    }

    #[tokio::test]
    async fn one_that_fails_to_answer_lets_the_next_begin() {
        let requests = InFlight::<u32, &str>::new();
        let Entry::First(lead) = requests.enter(&1) else { panic!("nobody was before") };
        let Entry::Waiting(mut waiting) = requests.enter(&1) else { panic!("the first one is not done") };
        drop(lead);
        assert!(waiting.wait_for(Option::is_some).await.is_err());
        assert!(matches!(requests.enter(&1), Entry::First(_)));
    }
}
