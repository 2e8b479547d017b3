//! The store in processes that are killed, and on disks that fail: what was acknowledged is there.

#[cfg(test)]
mod drafts;

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::ffi::OsString;
    use std::io::{BufRead, BufReader, Write};
    use std::path::{Path, PathBuf};
    use std::process::{Child, Command, Stdio};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::Duration;

    use seb::attribute_certificate::SignatureAlgorithm;
    use seb::digest::Digest;
    use seb::execution::State;
    use seb::key::SigningKey;
    use seb::record::{Head, Verifier};
    use seb::store::sqlite::{Options, Reader, Sqlite};
    use seb::store::{Claimed, Query, Store, StoreError};

    use crate::drafts::{allow, claim, deny, genesis, mutation, outcome};

    /// Where the child finds the store; the key of the log is beside it.
    const STORE: &str = "SEB_TEST_STORE";
    /// How many times the child is killed.
    const KILLS: u64 = 60;

    fn key_of(folder: &Path) -> SigningKey {
        let path = folder.join("log.pem");
        if !path.exists() {
            let key = SigningKey::generate(SignatureAlgorithm::Ed25519).unwrap();
            std::fs::write(&path, key.to_pkcs8_pem().unwrap().as_str()).unwrap();
        }
        SigningKey::from_pkcs8_pem(&std::fs::read_to_string(path).unwrap()).unwrap()
    }

    async fn open(path: &Path) -> Result<Sqlite, StoreError> {
        let folder = path.parent().unwrap().parent().unwrap();
        let store = Sqlite::open(Options::new(path), key_of(folder)).await?;
        if store.head().await?.is_none() {
            store.append(genesis(&key_of(folder))).await?;
        }
        Ok(store)
    }

    /// This test program once more, running only the test `name`, wrapped in `shell` if there is one.
    fn child(name: &str, store: &Path, shell: Option<&str>) -> Command {
        child_by(std::env::current_exe().unwrap().into(), name, store, shell)
    }

    fn child_by(program: OsString, name: &str, store: &Path, shell: Option<&str>) -> Command {
        let mut command = match shell {
            None => Command::new(program),
            Some(script) => {
                let mut command = Command::new("sh");
                command.arg("-c").arg(format!("{script}; exec \"$@\"")).arg("sh").arg(program);
                command
            }
        };
        command.args(["--ignored", "--exact", "--nocapture", name]).env(STORE, store);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        command
    }

    fn told_store() -> PathBuf {
        std::env::var_os(STORE).expect("run by its parent").into()
    }

    /// Writes until it is killed, and says what was acknowledged: `ack NUMBER:DIGEST`, in a line of its own.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    #[ignore = "the child of the tests below"]
    async fn child_writes_until_it_is_killed() {
        let store = Arc::new(open(&told_store()).await.unwrap());
        let begun = store.head().await.unwrap().unwrap().number;
        let next = Arc::new(AtomicU64::new(begun * 1000));
        let tell = |head: Head| writeln!(std::io::stdout(), "ack {head}").is_ok();
        let tasks = (0..8).map(|_| {
            let (store, next) = (Arc::clone(&store), Arc::clone(&next));
            tokio::spawn(async move {
                loop {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    let certificate = Digest::of(&n.to_be_bytes());
                    let claimed = store.decide(allow(certificate), claim(certificate)).await;
                    let Ok(Claimed::New(decision)) = claimed else { return claimed.map(drop) };
                    tell(decision);
                    let outcome = outcome(certificate, decision.number, State::Succeeded);
                    tell(store.complete(mutation(certificate), State::Succeeded, outcome).await?.head);
                }
            })
        });
        // Ends only where a disk fails: with what the store said.
        for ended in futures::future::join_all(tasks).await {
            if let Err(error) = ended.unwrap() {
                let causes = std::iter::successors(Some(&error as &dyn std::error::Error), |error| error.source());
                let causes: Vec<String> = causes.map(ToString::to_string).collect();
                writeln!(std::io::stdout(), "end {}", causes.join(": ")).unwrap();
            }
        }
    }

    struct Run {
        acknowledged: Vec<Head>,
        ended: Vec<String>,
    }

    /// Reads what the child says until it says no more.
    fn listen(child: &mut Child) -> Run {
        let mut run = Run { acknowledged: Vec::new(), ended: Vec::new() };
        for line in BufReader::new(child.stdout.take().unwrap()).split(b'\n') {
            let line = String::from_utf8(line.unwrap()).unwrap();
            // A line that the kill cut off was not said.
            if let Some(head) = line.strip_prefix("ack ").and_then(|text| text.parse().ok()) {
                run.acknowledged.push(head);
            }
            run.ended.extend(line.strip_prefix("end ").map(str::to_owned));
        }
        run
    }

    /// What is in the log, verified as it grows.
    struct Log {
        verifier: Verifier,
        digests: BTreeMap<u64, Digest>,
    }

    impl Log {
        fn new() -> Self {
            Self { verifier: Verifier::new(), digests: BTreeMap::new() }
        }

        async fn follow(&mut self, path: &Path) {
            let reader = Reader::open(path).await.unwrap();
            loop {
                let after = self.digests.last_key_value().map_or(0, |(number, _)| *number);
                let page = reader.records(Query { after, ..Query::default() }).await.unwrap();
                for record in &page {
                    self.verifier.push(record.number, &record.envelope).unwrap();
                    self.digests.insert(record.number, record.digest);
                }
                if page.is_empty() {
                    return reader.close().await;
                }
            }
        }

        fn has(&self, acknowledged: &[Head]) {
            for head in acknowledged {
                assert_eq!(
                    self.digests.get(&head.number),
                    Some(&head.digest),
                    "record {} was acknowledged",
                    head.number
                );
            }
        }
    }

    #[tokio::test]
    async fn i1_i3_what_was_acknowledged_survives_any_kill() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log/seb.db");
        key_of(folder.path());
        let mut log = Log::new();
        let mut all = 0;
        for round in 0..KILLS {
            let mut child = child("tests::child_writes_until_it_is_killed", &path, None).spawn().unwrap();
            let pid = child.id();
            // Some time between its start and the middle of its work, never the same.
            let killer = tokio::spawn(async move {
                tokio::time::sleep(Duration::from_micros(round * 3_700 % 170_000)).await;
                Command::new("kill").args(["-9", &pid.to_string()]).status().unwrap()
            });
            let run = tokio::task::spawn_blocking(move || {
                let run = listen(&mut child);
                (run, child.wait().unwrap())
            });
            let (run, status) = run.await.unwrap();
            assert!(killer.await.unwrap().success());
            assert!(!status.success(), "it was killed, and did not end: {:?}", run.ended);
            if path.exists() && std::fs::metadata(&path).unwrap().len() > 0 && !run.acknowledged.is_empty() {
                log.follow(&path).await;
            }
            log.has(&run.acknowledged);
            all += run.acknowledged.len();
        }
        assert!(all > 100, "only {all} writes were acknowledged before the kills: the test shows nothing");
        // What is open was decided and not completed; nothing else is.
        let store = open(&path).await.unwrap();
        log.follow(&path).await;
        let mut open = 0;
        let mut after = 0;
        while let Some(last) = store.open_executions(after).await.unwrap().last() {
            open += store.open_executions(after).await.unwrap().len() as u64;
            after = last.decision;
        }
        let summary = log.verifier.finish().unwrap();
        assert_eq!(summary.open, open);
        assert!(open <= 8 * KILLS);
        // And it goes on.
        store.append(deny()).await.unwrap();
        store.close().await;
    }

    #[tokio::test]
    async fn i1_a_disk_that_fails_stops_the_store_and_loses_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log/seb.db");
        open(&path).await.unwrap().close().await;
        // No file may grow beyond 512 KiB, which shows as an error of the write.
        let mut child = child("tests::child_writes_until_it_is_killed", &path, Some("trap '' XFSZ; ulimit -f 1024"))
            .spawn()
            .unwrap();
        let run = tokio::task::spawn_blocking(move || {
            let run = listen(&mut child);
            assert!(child.wait().unwrap().success(), "it ended by itself");
            run
        });
        let run = run.await.unwrap();
        assert!(!run.acknowledged.is_empty());
        assert_eq!(run.ended.len(), 8, "each task was told");
        for ended in &run.ended {
            assert!(ended.contains("the store") && ended.contains("disk"), "{ended}");
        }
        let mut log = Log::new();
        log.follow(&path).await;
        log.has(&run.acknowledged);
        // On a disk that does not fail any more it goes on.
        let store = open(&path).await.unwrap();
        store.append(deny()).await.unwrap();
        store.close().await;
        log.follow(&path).await;
    }

    /// A file system that is there until the test ends, however it ends.
    struct Mounted(PathBuf);

    impl Drop for Mounted {
        fn drop(&mut self) {
            // Lazily: a failed test may still have its files open.
            let _ = Command::new("umount").arg("-l").arg(&self.0).status();
        }
    }

    #[tokio::test]
    async fn a_full_file_system_is_said_to_be_full() {
        let folder = tempfile::tempdir().unwrap();
        let mount = folder.path().join("small");
        std::fs::create_dir(&mount).unwrap();
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=2m", "tmpfs"]).arg(&mount).output();
        if !mounted.is_ok_and(|output| output.status.success()) {
            // Only root may mount; the bound on the database's own size is tested beside the store.
            return;
        }
        let _mounted = Mounted(mount.clone());
        let path = mount.join("log/seb.db");
        let store = open(&path).await.unwrap();
        let mut acknowledged = Vec::new();
        let error = loop {
            match store.append(deny()).await {
                Ok(head) => acknowledged.push(head),
                Err(error) => break error,
            }
        };
        assert!(matches!(error, StoreError::Full { .. }), "{error:?}");
        assert!(error.is_retryable() && !error.is_uncertain());
        assert_eq!(store.head().await.unwrap().as_ref(), acknowledged.last());
        // With more room it goes on, without a restart.
        let more = Command::new("mount").args(["-o", "remount,size=8m"]).arg(&mount).status().unwrap();
        assert!(more.success());
        acknowledged.push(store.append(deny()).await.unwrap());
        store.close().await;
        let mut log = Log::new();
        log.follow(&path).await;
        log.has(&acknowledged);
    }

    /// Opens the store, and says what came of it.
    #[tokio::test]
    #[ignore = "the child of the test below"]
    async fn child_opens_the_store() {
        match Sqlite::open(Options::new(told_store()), SigningKey::generate(SignatureAlgorithm::Ed25519).unwrap()).await
        {
            Ok(_) => writeln!(std::io::stdout(), "end opened").unwrap(),
            Err(error) => writeln!(std::io::stdout(), "end {error:?}").unwrap(),
        }
    }

    #[tokio::test]
    async fn a_store_that_cannot_be_written_is_said_to_be() {
        use std::fs::Permissions;
        use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
        use std::os::unix::process::CommandExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log/seb.db");
        open(&path).await.unwrap().close().await;
        let root = std::fs::metadata(&path).unwrap().uid() == 0;
        let set = |path: &Path, mode| {
            std::fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
        };
        let log = path.parent().unwrap().to_owned();
        let files: Vec<PathBuf> = std::fs::read_dir(&log).unwrap().map(|entry| entry.unwrap().path()).collect();
        // Where somebody else may read it, too.
        let program = folder.path().join("program");
        std::fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
        let opened = || {
            let mut command = child_by(program.clone().into(), "tests::child_opens_the_store", &path, None);
            if root {
                // Root may write everything: somebody else tries.
                command.uid(65_534).gid(65_534).current_dir("/");
            }
            let mut child = command.spawn().unwrap();
            let run = listen(&mut child);
            child.wait().unwrap();
            run.ended.join("")
        };
        if root {
            set(folder.path(), 0o755);
            for path in files.iter().chain([&log]) {
                chown(path, Some(65_534), Some(65_534)).unwrap();
            }
        }
        // With the right to write, it gets as far as to the key, which is another one.
        let ended = opened();
        assert!(ended.starts_with("OtherKey"), "{ended}");
        for file in &files {
            set(file, 0o400);
        }
        let ended = opened();
        assert!(ended.starts_with("ReadOnly"), "{ended}");
        for file in &files {
            set(file, 0o600);
        }
        set(&log, 0o500);
        let ended = opened();
        assert!(ended.starts_with("ReadOnly"), "{ended}");
        set(&log, 0o700);
    }

    /// `cargo test --release --test store -- --ignored --nocapture measure_throughput`
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    #[ignore = "a measurement"]
    async fn measure_throughput() {
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(open(&folder.path().join("log/seb.db")).await.unwrap());
        let clock = tokio::time::Instant::now;
        for tasks in [1_u64, 8, 64, 256, 512] {
            let each = (20_000 / tasks).clamp(100, 400);
            let (begun, before) = (clock(), store.batches());
            let work = (0..tasks).map(|task| {
                let store = Arc::clone(&store);
                tokio::spawn(async move {
                    let mut waits = Vec::new();
                    for n in 0..each {
                        let certificate =
                            Digest::of_parts(&[&tasks.to_be_bytes(), &task.to_be_bytes(), &n.to_be_bytes()]);
                        let begun = clock();
                        let claimed = store.decide(allow(certificate), claim(certificate)).await.unwrap();
                        waits.push(begun.elapsed());
                        let Claimed::New(head) = claimed else { panic!("{claimed:?}") };
                        let outcome = outcome(certificate, head.number, State::Succeeded);
                        store.complete(mutation(certificate), State::Succeeded, outcome).await.unwrap();
                    }
                    waits
                })
            });
            let mut waits: Vec<Duration> =
                futures::future::join_all(work).await.into_iter().flat_map(Result::unwrap).collect();
            waits.sort();
            let (elapsed, after) = (begun.elapsed(), store.batches());
            let (transactions, records) = (after.0 - before.0, after.1 - before.1);
            let rate = waits.len() as f64 / elapsed.as_secs_f64();
            println!(
                "{tasks:4} at once: {rate:7.0} pairs/s, {:5.1} records per transaction, decide p50 {:?} p99 {:?}",
                records as f64 / transactions as f64,
                waits[waits.len() / 2],
                waits[waits.len() * 99 / 100],
            );
        }
        store.close().await;
    }
}
