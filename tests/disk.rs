//! The broker's disk fails under the real process: at every single write and sync of its life it is killed or loses its
//! power, and its disk becomes full, breaks, stalls, or holds something else than was written.
//!
//! Whatever happens, nothing is executed without a durable decision (I1), nothing twice (I3), and what the records say in
//! the end is what the target's audit log says (I6).

#![cfg(target_os = "linux")]

#[cfg(test)]
mod world;

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::fs::{FileExt, PermissionsExt};
    use std::os::unix::process::ExitStatusExt;
    use std::path::{Path, PathBuf};
    use std::process::ExitStatus;
    use std::time::Duration;

    use seb::proto::seb::v1::execution::State;
    use seb::proto::seb::v1::{ExecuteRequest, Execution};
    use serde_json::json;
    use sqlx::{Connection, SqliteConnection};
    use tokio::process::Command;
    use tonic::Code;

    use crate::world::broker::{Clients, Process, Settings, reason};
    use crate::world::disk::{CHANGES, Disk, EIO, ENOSPC, EROFS, Event, SYNCS, WRITES};
    use crate::world::judge::{check, open};
    use crate::world::{PATIENCE, World};

    /// How one life of the broker ended.
    enum End {
        /// It was killed at the change that was asked for.
        Killed,
        /// It ended by itself, before that change.
        Complete,
    }

    /// A life from the start over one execution to SIGTERM, with `event` at the change `number`.
    async fn live(world: &World, disk: &Disk, number: u64, event: Event, asks: &[ExecuteRequest]) -> End {
        disk.at(number, CHANGES, event);
        let mut process = match Process::try_start(world, Some(disk)).await {
            Ok(process) => process,
            Err((status, said)) => return ended(number, status, &said),
        };
        let clients = world.clients(process.address).await;
        let work = async {
            world.epochs.heard().await;
            for ask in asks {
                // It may have been used by the life before, or be refused because the broker is ending.
                let _ = clients.execute(ask).await;
            }
        };
        tokio::select! {
            status = process.child.wait() => return ended(number, status.unwrap(), ""),
            () = work => {}
        }
        ended(number, process.end().await, "")
    }

    fn ended(number: u64, status: ExitStatus, said: &str) -> End {
        match status.signal() {
            Some(9) => End::Killed,
            _ if status.success() => End::Complete,
            _ => panic!("after change {number} it does not go on: {status} {said}"),
        }
    }

    /// Runs the broker until everything is settled, and holds its records against the target's.
    async fn settled(world: &World) {
        let process = Process::start(world).await;
        let clients = world.clients(process.address).await;
        world.epochs.heard().await;
        let settled = async {
            loop {
                let log = clients.log(0).await;
                if open(&log).is_empty() {
                    return log;
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        let log = tokio::time::timeout(PATIENCE, settled).await.expect("everything is settled in the end");
        eprintln!("{:?}", check(&log, &world.production.audit()));
        process.kill().await;
        world.verified().await;
    }

    async fn sweep(event: impl Fn(u64) -> Event) {
        let world = World::new().await;
        world.configure(&Settings::default());
        let disk = Disk::new(&world);
        let (begun, mut number, mut before) = (tokio::time::Instant::now(), 0, Vec::new());
        loop {
            number += 1;
            if number % 8 == 0 {
                // What a life writes when it ends grows with all that was written since one ended by itself.
                let asks = std::mem::take(&mut before);
                assert!(matches!(live(&world, &disk, u64::MAX, Event::KillAfter, &asks).await, End::Complete));
            }
            let certificate = world.scale(&format!("s{number}")).await.set("/deadline_seconds", json!(2));
            let now = world.ask(&certificate, 20);
            let asks: Vec<_> = before.drain(..).chain([now.clone()]).collect();
            match live(&world, &disk, number, event(number), &asks).await {
                End::Killed => before.push(now),
                End::Complete => break,
            }
        }
        assert!(number > 20, "{number} changes are too few for a life");
        eprintln!("{number} lives in {:?}", begun.elapsed());
        settled(&world).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn i1_i3_i6_hold_when_it_is_killed_at_any_change_of_its_store() {
        sweep(|number| if number % 2 == 0 { Event::KillBefore } else { Event::KillAfter }).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn i1_i3_i6_hold_when_the_power_fails_at_any_change_of_its_store() {
        sweep(|number| Event::PowerCut(if number % 3 == 0 { 0 } else { number })).await;
    }

    /// A world, its disk, a broker on it that has heard the authority, and its clients.
    async fn begin(settings: &Settings) -> (World, Disk, Process, Clients) {
        let world = World::new().await;
        world.configure(settings);
        let disk = Disk::new(&world);
        let process = Process::try_start(&world, Some(&disk)).await.unwrap();
        let clients = world.clients(process.address).await;
        world.epochs.heard().await;
        process.ready(true).await;
        (world, disk, process, clients)
    }

    const WRITABLE: &str = "seb_store_writable";

    /// Asks until it is executed: once the fault is gone, nobody has to help.
    async fn recovered(clients: &Clients, ask: &ExecuteRequest) -> Execution {
        let recovered = async {
            loop {
                match clients.execute(ask).await {
                    Ok(answer) => return answer,
                    Err(status) => {
                        assert!(matches!(reason(&status).as_str(), "unavailable" | "epoch_stale"), "{status:?}")
                    }
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(PATIENCE, recovered).await.expect("it recovers")
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn i1_a_disk_that_is_full_in_the_middle_of_a_write_executes_nothing_and_loses_nothing() {
        let (world, disk, process, clients) = begin(&Settings::default()).await;
        let (mut write, mut refused, mut unrecorded) = (1, 0, 0);
        // Up to the first execution that is over before that write.
        loop {
            let certificate = world.scale(&format!("s{write}")).await.set("/deadline_seconds", json!(3));
            let ask = world.ask(&certificate, 20);
            let before = world.production.audit().len();
            disk.at(write, WRITES, Event::Fail(ENOSPC));
            let answer = clients.execute(&ask).await;
            if !disk.has_failed() {
                assert_eq!(answer.unwrap().state(), State::Succeeded);
                break;
            }
            match answer {
                Err(status) => {
                    assert_eq!(
                        (status.code(), reason(&status).as_str()),
                        (Code::Unavailable, "unavailable"),
                        "{status:?}"
                    );
                    assert_eq!(world.production.audit().len(), before, "write {write}: something reached the target");
                    refused += 1;
                }
                // The decision was durable, and the outcome is not: the target knows.
                Ok(answer) => {
                    assert_eq!(answer.state(), State::Running, "{answer:?}");
                    unrecorded += 1;
                }
            }
            let why = process.ready(false).await;
            assert!(why.contains("store: the store") && why.contains("is full: free space"), "{why}");
            assert_eq!(process.metric(WRITABLE).await, 0.0);
            assert_eq!(process.get("/livez").await.0, 200);
            disk.mend();
            // By itself, without anybody writing.
            process.ready(true).await;
            assert_eq!(process.metric(WRITABLE).await, 1.0);
            let answer = recovered(&clients, &ask).await;
            assert!(
                matches!(answer.state(), State::Succeeded | State::Running | State::ReconciledApplied),
                "{answer:?}"
            );
            write += 4;
        }
        assert!(refused > 1 && unrecorded > 1, "{refused} {unrecorded}");
        process.kill().await;
        settled(&world).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn i1_a_disk_that_breaks_stops_the_store_and_the_next_start_goes_by_what_is_there() {
        let (world, disk, mut process, mut clients) = begin(&Settings::default()).await;
        // At the sync of the decision, at a write of it, at the sync of the outcome, and where it is read-only.
        let faults = [(1, SYNCS, EIO), (2, WRITES, EIO), (2, SYNCS, EIO), (1, WRITES, EROFS)];
        for (index, (number, kinds, error)) in faults.into_iter().enumerate() {
            let certificate = world.scale(&format!("s{index}")).await.set("/deadline_seconds", json!(3));
            let ask = world.ask(&certificate, 20);
            let before = world.production.audit().len();
            disk.at(number, kinds, Event::Fail(error));
            match clients.execute(&ask).await {
                Err(status) => {
                    assert_eq!(reason(&status), "unavailable", "{status:?}");
                    assert_eq!(world.production.audit().len(), before, "something reached the target");
                }
                Ok(answer) => assert_eq!((index, answer.state()), (2, State::Running), "{answer:?}"),
            }
            let why = process.ready(false).await;
            assert!(why.contains("stopped: the store") && why.contains("start the broker again"), "{why}");
            assert_eq!(process.metric(WRITABLE).await, 0.0);
            assert_eq!(process.get("/livez").await.0, 503);
            // It does not go on, although the disk could.
            disk.mend();
            let next = world.ask(&world.scale(&format!("t{index}")).await, 20);
            assert_eq!(reason(&clients.execute(&next).await.unwrap_err()), "unavailable");
            process.end().await;
            process = Process::try_start(&world, Some(&disk)).await.unwrap();
            clients = world.clients(process.address).await;
            world.epochs.heard().await;
            assert_eq!(recovered(&clients, &next).await.state(), State::Succeeded);
        }
        process.kill().await;
        settled(&world).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn i1_a_disk_that_stalls_in_the_middle_of_a_decision_executes_nothing() {
        let (world, disk, process, clients) = begin(&Settings::default()).await;
        let ask = world.ask(&world.scale("checkout").await.set("/deadline_seconds", json!(2)), 20);
        disk.at(2, WRITES, Event::Wait);
        let asked = tokio::spawn({
            let (clients, ask) = (clients.clone(), ask.clone());
            async move { clients.execute(&ask).await }
        });
        disk.failed().await;
        // It is told when the store's own bound has passed, and so is whoever waits behind it.
        let status = asked.await.unwrap().unwrap_err();
        assert_eq!(reason(&status), "unavailable", "{status:?}");
        let why = process.ready(false).await;
        assert!(why.contains("store: the store did not answer in time"), "{why}");
        assert!(world.production.audit().is_empty());
        disk.mend();
        process.ready(true).await;
        // The decision became durable after all; nothing was ever called under it, and evidence says so.
        let mutation = recovered(&clients, &ask).await.mutation_id;
        let end = clients.settled(&mutation).await;
        assert_eq!(end.state(), State::ReconciledNotApplied, "{end:?}");
        assert!(world.production.applied().is_empty());
        process.kill().await;
        settled(&world).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_store_that_another_program_locks_is_not_ready_until_it_is_free() {
        let (world, _, process, clients) = begin(&Settings::default()).await;
        let path = world.path("broker.db");
        let mut other = SqliteConnection::connect(path.to_str().unwrap()).await.unwrap();
        sqlx::query("BEGIN IMMEDIATE").execute(&mut other).await.unwrap();
        let ask = world.ask(&world.scale("checkout").await, 20);
        assert_eq!(reason(&clients.execute(&ask).await.unwrap_err()), "unavailable");
        let why = process.ready(false).await;
        assert!(why.contains("is locked by another program"), "{why}");
        assert!(world.production.audit().is_empty());
        sqlx::query("ROLLBACK").execute(&mut other).await.unwrap();
        process.ready(true).await;
        assert_eq!(recovered(&clients, &ask).await.state(), State::Succeeded);
        process.end().await;
        // The same at the start: it does not begin to serve.
        sqlx::query("PRAGMA locking_mode = EXCLUSIVE").execute(&mut other).await.unwrap();
        sqlx::query("BEGIN EXCLUSIVE").execute(&mut other).await.unwrap();
        let Err((_, said)) = Process::try_start(&world, None).await else { panic!("it starts on a locked store") };
        assert!(said.contains("is locked by another program"), "{said}");
        drop(other);
        settled(&world).await;
    }

    /// Where a table or an index has its pages, as octets of the file.
    async fn pages(path: &Path) -> Vec<u64> {
        let mut connection = SqliteConnection::connect(path.to_str().unwrap()).await.unwrap();
        let select = "SELECT rootpage FROM sqlite_schema WHERE tbl_name = 'execution' AND rootpage > 0";
        let roots: Vec<i64> = sqlx::query_scalar(select).fetch_all(&mut connection).await.unwrap();
        connection.close().await.unwrap();
        roots.into_iter().map(|root| (u64::try_from(root).unwrap() - 1) * 4096).collect()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn i1_a_damaged_store_executes_nothing_and_is_not_gone_on_with() {
        let (world, _, process, clients) = begin(&Settings::default()).await;
        let ask = world.ask(&world.scale("checkout").await, 20);
        assert_eq!(clients.execute(&ask).await.unwrap().state(), State::Succeeded);
        process.end().await;
        let path = world.path("broker.db");
        let good = std::fs::read(&path).unwrap();
        let pages = pages(&path).await;
        let damage = || {
            let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
            pages.iter().for_each(|page| file.write_all_at(&[0x5a; 4096], *page).unwrap());
        };
        // While it runs: found by whoever reads there next, and then nothing more is written.
        let process = Process::start(&world).await;
        let clients = world.clients(process.address).await;
        world.epochs.heard().await;
        damage();
        let before = world.production.audit().len();
        let ask = world.ask(&world.scale("another").await, 20);
        let status = clients.execute(&ask).await.unwrap_err();
        assert_eq!(reason(&status), "unavailable", "{status:?}");
        let why = process.ready(false).await;
        assert!(why.contains("stopped: ") && why.contains("is damaged or no store"), "{why}");
        assert_eq!(process.get("/livez").await.0, 503);
        process.end().await;
        // At the start.
        let Err((_, said)) = Process::try_start(&world, None).await else { panic!("it starts on a damaged store") };
        assert!(said.contains("is damaged or no store") && said.contains("restore it from a copy"), "{said}");
        assert_eq!(world.production.audit().len(), before, "something reached the target");
        // From a copy it goes on.
        for ending in ["-wal", "-shm"] {
            let _ = std::fs::remove_file(world.path(&format!("broker.db{ending}")));
        }
        std::fs::write(&path, good).unwrap();
        let process = Process::start(&world).await;
        let clients = world.clients(process.address).await;
        world.epochs.heard().await;
        assert_eq!(recovered(&clients, &ask).await.state(), State::Succeeded);
        process.kill().await;
        settled(&world).await;
    }

    /// A folder for the store alone.
    fn small(world: &World) -> PathBuf {
        let small = world.path("small");
        std::fs::create_dir(&small).unwrap();
        std::fs::set_permissions(&small, std::fs::Permissions::from_mode(0o700)).unwrap();
        small
    }

    /// A command that becomes `seb` where `mount` has been run, in namespaces of its own; none where that is not allowed.
    async fn mounted(mount: &str) -> Option<Command> {
        let mut unshare = Command::new("unshare");
        let command = unshare.args(["--user", "--map-root-user", "--mount", "sh", "-ec"]);
        let allowed = command.args(["mount -t tmpfs none /mnt", "sh"]).output().await;
        if !allowed.is_ok_and(|output| output.status.success()) {
            eprintln!("left out: this machine does not let a test mount a file system of its own");
            return None;
        }
        let mut unshare = Command::new("unshare");
        unshare.args(["--user", "--map-root-user", "--mount", "sh", "-ec"]);
        unshare.arg(format!("{mount}; exec \"$0\" \"$@\"")).arg(env!("CARGO_BIN_EXE_seb"));
        Some(unshare)
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn i1_a_file_system_that_is_really_full_executes_nothing_and_recovers() {
        let world = World::new().await;
        world.configure(&Settings { store: "small/broker.db", ..Settings::default() });
        let small = small(&world);
        let mount = format!("mount -t tmpfs -o size=4m,mode=700 none '{}'", small.display());
        let Some(command) = mounted(&mount).await else { return };
        let process = Process::try_start_by(command, &world, None).await.unwrap();
        // Its file system, from outside.
        let inside = Path::new("/proc").join(process.child.id().unwrap().to_string()).join("root");
        let inside = inside.join(small.strip_prefix("/").unwrap());
        let clients = world.clients(process.address).await;
        world.epochs.heard().await;
        let ask = world.ask(&world.scale("before").await, 20);
        assert_eq!(recovered(&clients, &ask).await.state(), State::Succeeded);
        // Somebody fills it, to the last octet.
        let ballast = inside.join("ballast");
        let mut file = std::fs::File::create(&ballast).unwrap();
        while file.write(&[0; 512]).is_ok_and(|written| written > 0) {}
        let mut number = 0;
        let (status, ask) = loop {
            number += 1;
            assert!(number < 2000, "it is never full");
            let ask = world.ask(&world.scale(&format!("s{number}")).await, 20);
            match clients.execute(&ask).await {
                Ok(_) => {}
                Err(status) => break (status, ask),
            }
        };
        assert_eq!(reason(&status), "unavailable", "{status:?}");
        let why = process.ready(false).await;
        let applied = world.production.applied().len();
        assert_eq!(reason(&clients.execute(&ask).await.unwrap_err()), "unavailable");
        assert_eq!(world.production.applied().len(), applied, "something was done");
        eprintln!("full after {number} executions: {why}");
        std::fs::remove_file(&ballast).unwrap();
        drop(file);
        process.ready(true).await;
        assert_eq!(recovered(&clients, &ask).await.state(), State::Succeeded);
        assert_eq!(world.production.applied().len(), applied + 1);
        // What it wrote is whole.
        for name in ["broker.db", "broker.db-wal"] {
            std::fs::copy(inside.join(name), world.path(name)).unwrap();
        }
        world.verified().await;
        process.kill().await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_store_that_cannot_be_written_is_not_started_on() {
        let world = World::new().await;
        world.configure(&Settings { store: "small/broker.db", ..Settings::default() });
        let small = small(&world);
        let process = Process::start(&world).await;
        process.end().await;
        let small = small.display();
        let mount = format!("mount --bind '{small}' '{small}'; mount -o remount,bind,ro '{small}'");
        let Some(command) = mounted(&mount).await else { return };
        let Err((_, said)) = Process::try_start_by(command, &world, None).await else { panic!("it starts") };
        assert!(said.contains("cannot be written: give the broker's user the file and its folder"), "{said}");
        let process = Process::start(&world).await;
        world.epochs.heard().await;
        assert!(process.end().await.success());
    }
}
