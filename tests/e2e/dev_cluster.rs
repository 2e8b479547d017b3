//! `make dev-cluster`: the same servers for a person, who is told what to type.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::install::example;
use crate::testbed::{PATIENCE, program};
use crate::world::{Options, World};

/// What a person can type, by what it shows. Those below a heading that says `refused` end with another status than 0.
const COMMANDS: &[(&str, &[&str])] = &[
    (
        "what is there; you are of `system:masters`, and can look at everything",
        &["kubectl get deployments,networkpolicies,rolebindings -n shop"],
    ),
    (
        "refused: going round the broker, even so",
        &[
            "kubectl scale -n shop deployments/checkout --replicas=9",
            "kubectl delete -n shop rolebindings/mallory-edits",
        ],
    ),
    (
        "an agent proposes, and executes what was admitted",
        &[
            "seb agent propose EXAMPLES/scale.yaml TO_AUTHORITY --identity deployer --out scale.pem",
            "seb agent execute scale.pem --set /spec/replicas=20 --idempotency-key morning TO_BROKER --identity deployer",
            "kubectl get deployments -n shop checkout -o yaml",
        ],
    ),
    (
        "refused: a value out of bounds, and another agent's certificate",
        &[
            "seb agent execute scale.pem --set /spec/replicas=51 --idempotency-key noon TO_BROKER --identity deployer",
            "seb agent execute scale.pem --idempotency-key noon TO_BROKER --identity responder",
        ],
    ),
    (
        "an image rollout: asked whether it would be performed, and performed",
        &[
            "seb agent propose EXAMPLES/rollout.yaml TO_AUTHORITY --identity deployer --out rollout.pem",
            "seb agent execute rollout.pem --check TO_BROKER --identity deployer",
            "seb agent execute rollout.pem TO_BROKER --identity deployer",
        ],
    ),
    (
        "incident response",
        &[
            "seb agent propose EXAMPLES/isolate.yaml TO_AUTHORITY --identity responder --out isolate.pem",
            "seb agent execute isolate.pem TO_BROKER --identity responder",
            "seb agent propose EXAMPLES/revoke.yaml TO_AUTHORITY --identity responder --out revoke.pem",
            "seb agent execute revoke.pem TO_BROKER --identity responder",
        ],
    ),
    (
        "the records of the broker, and its decisions derived again from them",
        &[
            "seb records list --store seb/store/broker.db",
            "seb records verify --store seb/store/broker.db --artefacts",
            "seb records replay --store seb/store/broker.db",
        ],
    ),
    (
        "the kill switch: every certificate of before is refused from now on",
        &["sab revoke --everything --cause enough TO_AUTHORITY --identity operator"],
    ),
];

/// What is printed when everything runs: lines that begin with two spaces are for typing, or comments.
fn told(world: &World) -> String {
    let folder = world.folder.path().display();
    let beside = |program: PathBuf| program.parent().unwrap().display().to_string();
    let path = [
        beside(PathBuf::from(env!("CARGO_BIN_EXE_seb"))),
        beside(program("kubernetes", "kubectl")),
        beside(program("spire", "spire-server")),
        beside(program("helm", "helm")),
    ];
    let examples = example("");
    let examples = examples.to_str().unwrap().trim_end_matches('/');
    let authority = format!("--server {} --server-id {}", world.ports.authority, world.spire.id("sab"));
    let broker = format!("--server {} --server-id {}", world.ports.broker, world.spire.id("seb"));
    let mut text = format!(
        "\nEverything runs, for 12 hours or until you press control-C here. In another terminal:\n\n  \
         cd {folder}; export PATH={}:$PATH KUBECONFIG={}\n",
        path.join(":"),
        world.cluster.kubeconfig().display()
    );
    for (heading, commands) in COMMANDS {
        writeln!(text, "\n  # {heading}").unwrap();
        for command in *commands {
            let command = command.replace("EXAMPLES", examples);
            let command = command.replace("TO_AUTHORITY", &authority).replace("TO_BROKER", &broker);
            writeln!(text, "  {command}").unwrap();
        }
    }
    writeln!(text, "\nThe logs are seb/seb.log, sab/sab.log, kubernetes/*.log and spire-example.org/*.log there.")
        .unwrap();
    text
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "started by scripts/dev-cluster, and by another test"]
async fn child_that_is_a_cluster() {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut interrupted, mut ended) =
        (signal(SignalKind::interrupt()).unwrap(), signal(SignalKind::terminate()).unwrap());
    let running = async {
        let options = Options { examples: true, controllers: true, ..Options::default() };
        let world = World::new(&options).await;
        print!("{}", told(&world));
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = running => {}
        _ = interrupted.recv() => {}
        _ = ended.recv() => {}
    }
    println!("everything was stopped");
}

/// The process that `scripts/dev-cluster` becomes.
struct Started(Child);

impl Drop for Started {
    fn drop(&mut self) {
        // An error means that it is gone.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[test]
fn what_is_told_to_be_typed_works_and_an_interrupt_stops_everything() {
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--ignored", "--exact", "dev_cluster::child_that_is_a_cluster", "--nocapture"]);
    let mut child = Started(child.stdout(Stdio::piped()).spawn().unwrap());
    let mut lines = BufReader::new(child.0.stdout.take().unwrap()).lines().map(Result::unwrap);
    let setup = lines.find(|line| line.starts_with("  cd ")).expect("it starts");
    let folder = setup.trim_start().strip_prefix("cd ").and_then(|rest| rest.split_once(';')).unwrap().0.to_owned();
    let mut refused = false;
    let mut typed = 0;
    for line in lines.by_ref().take_while(|line| !line.starts_with("The logs")) {
        match line.strip_prefix("  ") {
            Some(comment) if comment.starts_with('#') => refused = comment.starts_with("# refused"),
            Some(command) => {
                typed += 1;
                let shell =
                    Command::new("sh").args(["-c", &format!("{setup}\n{command}")]).env("HOME", &folder).output();
                let output = shell.unwrap();
                assert_eq!(output.status.success(), !refused, "{command}: {output:?}");
            }
            None => {}
        }
    }
    assert_eq!(typed, COMMANDS.iter().map(|(_, commands)| commands.len()).sum::<usize>());
    let id = child.0.id().to_string();
    assert!(Command::new("kill").args(["-INT", &id]).status().unwrap().success());
    assert!(lines.any(|line| line == "everything was stopped"));
    let end = tokio::time::Instant::now() + PATIENCE;
    let status = loop {
        if let Some(status) = child.0.try_wait().unwrap() {
            break status;
        }
        assert!(tokio::time::Instant::now() < end, "it does not end");
        std::thread::sleep(std::time::Duration::from_millis(20));
    };
    assert!(status.success(), "{status}");
    assert!(!Path::new(&folder).exists(), "{folder} is left over");
}
