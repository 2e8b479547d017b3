//! `seb records` through the real binary, on a log as a broker writes it: listing, showing, verifying, replaying.

#[cfg(test)]
#[path = "../support/mod.rs"]
mod support;
#[cfg(test)]
mod world;

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fs;
    use std::path::{Path, PathBuf};
    use std::process::{Command, Output};

    use seb::contract::Json;
    use seb::decision::Decision;
    use seb::digest::Digest;
    use seb::reason::Reason;
    use seb::record::{Kind, ReplayError, Replayed, Statement, replay};
    use seb::store::Store;
    use serde_json::Value;
    use sqlx::{Connection, SqliteConnection};
    use tempfile::TempDir;

    use crate::world::World;

    struct Log {
        folder: TempDir,
        world: World,
    }

    impl Log {
        /// Two executions, two denials by facts, and two refusals before authentication.
        async fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let world = World::new(&folder.path().join("log/seb.db")).await;
            fs::write(folder.path().join("bundle.pem"), world.pki.root.pem()).unwrap();
            assert!(matches!(world.run(1, 20, 3).await, Decision::Allow(_)));
            assert_eq!(world.run(2, 45, 3).await.answer().unwrap().reason, Reason::CeilingParameter);
            assert_eq!(world.run(3, 20, 7).await.answer().unwrap().reason, Reason::DriftField);
            assert!(matches!(world.run(4, 30, 3).await, Decision::Allow(_)));
            assert_eq!(world.refuse(b"nonsense").await.reason, Reason::CertificateEncoding);
            let mut forged = world.pki.issue_over(&crate::support::contract()).octets().to_vec();
            *forged.last_mut().unwrap() ^= 1;
            assert_eq!(world.refuse(&forged).await.reason, Reason::SignatureInvalid);
            Self { folder, world }
        }

        fn store(&self) -> PathBuf {
            self.folder.path().join("log/seb.db")
        }

        fn run(&self, words: &[&str]) -> Output {
            let mut command = Command::new(env!("CARGO_BIN_EXE_seb"));
            command.arg("records").args(words).current_dir(self.folder.path()).output().unwrap()
        }

        fn on_store(&self, words: &[&str]) -> Output {
            self.run(&[words, &["--store", "log/seb.db"]].concat())
        }

        fn export(&self, more: &[&str]) -> String {
            text(&self.on_store(&[&["export"], more].concat()))
        }
    }

    fn text(output: &Output) -> String {
        assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout.clone()).unwrap()
    }

    fn json(output: &Output) -> Value {
        let text = text(output);
        assert_eq!(text.lines().count(), 1, "{text}");
        serde_json::from_str(&text).unwrap()
    }

    fn holds(output: &Output) -> bool {
        match output.status.code() {
            Some(0) => true,
            Some(1) => false,
            code => panic!("{code:?}: {}", String::from_utf8_lossy(&output.stderr)),
        }
    }

    #[tokio::test]
    async fn i7_a_log_verifies_and_every_decision_is_derived_again() {
        let log = Log::new().await;
        // While the broker has it open, and from a file, with the same answers.
        fs::write(log.folder.path().join("log.jsonl"), log.export(&[])).unwrap();
        for from in [["--store", "log/seb.db"], ["--file", "log.jsonl"]] {
            let verified = log.run(&[&["verify", "--bundle", "bundle.pem", "--artefacts"], &from[..]].concat());
            assert!(holds(&verified), "{}", text(&verified));
            let shown = text(&verified);
            for line in [
                "decisions  2 allowed, 4 denied",
                "identity   of the trust bundle",
                "open       0 executions",
                "verified",
            ] {
                assert!(shown.contains(line), "`{line}` in {shown}");
            }
            let replayed = log.run(&[&["replay", "--output", "json"], &from[..]].concat());
            assert!(holds(&replayed));
            let replayed = json(&replayed);
            assert_eq!(
                (&replayed["equal"], &replayed["not_kept"], &replayed["different"], &replayed["replayed"]),
                (&6.into(), &0.into(), &0.into(), &true.into())
            );
            let head = json(&log.run(&[&["verify", "--output", "json"], &from[..]].concat()))["head"].clone();
            let kept = log.run(&[&["verify", "--head", head.as_str().unwrap()], &from[..]].concat());
            assert!(holds(&kept));
            let later = head.as_str().unwrap().replace("10:", "11:");
            let cut = log.run(&[&["verify", "--head", &later], &from[..]].concat());
            assert!(!holds(&cut));
            assert!(text(&cut).contains("record 11: the log ends before it"), "{}", text(&cut));
        }
    }

    #[tokio::test]
    async fn a_foreign_bundle_does_not_vouch_for_the_log() {
        let log = Log::new().await;
        let other = crate::support::Pki::new(seb::attribute_certificate::SignatureAlgorithm::Ed25519);
        fs::write(log.folder.path().join("other.pem"), other.root.pem()).unwrap();
        let verified = log.on_store(&["verify", "--bundle", "other.pem"]);
        assert!(!holds(&verified));
        assert!(text(&verified).contains("record 1: the identity of"), "{}", text(&verified));
    }

    #[tokio::test]
    async fn records_are_listed_by_what_they_are_about() {
        let log = Log::new().await;
        fs::write(log.folder.path().join("log.jsonl"), log.export(&["--without-artefacts"])).unwrap();
        let numbers = |from: [&str; 2], words: &[&str]| -> Vec<u64> {
            let listed = json(&log.run(&[&["list", "--output", "json"], &from[..], words].concat()));
            listed["records"].as_array().unwrap().iter().map(|record| record["number"].as_u64().unwrap()).collect()
        };
        for from in [["--store", "log/seb.db"], ["--file", "log.jsonl"]] {
            assert_eq!(numbers(from, &[]), (1..=10).collect::<Vec<_>>());
            assert_eq!(numbers(from, &["--kind", "decision"]), [3, 5, 6, 7, 9, 10]);
            assert_eq!(numbers(from, &["--decision", "deny", "--limit", "2"]), [5, 6]);
            assert_eq!(numbers(from, &["--reason", "drift_field"]), [6]);
            assert_eq!(numbers(from, &["--state", "succeeded", "--after", "4"]), [8]);
            assert_eq!(numbers(from, &["--resource", "services/checkout", "--target", "sandbox"]), [3, 4, 5, 6, 7, 8]);
            assert_eq!(numbers(from, &["--since", "2026-11-24T09:30:01Z", "--kind", "outcome"]), [4, 8]);
            assert_eq!(numbers(from, &["--until", "2026-11-24T09:29:59Z"]), [1, 2]);
            assert_eq!(numbers(from, &["--agent", "spiffe://example.org/nobody"]), [] as [u64; 0]);
        }
        let listed = text(&log.on_store(&["list", "--limit", "3"]));
        let lines: Vec<&str> = listed.lines().collect();
        assert_eq!(lines.len(), 5, "{listed}");
        assert!(lines[0].starts_with("number  time"), "{listed}");
        assert!(lines[3].contains("allow") && lines[3].contains("services/checkout"), "{listed}");
        assert_eq!(lines[4], "more: --after 3");
    }

    #[tokio::test]
    async fn a_record_is_shown_with_everything_in_it() {
        let log = Log::new().await;
        let shown = text(&log.on_store(&["show", "3"]));
        for part in ["signature    good", "m-", "application/pkix-attr-cert", "00-4bf92f3577b34da6", "\"spiffe_id\""] {
            assert!(shown.contains(part), "`{part}` in {shown}");
        }
        let shown = json(&log.on_store(&["show", "3", "--output", "json"]));
        assert_eq!(shown["signed"], true);
        assert_eq!(shown["envelope"]["payloadType"], "application/vnd.in-toto+json");
        assert_eq!(shown["body"]["facts"]["broker"], crate::support::BROKER);
        assert_eq!(shown["body"]["grade"], "atomic");
        let digest = shown["artefacts"][0]["digest"].as_str().unwrap();
        let artefact = log.on_store(&["artefact", digest]);
        assert_eq!(Digest::of(&artefact.stdout).to_string(), digest);
        assert_eq!(log.on_store(&["show", "99"]).status.code(), Some(2));
        assert_eq!(log.run(&["list"]).status.code(), Some(2), "neither store nor file");
        assert_eq!(log.run(&["verify", "--store", "nothing.db"]).status.code(), Some(2));
        assert!(!Path::new("nothing.db").exists());
    }

    #[tokio::test]
    async fn i8_whatever_is_done_to_an_export_is_said_with_its_record() {
        let log = Log::new().await;
        let lines: Vec<String> = log.export(&["--without-artefacts"]).lines().map(str::to_owned).collect();
        let file = log.folder.path().join("bad.jsonl");
        let verify = |lines: &[String]| {
            fs::write(&file, lines.join("\n")).unwrap();
            let verified = log.run(&["verify", "--file", "bad.jsonl"]);
            (holds(&verified), text(&verified))
        };
        assert!(verify(&lines).0);
        let (mut removed, mut swapped, mut changed) = (lines.clone(), lines.clone(), lines.clone());
        removed.remove(4);
        swapped.swap(6, 7);
        changed[5] = changed[5].replacen("eyJ", "eyK", 1);
        for (lines, place) in
            [(removed, "record 5: number 6"), (swapped, "record 7: number 8"), (changed, "record 6: ")]
        {
            let (holds, shown) = verify(&lines);
            assert!(!holds);
            assert!(shown.contains(place), "`{place}` in {shown}");
        }
        // Renumbered, so that only the signature tells.
        let mut renumbered = lines.clone();
        renumbered.remove(4);
        for (number, line) in (1_u64..).zip(&mut renumbered) {
            let mut value: Value = serde_json::from_str(line).unwrap();
            value["number"] = number.into();
            *line = value.to_string();
        }
        let (holds, shown) = verify(&renumbered);
        assert!(!holds && shown.contains("record 5: "), "{shown}");
        fs::write(&file, "{}\n").unwrap();
        assert_eq!(log.run(&["verify", "--file", "bad.jsonl"]).status.code(), Some(2));
    }

    #[tokio::test]
    async fn i8_whatever_is_done_to_a_store_is_said_with_its_record() {
        let log = Log::new().await;
        log.world.store.close().await;
        let original = fs::read(log.store()).unwrap();
        for (change, place) in [
            ("DELETE FROM record WHERE number = 10", None),
            ("DELETE FROM record WHERE number = 5", Some("record 5: ")),
            ("UPDATE record SET envelope = replace(envelope, 'eyJ', 'eyK') WHERE number = 4", Some("record 4: ")),
            ("UPDATE record SET digest = zeroblob(32) WHERE number = 7", Some("record 7: ")),
        ] {
            fs::write(log.store(), &original).unwrap();
            let path = log.store();
            let mut connection = SqliteConnection::connect(path.to_str().unwrap()).await.unwrap();
            // Whoever has the file has its triggers, too.
            for trigger in ["record_stays", "record_remains"] {
                let drop = format!("DROP TRIGGER {trigger}");
                sqlx::query(sqlx::AssertSqlSafe(drop)).execute(&mut connection).await.unwrap();
            }
            sqlx::query("PRAGMA foreign_keys = OFF").execute(&mut connection).await.unwrap();
            sqlx::query(change).execute(&mut connection).await.unwrap();
            connection.close().await.unwrap();
            let verified = log.on_store(&["verify"]);
            match place {
                Some(place) => {
                    assert!(!holds(&verified), "{change}");
                    assert!(text(&verified).contains(place), "{}", text(&verified));
                }
                // Only what was kept shows that the end is gone.
                None => assert!(holds(&verified)),
            }
        }
    }

    #[tokio::test]
    async fn i7_a_decision_that_is_another_one_is_said_with_its_place() {
        let log = Log::new().await;
        // Another signed log, whose record 5 claims that the denied call was allowed by other ceilings: the artefacts are
        // the same, the decision is not.
        let folder = tempfile::tempdir().unwrap();
        let world = World::new(&folder.path().join("log/seb.db")).await;
        world.run_falsely(2, 45).await;
        let verified = Command::new(env!("CARGO_BIN_EXE_seb"))
            .args(["records", "replay", "--store"])
            .arg(folder.path().join("log/seb.db"))
            .output()
            .unwrap();
        assert!(!holds(&verified));
        let shown = text(&verified);
        assert!(shown.contains("record 3: another decision: `/denials/0/detail` is"), "{shown}");
        // Without its artefacts a decision cannot be derived.
        fs::write(log.folder.path().join("bare.jsonl"), log.export(&["--without-artefacts"])).unwrap();
        let bare = log.run(&["replay", "--file", "bare.jsonl"]);
        assert!(!holds(&bare) && text(&bare).contains("is not there"), "{}", text(&bare));
    }

    /// The statement of a record, and the artefacts that it names.
    async fn taken(log: &Log, number: u64) -> (Statement, BTreeMap<Digest, Vec<u8>>) {
        let store = &log.world.store;
        let statement = Statement::from_envelope(&store.record(number).await.unwrap().unwrap().envelope).unwrap();
        let mut artefacts = BTreeMap::new();
        for reference in &statement.artefacts {
            let artefact = store.artefact(reference.digest).await.unwrap().unwrap();
            artefacts.insert(reference.digest, artefact.octets().to_vec());
        }
        (statement, artefacts)
    }

    fn replayed(statement: &Statement, artefacts: &BTreeMap<Digest, Vec<u8>>) -> Result<Replayed, ReplayError> {
        replay(statement, &mut |digest| artefacts.get(digest).cloned())
    }

    #[tokio::test]
    async fn i7_a_replay_takes_the_very_artefacts_and_facts() {
        let log = Log::new().await;
        for number in [3, 5, 9, 10] {
            let (statement, artefacts) = taken(&log, number).await;
            assert_eq!(replayed(&statement, &artefacts), Ok(Replayed::Equal));
            assert!(artefacts.len() >= 4, "{number}");
            for digest in artefacts.keys() {
                let mut fewer = artefacts.clone();
                fewer.remove(digest);
                let error = replayed(&statement, &fewer).unwrap_err();
                assert!(matches!(error, ReplayError::Missing { digest: missing, .. } if missing == *digest), "{error}");
                let mut forged = artefacts.clone();
                forged.get_mut(digest).unwrap().push(0);
                assert_eq!(replayed(&statement, &forged), Err(ReplayError::Forged(*digest)));
            }
        }
        // Facts that were changed give another decision, or are no facts.
        let (statement, artefacts) = taken(&log, 3).await;
        let text = statement.body.to_canonical();
        for (from, to) in [
            ("\"age_ms\":20", "\"age_ms\":5000"),
            ("\"consumed\":0", "\"consumed\":1"),
            ("\"/replicas\":20", "\"/replicas\":21"),
            ("\"now\":\"2026-11-24T09:30:00Z\"", "\"now\":\"2027-11-24T09:30:00Z\""),
            ("\"ordinal\":1", "\"ordinal\":2"),
            ("\"status\":\"proven\"", "\"status\":\"broken\""),
        ] {
            assert!(text.contains(from), "{from}");
            let mut changed = statement.clone();
            changed.body = Json::parse(text.replace(from, to).as_bytes()).unwrap();
            assert!(replayed(&changed, &artefacts).is_err(), "{to}");
        }
        // Another bundle than the recorded one, and a record of another kind.
        let mut changed = statement.clone();
        let Some(bundle) = statement.body.get("certified").and_then(|by| by.get("bundle")?.as_str()) else { panic!() };
        let other = Digest::of(b"other").to_string();
        changed.body = Json::parse(text.replace(bundle, &other).as_bytes()).unwrap();
        assert_eq!(replayed(&changed, &artefacts), Err(ReplayError::Bundle));
        let (outcome, _) = taken(&log, 4).await;
        assert_eq!(replayed(&outcome, &artefacts), Err(ReplayError::Kind(Kind::Outcome)));
    }

    #[tokio::test]
    async fn i5_no_identity_outlives_its_permit() {
        let log = Log::new().await;
        let (mut statement, artefacts) = taken(&log, 3).await;
        let Some(identity) = statement.body.get("identity").map(Json::to_canonical) else { panic!() };
        let late = statement.body.to_canonical().replace(&identity, &identity.replace("\"2026-", "\"2027-"));
        statement.body = Json::parse(late.as_bytes()).unwrap();
        let error = replayed(&statement, &artefacts).unwrap_err();
        assert!(matches!(error, ReplayError::Identity { .. }), "{error}");
    }

    #[tokio::test]
    async fn i7_large_facts_are_an_artefact_and_are_replayed_all_the_same() {
        let log = Log::new().await;
        log.world.run_with_large_facts(5).await;
        let (statement, artefacts) = taken(&log, 11).await;
        assert!(statement.body.get("facts").and_then(Json::as_str).is_some(), "a digest in their place");
        assert_eq!(replayed(&statement, &artefacts), Ok(Replayed::Equal));
        let replayed = log.on_store(&["replay"]);
        assert!(holds(&replayed), "{}", text(&replayed));
    }

    #[tokio::test]
    async fn what_is_too_large_to_be_kept_is_said_to_be() {
        let log = Log::new().await;
        log.world.refuse(&vec![0x30; 200_000]).await;
        let (statement, artefacts) = taken(&log, 11).await;
        assert!(artefacts.is_empty());
        assert_eq!(replayed(&statement, &artefacts), Ok(Replayed::NotKept));
        let replayed = log.on_store(&["replay", "--output", "json"]);
        assert!(holds(&replayed));
        assert_eq!(json(&replayed)["not_kept"], 1);
    }
}
