use std::time::Duration;

use super::broker::BrokerConfig;
use super::execution::ExecutionConfig;
use super::server::GrpcLimits;
use super::*;
use crate::identity::Source;
use crate::identity::spire::SpireServer;
use crate::identity::workload::WorkloadApi;

const MINIMAL: &str = r#"
[identity]
folder = "id"
[store]
path = "broker.db"
record_key = "record-key.pem"
"#;

fn broker(text: &str) -> Result<BrokerConfig, InvalidConfig> {
    parse(text, "dir/broker.toml", Files::Ignore, BrokerConfig::read)
}

#[track_caller]
fn problems(text: &str) -> String {
    broker(text).unwrap_err().to_string()
}

#[test]
fn what_is_left_out_has_its_default() {
    let config = broker(MINIMAL).unwrap();
    assert_eq!(config.grpc.limits, GrpcLimits::default());
    assert_eq!(config.grpc.listen.to_string(), "127.0.0.1:7443");
    assert_eq!(config.grpc.drain, Duration::from_secs(30));
    assert!(config.http.listen.ip().is_loopback());
    assert_eq!(config.identity.folder(), Some(Path::new("dir/id")));
    assert_eq!(config.execution, ExecutionConfig::Embedded(PathBuf::from("dir/id")));
    assert_eq!(config.store.path, Path::new("dir/broker.db"));
    assert_eq!(config.roles, crate::grpc::access::Roles::default(), "nobody has a role");
    assert_eq!(config.ceilings, crate::ceiling::Ceilings::default(), "nothing is allowed");
}

#[test]
fn every_error_is_told_at_once_with_its_place() {
    let text = r#"
[identity]
foler = "id"

[grpc]
listen = "localhost"
drain = "2d"
[grpc.limits]
queue = 0
message_octets = 5
header_octets = "1GiB"

[[targets]]
name = "Prod"
kind = "mainframe"
address = "host:0"
server_id = "spiffe://Example.org/x"
read_before = "yes"

[roles]
agents = ["spiffe://example.org/a", "spiffe://example.org/a", 7]
[log]
format = "xml"
"#;
    let expected = [
        "dir/broker.toml:1:1: `store.path`: is missing; expected the path of a file, in a folder that exists or can be made in one that does",
        "dir/broker.toml:1:1: `store.record_key`: is missing; expected the path of a file, in a folder that exists",
        "dir/broker.toml:2:2: `identity.folder`: is missing; expected the path of a folder",
        "dir/broker.toml:3:1: `identity.foler`: there is no such key; did you mean `folder`?",
        "dir/broker.toml:6:10: `grpc.listen`: expected an address and port, such as `127.0.0.1:8443`; found another text",
        "dir/broker.toml:7:9: `grpc.drain`: expected a duration, such as `250ms` or `30s`, from 0s to 10m; found 2d",
        "dir/broker.toml:9:9: `grpc.limits.queue`: expected an integer from 1 to 65536; found 0",
        "dir/broker.toml:10:18: `grpc.limits.message_octets`: expected a size, such as `64KiB` or `8MiB`, from 64KiB to 64MiB; found an integer",
        "dir/broker.toml:11:17: `grpc.limits.header_octets`: expected a size, such as `64KiB` or `8MiB`, from 4KiB to 256KiB; found 1GiB",
        "dir/broker.toml:14:8: `targets[0].name`: expected the name of a target: lower-case letters, digits and dashes; found another text",
        "dir/broker.toml:15:8: `targets[0].kind`: expected `sandbox`, `kubernetes` or `aws`; found another text",
        "dir/broker.toml:16:11: `targets[0].address`: expected a host and a port, such as `sab.example.org:8443`; found another text",
        "dir/broker.toml:17:13: `targets[0].server_id`: expected a SPIFFE ID in its normal form, such as `spiffe://example.org/agent/a`; found another text",
        "dir/broker.toml:18:15: `targets[0].read_before`: expected `true` or `false`; found another text",
        "dir/broker.toml:21:37: `roles.agents[1]`: is in the list already",
        "dir/broker.toml:21:63: `roles.agents[2]`: expected a SPIFFE ID, or a prefix of one segment more, such as `spiffe://example.org/agent/*`; found an integer",
        "dir/broker.toml:23:10: `log.format`: expected `text` or `json`; found another text",
    ];
    let found = problems(text);
    assert_eq!(found.lines().collect::<Vec<_>>(), expected, "{found}");
}

#[test]
fn identities_come_from_a_folder_or_from_spire() {
    const STORE: &str = "store.path = \"b.db\"\nstore.record_key = \"k.pem\"\n";
    const SOCKET: &str = "identity.source = \"workload-api\"\nidentity.socket = \"unix:/run/agent.sock\"\n";
    const SERVER: &str =
        "execution.server_address = \"spire:8081\"\nexecution.server_id = \"spiffe://example.org/spire/server\"\n";
    let server = SpireServer {
        address: "spire:8081".parse().unwrap(),
        id: spiffe::SpiffeId::new("spiffe://example.org/spire/server").unwrap(),
    };
    let read = |more: &[&str]| broker(&format!("{STORE}{}", more.concat()));
    let config = read(&[SOCKET, SERVER, "execution.issuer = \"spire-mint\"\nidentity.hint = \"internal\"\n"]).unwrap();
    let socket = "unix:/run/agent.sock".parse().unwrap();
    let expected = WorkloadApi { socket, id: None, hint: Some("internal".to_owned()) };
    assert_eq!(config.identity.source, Source::WorkloadApi(expected));
    assert_eq!(config.execution, ExecutionConfig::SpireMint(server.clone()));
    let config = read(&[SOCKET, SERVER, "execution.issuer = \"spire-downstream\"\n"]).unwrap();
    assert_eq!(config.execution, ExecutionConfig::SpireDownstream(server));
    let config = read(&[SOCKET, "identity.execution_ca = \"ca\"\n"]).unwrap();
    assert_eq!(config.execution, ExecutionConfig::Embedded(PathBuf::from("dir/ca")));

    let (folder, mint) = ("identity.folder = \"id\"\n", "execution.issuer = \"spire-mint\"\n");
    for (more, expected) in [
        (&[SOCKET][..], "`execution`: the embedded issuer has no execution CA; name the folder"),
        (&[SOCKET, SERVER], "`execution.server_address`: is for the issuers"),
        (&[SOCKET, mint], "`execution.server_address`: is missing"),
        (&[SOCKET, mint], "`execution.server_id`: is missing"),
        (
            &[SOCKET, SERVER, mint, folder],
            "`identity.folder`: is for the source `folder`, and the source is `workload-api`",
        ),
        (&[folder, "identity.hint = \"a\"\n"], "`identity.hint`: is for the source `workload-api`"),
        (&["identity.source = \"workload-api\"\n"], "`identity.socket`: is missing"),
        (&["identity.source = \"agent\"\n"], "`identity.source`: expected `folder` or `workload-api`"),
        (
            &["identity.source = \"workload-api\"\nidentity.socket = \"a.sock\"\n"],
            "`identity.socket`: expected the address",
        ),
        (&[SOCKET, "identity.hint = \"\"\n"], "`identity.hint`: expected a text of 1 to 256"),
        (
            &[
                SOCKET,
                SERVER,
                "execution.issuer = \"spire-downstream\"\n",
                "[[authorities]]\nid = \"spiffe://example.org/sab\"\naddress = \"sab:7543\"\n",
            ],
            "the broker could mint the SVID of `spiffe://example.org/sab` itself, by its intermediate CA; let the server",
        ),
    ] {
        let found = read(more).unwrap_err().to_string();
        assert!(found.contains(expected), "{expected}: {found}");
    }
}

#[test]
fn a_bundle_endpoint_is_authenticated_in_one_of_two_ways() {
    let read = |more: &str| {
        let url = "trust_domain = \"sab.org\"\nurl = \"https://sab.org/bundle\"";
        broker(&format!("{MINIMAL}[[bundle_endpoints]]\n{url}\n{more}"))
    };
    let (web, spiffe) = ("profile = \"https_web\"\n", "profile = \"https_spiffe\"\n");
    let (roots, id) = ("web_roots = \"roots.pem\"\n", "server_id = \"spiffe://sab.org/spire/server\"\n");
    for good in [[web, roots], [spiffe, id]] {
        assert_eq!(read(&good.concat()).unwrap().bundle_endpoints.len(), 1);
    }
    for (bad, expected) in [
        (web.to_owned(), "`bundle_endpoints[0].web_roots`: is missing"),
        (spiffe.to_owned(), "`bundle_endpoints[0].server_id`: is missing"),
        ([web, roots, id].concat(), "`bundle_endpoints[0].server_id`: is for the profile `https_spiffe`"),
        ([spiffe, roots, id].concat(), "`bundle_endpoints[0].web_roots`: is for the profile `https_web`"),
        (roots.to_owned(), "`bundle_endpoints[0].profile`: is missing"),
    ] {
        let found = read(&bad).unwrap_err().to_string();
        assert!(found.contains(expected), "{expected}: {found}");
    }
}

#[test]
fn what_is_not_toml_is_told_with_every_place() {
    let found = problems("a = \n[b\nc = 'x\n");
    let lines: Vec<_> = found.lines().collect();
    assert!(lines.len() >= 2 && lines.iter().all(|line| line.contains("not TOML")), "{found}");
    assert!(lines[0].starts_with("dir/broker.toml:1:"), "{found}");
}

#[test]
fn names_that_lead_nowhere_are_refused() {
    let text = format!(
        r#"{MINIMAL}
[[authorities]]
id = "spiffe://example.org/sab"
address = "sab:8443"
[[authorities]]
id = "spiffe://example.org/sab"
address = "sab2:8443"
[[targets]]
name = "prod"
kind = "sandbox"
address = "prod:8443"
server_id = "spiffe://example.org/prod"
[ceilings.targets.prodd]
kind = "sandbox"
rules = []
[ceilings.targets.prod]
kind = "aws"
rules = []
[ceilings.authorities."spiffe://example.org/other"]
targets = ["prod"]
"#
    );
    let found = problems(&text);
    for part in [
        "`authorities`: `spiffe://example.org/sab` is there twice",
        "`targets.prodd`: there is no such target",
        "`targets.prod`: the target is of kind sandbox, not aws",
        "there is no such authority",
    ] {
        assert!(found.contains(part), "{part}\n{found}");
    }
    assert_eq!(found.lines().count(), 4, "{found}");
}

#[test]
fn ceilings_are_checked_entry_by_entry() {
    let text = format!(
        r#"{MINIMAL}
[ceilings]
max_uses = -1
[ceilings.knowledge]
staleness_ms = 100000000
boundry = "warn"
[ceilings.rates]
agent = {{ executions = 1, per_second = 60 }}
[ceilings.targets.a]
kind = "sandbox"
rules = [{{ verbs = ["fly"], resources = [] }}]
[ceilings.targets.b]
rules = 3
"#
    );
    let found = problems(&text);
    for part in [
        "`ceilings.max_uses`: expected an integer from 0 to",
        "`ceilings.knowledge.staleness_ms`: expected an integer from 0 to 86400000; found 100000000",
        "`ceilings.knowledge.boundry`: there is no such key; did you mean `boundary`?",
        "`ceilings.rates.agent`: expected a table with `executions` and `per_seconds`: unknown field `per_second`",
        "`ceilings.targets.a`: expected a table with `kind` and `rules`",
        "`ceilings.targets.b`: expected a table with `kind` and `rules`",
    ] {
        assert!(found.contains(part), "{part}\n{found}");
    }
}

#[test]
fn files_have_to_be_there_and_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("broker.toml");
    let text =
        format!("{MINIMAL}\n[trust_bundles]\n\"example.org\" = \"bundle.pem\"\n[ceilings]\nfile = \"ceilings.toml\"\n");
    std::fs::write(&path, text).unwrap();
    let found = BrokerConfig::load(&path).unwrap_err().to_string();
    for part in [
        "there is no such folder",
        "`trust_bundles.example.org`: there is no such file",
        "`ceilings.file`: there is no such file",
    ] {
        assert!(found.contains(part), "{part}\n{found}");
    }
    std::fs::create_dir(folder.path().join("id")).unwrap();
    std::fs::write(folder.path().join("bundle.pem"), "no bundle").unwrap();
    std::fs::write(folder.path().join("ceilings.toml"), "max_uses = 0\nmax_use = 1\n").unwrap();
    let found = BrokerConfig::load(&path).unwrap_err().to_string();
    for part in ["holds no usable identity", "is no trust bundle", "ceilings.toml:2:1: `max_use`: there is no such key"]
    {
        assert!(found.contains(part), "{part}\n{found}");
    }
    let missing = BrokerConfig::load(&folder.path().join("none.toml")).unwrap_err();
    assert!(matches!(missing, ConfigError::Unreadable { .. }));
}

#[test]
fn no_value_of_the_file_is_told() {
    const SECRET: &str = "hunter2-S3cr3t";
    let mut places = 0;
    for doc in BrokerConfig::describe() {
        if doc.expects.is_empty() || doc.key.contains('*') {
            continue;
        }
        // The secret in the place of every value that is not any text: as text, in a list, in a table, and unquoted.
        let key = doc.key.replace("[]", "");
        for value in
            [format!("\"{SECRET}\""), format!("[\"{SECRET}\"]"), format!("{{ x = \"{SECRET}\" }}"), SECRET.to_owned()]
        {
            if let Err(invalid) = broker(&format!("{key} = {value}\n")) {
                places += 1;
                let told = format!("{invalid} {invalid:?} {}", serde_json::to_string(invalid.problems()).unwrap());
                assert!(!told.contains(SECRET), "{told}");
            }
        }
    }
    for text in [
        format!("password = \"{SECRET}\""),
        format!("{MINIMAL}\n[ceilings.targets.a]\nkind = \"{SECRET}\"\nrules = []"),
        format!(
            "{MINIMAL}\n[ceilings.targets.a]\nkind = \"sandbox\"\nrules = [{{ verbs = [\"{SECRET}\"], resources = [\"{SECRET}[\"] }}]"
        ),
        format!("{MINIMAL}\n[ceilings.rates]\nagent = \"{SECRET}\""),
    ] {
        let told = problems(&text);
        places += 1;
        assert!(!told.contains(SECRET), "{told}");
    }
    assert!(places > 150, "{places}");
}

#[test]
fn every_default_is_one_that_the_file_could_say() {
    for doc in BrokerConfig::describe() {
        if let Presence::Default(default) = &doc.default {
            let problems = broker(&format!("{} = {default}\n", doc.key.replace("[]", ""))).err();
            let told = problems.map(|invalid| invalid.to_string()).unwrap_or_default();
            assert!(!told.contains(&format!("`{}`: expected", doc.key)), "{told}");
        }
    }
}

#[test]
fn hints_name_the_nearest_key_or_all() {
    let invalid = broker(&format!("{MINIMAL}\n[grpc]\nlsten = 1\nsomething_else = 2\n")).unwrap_err();
    let hints: Vec<_> = invalid.problems().iter().map(|problem| problem.hint.as_deref().unwrap()).collect();
    assert_eq!(hints, ["did you mean `listen`?", "known here: `listen`, `drain`, `limits`"]);
}

#[test]
fn the_example_is_read() {
    let text = include_str!("../../examples/broker.toml");
    let config =
        parse(text, "examples/broker.toml", Files::Ignore, BrokerConfig::read).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(config.targets.len(), 1);
    assert_eq!(config.ceilings.file().targets.len(), 1);
    assert!(!format!("{config:?}").contains("PRIVATE KEY"));
    let described: std::collections::BTreeSet<_> = BrokerConfig::describe().into_iter().map(|doc| doc.key).collect();
    assert!(described.contains("targets[].server_id") && described.contains("ceilings.knowledge.boundary"));
}

#[test]
fn traces_go_nowhere_in_clear_text_but_to_this_machine() {
    assert_eq!(broker(MINIMAL).unwrap().telemetry.collector, None);
    for local in ["127.0.0.1:4317", "[::1]:4317", "localhost:4317"] {
        let config = broker(&format!("{MINIMAL}[telemetry]\notlp = \"{local}\"")).unwrap();
        assert_eq!(config.telemetry.collector.unwrap().address.as_str(), local);
    }
    for other in ["collector:4317", "10.0.0.1:4317", "localhost.example.org:4317"] {
        let text = format!("{MINIMAL}[telemetry]\notlp = \"{other}\"");
        assert!(problems(&text).contains("clear text"), "{other}");
        assert!(broker(&format!("{text}\notlp_ca = \"ca.pem\"")).is_ok(), "{other}");
    }
    assert!(problems(&format!("{MINIMAL}[telemetry]\notlp_ca = \"ca.pem\"")).contains("of no use"));
    assert!(problems(&format!("{MINIMAL}[telemetry]\nsampled = 1001")).contains("telemetry.sampled"));
    assert!(problems(&format!("{MINIMAL}[telemetry]\ninstance = \"a b\"")).contains("telemetry.instance"));
}

#[test]
fn store_and_record_key_are_the_owners_alone() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let mode = |path: &Path, mode| std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    std::fs::write(path("broker.db"), "").unwrap();
    std::fs::write(path("record-key.pem"), "").unwrap();
    let found = || {
        let checked = parse(MINIMAL, path("broker.toml"), Files::Check, BrokerConfig::read).unwrap_err();
        let of_store = checked.problems().iter().filter(|problem| problem.key.starts_with("store."));
        of_store.map(|problem| (problem.key.clone(), problem.hint.clone().unwrap())).collect::<Vec<_>>()
    };
    mode(folder.path(), 0o700);
    let run = |how: &str, name: &str| format!("run `chmod {how} {}`", path(name).display());
    mode(folder.path(), 0o700);
    mode(&path("broker.db"), 0o600);
    mode(&path("record-key.pem"), 0o640);
    assert_eq!(found(), [("store.record_key".to_owned(), run("600", "record-key.pem"))]);
    mode(&path("record-key.pem"), 0o600);
    assert_eq!(found(), []);
    mode(&path("broker.db"), 0o644);
    assert_eq!(found(), [("store.path".to_owned(), run("600", "broker.db"))]);
    mode(folder.path(), 0o755);
    assert_eq!(found(), [("store.path".to_owned(), format!("run `chmod 700 {}`", folder.path().display()))]);
}

fn kubernetes(keys: &str) -> Result<BrokerConfig, InvalidConfig> {
    broker(&format!("{MINIMAL}\n[[targets]]\nname = \"prod\"\naddress = \"api:6443\"\n{keys}"))
}

#[test]
fn each_exchange_has_its_keys() {
    use super::target::Mutating;
    use crate::contract::Verb;
    use crate::target::kubernetes::{Calls, Exchange, Executor, Requester};

    let common = "kind = \"kubernetes\"\nca = \"ca.pem\"\n";
    let jwt = "exchange = \"jwt-svid\"\naudience = \"cluster\"\n";
    let projected = "exchange = \"projected-token\"\naudience = \"cluster\"\nexecutor = \"seb/executor\"\n";
    let own = "exchange = \"service-account\"\nexecutor = \"seb/executor\"\n";
    let exchange = |keys: &str| match kubernetes(&format!("{common}{keys}")).unwrap().targets[0].mutating.clone() {
        Some(Mutating::Kubernetes(exchange)) => exchange,
        other => panic!("{other:?}"),
    };
    assert!(matches!(exchange(jwt), Exchange::JwtSvid { .. }));
    let requester = |keys: &str| match exchange(keys) {
        Exchange::ProjectedToken { requester, .. } => requester,
        other => panic!("{other:?}"),
    };
    assert!(matches!(requester(projected), Requester::JwtSvid { .. }));
    let mounted = "/var/run/secrets/kubernetes.io/serviceaccount/token";
    assert_eq!(requester(own), Requester::TokenFile(mounted.into()));
    assert_eq!(requester(&format!("{own}token_file = \"t\"\n")), Requester::TokenFile("dir/t".into()));
    let certificate = "certificate_file = \"c\"\nkey_file = \"k\"\n";
    assert!(kubernetes(&format!("{common}{jwt}{certificate}")).is_ok());

    let several =
        "[[targets.executors]]\nservice_account = \"seb/shop\"\nverbs = [\"delete\"]\nresources = [\"apps/v1/**\"]\n";
    let Exchange::ProjectedToken { executors, .. } = exchange(&format!("exchange = \"service-account\"\n{several}"))
    else {
        panic!("no executors")
    };
    let calls = Calls { verbs: vec![Verb::Delete], resources: vec!["apps/v1/**".parse().unwrap()] };
    let service_account = "seb/shop".parse().unwrap();
    assert_eq!(executors, [Executor { service_account, calls: Some(calls), rehearser: None }]);

    // Who rehearses: every exchange has somebody, or is told to name one.
    let by = |account: &str| format!("{several}rehearser = \"{account}\"\n");
    let account = "exchange = \"service-account\"\n";
    let Exchange::ProjectedToken { executors, .. } = exchange(&format!("{account}dry_run = true\n{}", by("seb/try")))
    else {
        panic!("no executors")
    };
    assert_eq!(executors[0].rehearser, Some("seb/try".parse().unwrap()));
    assert!(matches!(exchange(&format!("{jwt}dry_run = true\n")), Exchange::JwtSvid { .. }));
    exchange(&format!("{projected}dry_run = true\n"));
    let lacking = "dry_run`: is for API servers; with `service-account` name a `rehearser` in each";
    for (keys, problem) in [
        (format!("{common}{own}dry_run = true\n"), lacking),
        (format!("{common}{account}dry_run = true\n{several}"), lacking),
        (format!("{common}{account}dry_run = true\n{}{several}", by("seb/try")), lacking),
        (format!("{common}{account}{}", by("seb/shop")), "executors`: `seb/shop` makes calls"),
        (
            format!("{common}exchange = \"projected-token\"\naudience = \"a\"\n{}", by("seb/try")),
            "executors`: `rehearser` is for `service-account`",
        ),
    ] {
        let told = kubernetes(&keys).expect_err(&keys).to_string();
        assert!(told.contains(problem), "{keys}\n{told}");
    }

    for (keys, problem) in [
        (format!("kind = \"kubernetes\"\n{jwt}"), "ca`: is missing; a target of kind `kubernetes` needs it"),
        (
            format!("{common}{jwt}server_id = \"spiffe://a.b/c\"\n"),
            "server_id`: a target of kind `kubernetes` has none",
        ),
        (common.to_owned(), "exchange`: is missing; a target of kind `kubernetes` needs it"),
        (format!("{common}{jwt}executor = \"a/b\"\n"), "executor`: `jwt-svid` has none"),
        (format!("{common}exchange = \"jwt-svid\"\n"), "audience`: is missing; this exchange needs it"),
        (format!("{common}exchange = \"service-account\"\n"), "executor`: is missing; this exchange needs it"),
        (format!("{common}{jwt}{several}"), "executors`: `jwt-svid` has none"),
        (format!("{common}{own}{several}"), "executor`: is for every call"),
        (
            format!("{common}exchange = \"service-account\"\n[[targets.executors]]\nservice_account = \"a/b\"\n"),
            "executors[0].verbs`: is missing",
        ),
        (format!("{common}{own}{certificate}"), "exchange`: `service-account` needs a `token_file`"),
        (format!("{common}{jwt}token_file = \"t\"\n{certificate}"), "token_file`: is not used"),
        (format!("{common}{jwt}key_file = \"k\"\n"), "key_file`: `certificate_file` and `key_file` come together"),
        (format!("{common}{own}audience = \"a b\"\n"), "audience`: expected 1 to 1024 visible ASCII characters"),
        ("kind = \"sandbox\"\n".to_owned(), "server_id`: is missing; a target of kind `sandbox` needs it"),
        (
            "kind = \"sandbox\"\nserver_id = \"spiffe://a.b/c\"\nexchange = \"jwt-svid\"\n".to_owned(),
            "exchange`: a target of kind `sandbox` has none",
        ),
    ] {
        let told = kubernetes(&keys).expect_err(&keys).to_string();
        assert!(told.contains(problem), "{keys}\n{told}");
    }
}

#[test]
fn an_account_has_its_keys() {
    use super::target::Mutating;
    use crate::target::aws::settings::ExchangeSettings;

    let target = |account: &str, mutations: &str| {
        broker(&format!(
            "{MINIMAL}\n[[targets]]\nname = \"prod\"\nkind = \"aws\"\n[targets.aws]\n{account}\n[targets.mutations]\n{mutations}\n"
        ))
    };
    let anchor = |id: &str| format!("arn:aws:rolesanywhere:eu-west-1:123456789012:trust-anchor/{id}");
    let role = |name: &str| format!("arn:aws:iam::123456789012:role/{name}");
    let account = format!(
        "region = \"eu-west-1\"\ntrust_anchor = \"{}\"\nprofile = \"{}\"\nreader_role = \"{}\"\n",
        anchor("own"),
        "arn:aws:rolesanywhere:eu-west-1:123456789012:profile/p",
        role("reader"),
    );
    let (roles, execution) =
        (format!("role = \"{}\"\nbootstrap_role = \"{}\"\n", role("r"), role("b")), anchor("execution"));
    let per_mutation = format!("exchange = \"per-mutation\"\n{roles}trust_anchor = \"{execution}\"\n");
    let pooled = format!("exchange = \"pooled\"\n{roles}");
    let web = format!("exchange = \"web-identity\"\nrole = \"{}\"\naudience = \"sts.amazonaws.com\"\n", role("r"));
    let mutating = |mutations: &str| match target(&account, mutations).unwrap().targets[0].mutating.clone() {
        Some(Mutating::Aws(exchange)) => *exchange,
        other => panic!("{other:?}"),
    };
    assert!(matches!(mutating(&per_mutation), ExchangeSettings::PerMutation { per_second: 10, .. }));
    let profile = |id: &str| format!("arn:aws:rolesanywhere:eu-west-1:123456789012:profile/{id}");
    let bootstrap = format!("{pooled}profile = \"{}\"\n", profile("b"));
    for (mutations, expected) in [(&pooled, "p"), (&bootstrap, "b")] {
        let ExchangeSettings::Pooled { profile: of, .. } = mutating(mutations) else { panic!("{mutations}") };
        assert_eq!(of, profile(expected).parse().unwrap());
    }
    assert!(matches!(mutating(&web), ExchangeSettings::WebIdentity { .. }));

    let elsewhere = account.replace("eu-west-1:", "eu-west-2:");
    let chatty = format!("{account}proxy = \"http://user:secret@proxy:3128\"\n");
    for (account, mutations, problem) in [
        (&account, String::new(), "exchange`: is missing"),
        (&account, format!("exchange = \"pooled\"\nrole = \"{}\"\n", role("r")), "bootstrap_role`: is missing"),
        (&account, format!("{pooled}trust_anchor = \"{execution}\"\n"), "trust_anchor`: this exchange has none"),
        (
            &account,
            format!("{web}create_sessions_per_second = 5\n"),
            "create_sessions_per_second`: this exchange has none",
        ),
        (&account, per_mutation.replace(&execution, &role("x")), "is not a trust anchor"),
        (&account, per_mutation.replace("123456789012:role/b", "999999999999:role/b"), "is in another account"),
        (&elsewhere, per_mutation.clone(), "is not in eu-west-1"),
        (&chatty, per_mutation.clone(), "without a user"),
    ] {
        let told = target(account, &mutations).unwrap_err().to_string();
        assert!(told.contains(problem) && !told.contains("secret"), "{mutations}\n{told}");
    }
    let sandbox = "kind = \"sandbox\"\naddress = \"a:1\"\nserver_id = \"spiffe://a.b/c\"\n";
    let told = broker(&format!("{MINIMAL}\n[[targets]]\nname = \"prod\"\n{sandbox}[targets.aws]\n{account}"));
    assert!(told.unwrap_err().to_string().contains("aws`: a target of kind `sandbox` has none"));
    let told = broker(&format!("{MINIMAL}\n[[targets]]\nname = \"prod\"\nkind = \"aws\"\n"));
    assert!(told.unwrap_err().to_string().contains("aws`: is missing"));
}
