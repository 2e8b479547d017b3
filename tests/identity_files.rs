//! I5: the private key of an execution identity is nowhere but in the memory of the broker that uses it.
//!
//! Production, authority and broker run as the processes that they are, with all of their logging on. While a mutation is
//! under way, the broker is stopped and its memory read from outside: the key of this mutation's identity is found there.
//! When the mutation is settled, that number is looked for in every file that any of them wrote and in the memory of all
//! of them, in every form that is likely.

#![cfg(target_os = "linux")]

#[cfg(test)]
#[path = "support/memory.rs"]
mod memory;

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::{BufRead, BufReader};
    use std::os::unix::fs::PermissionsExt;
    use std::path::{Path, PathBuf};
    use std::process::{Child, Command, Stdio};
    use std::time::Duration;

    use base64ct::{Base64, Encoding};
    use der::Decode;
    use serde_json::Value;
    use x509_cert::Certificate;

    use crate::memory::{find_scalar, found, memory, traces};

    const PATIENCE: Duration = Duration::from_secs(120);
    const SEB: &str = env!("CARGO_BIN_EXE_seb");
    const SAB: &str = env!("CARGO_BIN_EXE_sab");

    /// Everybody, in one folder.
    struct World {
        folder: tempfile::TempDir,
        processes: Vec<Child>,
    }

    impl Drop for World {
        fn drop(&mut self) {
            for process in &mut self.processes {
                let _ = process.kill();
                let _ = process.wait();
            }
        }
    }

    /// Tries until there is something.
    fn until<T>(what: &str, mut attempt: impl FnMut() -> Option<T>) -> T {
        let begun = seb::clock::instant();
        loop {
            if let Some(found) = attempt() {
                return found;
            }
            assert!(begun.elapsed() < PATIENCE, "waited in vain for {what}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    impl World {
        fn path(&self, name: &str) -> PathBuf {
            self.folder.path().join(name)
        }

        /// Runs a command to its end; what it said.
        fn run(&self, program: &str, words: &[&str]) -> (bool, Value) {
            let mut command = Command::new(program);
            let output =
                command.args(["--output", "json"]).args(words).current_dir(self.folder.path()).output().unwrap();
            let said = String::from_utf8(output.stdout).unwrap();
            let last = said.lines().last().and_then(|line| serde_json::from_str(line).ok());
            (output.status.success(), last.unwrap_or(Value::Null))
        }

        /// Starts a process; what it says when it serves.
        fn start(&mut self, program: &str, words: &[&str]) -> Value {
            let log = fs::File::create(self.path(&format!("{}.log", words[0]))).unwrap();
            let mut command = Command::new(program);
            let command = command.args(["--output", "json"]).args(words).current_dir(self.folder.path());
            let mut child = command.stdout(Stdio::piped()).stderr(log).spawn().unwrap();
            let mut line = String::new();
            BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
            self.processes.push(child);
            let log = self.path(&format!("{}.log", words[0]));
            serde_json::from_str(&line).unwrap_or_else(|_| panic!("{words:?}: {}", fs::read_to_string(log).unwrap()))
        }

        /// A configuration of the demonstration, with these texts in place of those, and everything logged.
        fn configure(&self, name: &str, replaced: &[(&str, &str)]) {
            let root = Path::new(env!("CARGO_MANIFEST_DIR"));
            let mut text = fs::read_to_string(root.join("examples/demo").join(name)).unwrap();
            text = text.replace("../../policies/default", root.join("policies/default").to_str().unwrap());
            for (old, new) in replaced {
                text = text.replace(old, new);
            }
            let logged = if name == "sandbox.toml" { "" } else { "\n[log]\nlevel = \"trace\"\n" };
            fs::write(self.path(name), text + logged).unwrap();
        }

        /// Production, authority and broker, in this order; where they are.
        fn begin() -> (Self, [String; 3]) {
            let folder = tempfile::tempdir().unwrap();
            fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o700)).unwrap();
            let mut world = Self { folder, processes: Vec::new() };
            assert!(world.run(SEB, &["trust-domain", "init", "domain", "--trust-domain", "example.org"]).0);
            for (folder, path) in [
                ("broker", "seb"),
                ("authority", "sab"),
                ("production", "production"),
                ("agent", "agent/planner"),
                ("operator", "operator"),
            ] {
                let id = format!("spiffe://example.org/{path}");
                let mut words = vec!["trust-domain", "issue", "domain", "--id", &id, "--out", folder];
                words.extend((folder == "broker").then_some("--execution-ca"));
                assert!(world.run(SEB, &words).0);
            }
            let free = "127.0.0.1:0";
            world.configure("sandbox.toml", &[("127.0.0.1:7445", free)]);
            let said = world.start(SEB, &["sandbox", "--config", "sandbox.toml", "--faults"]);
            let production = said["listening"].as_str().unwrap().to_owned();
            let own = [("127.0.0.1:7444", free), ("127.0.0.1:7481", free), ("127.0.0.1:7445", &*production)];
            world.configure("sab.toml", &own);
            let said = world.start(SAB, &["serve", "--config", "sab.toml"]);
            let authority = said["listening"].as_str().unwrap().to_owned();
            let others = [("127.0.0.1:7444", &*authority), ("127.0.0.1:7445", &*production)];
            let own = [("127.0.0.1:7443", free), ("127.0.0.1:7480", free), others[0], others[1]];
            world.configure("broker.toml", &own);
            let said = world.start(SEB, &["broker", "--config", "broker.toml"]);
            let broker = said["grpc"].as_str().unwrap().to_owned();
            (world, [production, authority, broker])
        }

        /// Every file that there is, and what it holds without spaces, line ends and their escapes.
        fn files(&self) -> Vec<(PathBuf, Vec<u8>, Vec<u8>)> {
            let mut folders = vec![self.folder.path().to_owned()];
            let mut files = Vec::new();
            while let Some(folder) = folders.pop() {
                for entry in fs::read_dir(folder).unwrap() {
                    let path = entry.unwrap().path();
                    if path.is_dir() {
                        folders.push(path);
                        continue;
                    }
                    let octets = fs::read(&path).unwrap();
                    let mut squeezed = Vec::new();
                    let mut rest = octets.as_slice();
                    while let [first, others @ ..] = rest {
                        match rest {
                            [b'\\', b'n', after @ ..] => rest = after,
                            _ => {
                                squeezed.extend((!first.is_ascii_whitespace()).then_some(*first));
                                rest = others;
                            }
                        }
                    }
                    files.push((path, octets, squeezed));
                }
            }
            files
        }

        /// In which files the number is, and how.
        fn left(&self, scalar: &[u8]) -> Vec<String> {
            let traces = traces(scalar);
            let hit = |(path, octets, squeezed): (PathBuf, Vec<u8>, Vec<u8>)| {
                let found = found([octets.as_slice(), squeezed.as_slice()], &traces);
                (!found.is_empty()).then(|| format!("{}: {found:?}", path.display()))
            };
            self.files().into_iter().filter_map(hit).collect()
        }
    }

    /// The public key of the execution identity of `mutation`, from its certificate in this memory.
    fn point(memory: &[Vec<u8>], mutation: &str) -> Option<Vec<u8>> {
        let name = format!("/seb/execution/{mutation}");
        for area in memory {
            for at in (0..area.len()).filter(|at| area[*at..].starts_with(name.as_bytes())) {
                for begin in (at.saturating_sub(1500)..at).rev() {
                    let [0x30, 0x82, high, low, ..] = area[begin..] else { continue };
                    let length = 4 + usize::from(high) * 256 + usize::from(low);
                    let octets = area.get(begin..begin + length).unwrap_or_default();
                    if let Ok(certificate) = Certificate::from_der(octets) {
                        let info = certificate.tbs_certificate().subject_public_key_info();
                        return Some(info.subject_public_key.raw_bytes().to_vec());
                    }
                }
            }
        }
        None
    }

    fn signal(process: u32, signal: &str) {
        assert!(Command::new("kill").args([signal, &process.to_string()]).status().unwrap().success());
    }

    /// What somebody could have left of a key, each as a file.
    fn controls(scalar: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
        let sec1 = [&[0x30, 0x31, 0x02, 0x01, 0x01, 0x04, 0x20], scalar, &[0xa0, 0x0a, 0x06, 0x08]].concat();
        let text = Base64::encode_string(&sec1);
        let lines: Vec<&str> = text.as_bytes().chunks(24).map(|line| std::str::from_utf8(line).unwrap()).collect();
        let hex = |between: &str| scalar.iter().map(|octet| format!("{octet:02x}")).collect::<Vec<_>>().join(between);
        vec![
            ("raw", [b"log: ", scalar, b"\n"].concat()),
            ("der", sec1.clone()),
            ("pem", lines.join("\n").into_bytes()),
            ("json", format!("{{\"key\":\"{}\"}}", lines.join("\\n")).into_bytes()),
            ("hex", hex("").to_uppercase().into_bytes()),
            ("colons", hex(":").into_bytes()),
            ("debug", format!("{scalar:#?}").into_bytes()),
        ]
    }

    #[test]
    fn i5_no_key_of_an_execution_is_left_in_any_file() {
        let (mut world, [production, authority, broker]) = World::begin();
        let to = |server: &str, who: &str, identity: &str| {
            ["--server", server, "--server-id", who, "--identity", identity].map(str::to_owned)
        };
        let run = |world: &World, words: &[&str], to: &[String; 6]| {
            let words: Vec<&str> = words.iter().copied().chain(to.iter().map(String::as_str)).collect();
            world.run(SEB, &words)
        };
        let to_production = to(&production, "spiffe://example.org/production", "operator");
        let to_authority = to(&authority, "spiffe://example.org/sab", "agent");
        let to_broker = to(&broker, "spiffe://example.org/seb", "agent");
        let proposal = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/demo/scale.yaml");
        until("the certificate", || {
            run(&world, &["agent", "propose", proposal, "--out", "scale.pem"], &to_authority).0.then_some(())
        });
        let check = ["agent", "execute", "scale.pem", "--set", "/replicas=20", "--check"];
        until("the epochs", || run(&world, &check, &to_broker).0.then_some(()));
        // Production applies it, and does not answer.
        assert!(run(&world, &["sandbox", "fault", r#"{"fault":"stall_after"}"#], &to_production).0);
        let execute = ["agent", "execute", "scale.pem", "--set", "/replicas=20"];
        let asking = Command::new(SEB).args(execute).args(&to_broker).current_dir(world.folder.path()).spawn();
        world.processes.push(asking.unwrap());
        let mutation = until("the mutation", || {
            let log = fs::read_to_string(world.path("production.log")).unwrap();
            let line = log.lines().find(|line| line.contains("\"applied\""))?;
            serde_json::from_str::<Value>(line).unwrap()["mutation_id"].as_str().map(str::to_owned)
        });
        let process = world.processes[2].id();
        signal(process, "-STOP");
        let alive = memory(process);
        let point = point(&alive, &mutation).expect("its certificate is there while it is used");
        let scalar = find_scalar(&alive, &point).expect("its key is there while it is used");
        drop(alive);
        assert!(world.left(&scalar).is_empty(), "{:?}", world.left(&scalar));
        signal(process, "-CONT");
        let status = ["agent", "status", &mutation];
        until("the outcome", || {
            let (_, said) = run(&world, &status, &to_broker);
            (said["state"] == "reconciled_applied").then_some(())
        });

        // Everything that they wrote is looked through: what belongs there is found, and the key is not.
        let files = world.files();
        for (name, text) in
            [("broker.db", "decision"), ("production.log", &*mutation), ("authority-records.db", "admission")]
        {
            let holds = |path: &Path, octets: &[u8]| {
                path.file_name().is_some_and(|file| file.to_string_lossy().starts_with(name))
                    && octets.windows(text.len()).any(|window| window == text.as_bytes())
            };
            assert!(files.iter().any(|(path, octets, _)| holds(path, octets)), "{name} is not looked through");
        }
        for name in ["broker.log", "serve.log"] {
            assert!(fs::metadata(world.path(name)).unwrap().len() > 0, "{name} is empty");
        }
        assert!(world.left(&scalar).is_empty(), "{:?}", world.left(&scalar));
        for process in &world.processes[..3] {
            let found = found(memory(process.id()).iter().map(Vec::as_slice), &traces(&scalar));
            assert!(found.is_empty(), "in the memory of {}: {found:?}", process.id());
        }
        // And it would have been found.
        for (form, octets) in controls(&scalar) {
            let path = world.path("control");
            fs::write(&path, octets).unwrap();
            assert_eq!(world.left(&scalar).len(), 1, "a key left as {form} is not found");
            fs::remove_file(path).unwrap();
        }
    }
}
