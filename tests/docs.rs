//! The documentation says what the code does: generated pages are current, and links between pages lead somewhere.
//!
//! `UPDATE=1 cargo test --test docs` rewrites the generated pages.

#![cfg(test)]

#[path = "aws/table.rs"]
#[expect(dead_code, reason = "its rows are tried by tests/aws")]
mod attacks_on_aws;
#[path = "docs/commands.rs"]
mod commands;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use seb::config::broker::BrokerConfig;
use seb::config::{KeyDoc, Presence};
use seb::grpc::access::{Flow, METHODS};
use seb::grpc::gate::code_name;
use seb::grpc::status::{Cause, grpc_code};
use seb::reason::{Mender, PUBLIC_UNAUTHENTICATED, Reason, Retry, Verdict};
use seb::sab::config::SabConfig;
use seb::sab::metrics::SabMetrics;
use seb::telemetry::{BrokerMetrics, Event, GrpcMetrics, Registry};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Holds a generated page against what is in the tree, or writes it there with `UPDATE=1`.
#[track_caller]
fn current(page: &str, expected: &str) {
    let path = root().join(page);
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, expected).unwrap();
        return;
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(found == expected, "{page} is not current: run `UPDATE=1 cargo test --test docs`");
}

#[test]
fn reasons_are_current() {
    current("docs/reasons.md", &reasons());
}

/// `docs/reasons.md`.
fn reasons() -> String {
    let mut out = format!(
        "<!-- Generated from src/reason.rs by tests/docs.rs: `UPDATE=1 cargo test --test docs`. -->\n\
         # Reasons\n\
         \n\
         Whatever is refused is refused for a reason of this list, and the list is closed: {count} codes. A code is a\n\
         stable string. Once published it keeps its meaning, and it is never used for another.\n\
         \n\
         - **Several at once.** Every reason that applies is recorded; the first of them in the order of this page is\n  \
           the answer.\n\
         - **Before the certificate is known to be authentic** (verdicts {hidden}) every caller gets\n  \
           `{PUBLIC_UNAUTHENTICATED}` instead: the exact reason would help a forger. The record has the exact one.\n\
         - **Retry** says what to do with *the same* request: `later` means that the cause is temporary, `never` that\n  \
           only another request can succeed.\n\
         - **Mended by** says who can remove the cause: the *agent*, with another request or proposal; those who run\n  \
           the *authority* (SAB) that issued the certificate; the *operator* of the broker.\n\
         \n\
         ## All of them, in order of precedence\n\
         \n",
        count = Reason::ALL.len(),
        hidden = list(Verdict::ALL.iter().filter(|verdict| is_hidden(**verdict)).map(|v| v.as_str())),
    );
    out += "| | code | verdict | mended by | retry |\n|---:|---|---|---|---|\n";
    for (index, reason) in Reason::ALL.iter().enumerate() {
        let code = reason.code();
        let (verdict, mender, retry) = (reason.verdict(), reason.mender().as_str(), retry(reason.retry()));
        writeln!(out, "| {} | [`{code}`](#{code}) | {verdict} | {mender} | {retry} |", index + 1).unwrap();
    }
    for verdict in Verdict::ALL {
        let (title, question) = verdict_texts(verdict);
        write!(out, "\n## {title}\n\n{question}\n").unwrap();
        if is_hidden(verdict) {
            writeln!(out, "Callers see `{PUBLIC_UNAUTHENTICATED}`.").unwrap();
        }
        for reason in Reason::ALL.iter().filter(|reason| reason.verdict() == verdict) {
            let who = match reason.mender() {
                Mender::Agent => "the agent",
                Mender::Authority => "the authority",
                Mender::Operator => "the operator",
            };
            write!(
                out,
                "\n### {}\n\n{}\n\n- **Mended by** {who}. {}\n- **Retry** {}.\n",
                reason.code(),
                reason.meaning(),
                reason.mend(),
                retry(reason.retry())
            )
            .unwrap();
        }
    }
    out
}

#[test]
fn the_commands_are_current() {
    current("docs/commands.md", &commands::page());
}

/// Holds the part of a page between `<!-- begin NAME -->` and `<!-- end NAME -->` against what it should be.
#[track_caller]
fn current_part(page: &str, name: &str, expected: &str) {
    let text = read(&root().join(page));
    let (begin, end) = (format!("<!-- begin {name} -->\n"), format!("<!-- end {name} -->"));
    let (before, rest) = text.split_once(&begin).unwrap_or_else(|| panic!("{page} has no part {name}"));
    let (_, after) = rest.split_once(&end).unwrap_or_else(|| panic!("the part {name} of {page} has no end"));
    current(page, &format!("{before}{begin}{expected}{end}{after}"));
}

#[test]
fn the_table_of_attacks_on_aws_is_current() {
    current_part("docs/boundary-aws.md", "attacks", &attacks_on_aws::markdown(attacks_on_aws::ATTACKS));
}

#[test]
fn the_keys_of_the_configuration_are_current() {
    current_part("docs/configuration.md", "broker", &keys(&BrokerConfig::describe()));
    current_part("docs/configuration.md", "sab", &keys(&SabConfig::describe()));
}

/// A table for each table of the file.
fn keys(docs: &[KeyDoc]) -> String {
    let mut out = String::new();
    let mut tables: Vec<(&str, Vec<&KeyDoc>)> = Vec::new();
    for doc in docs {
        if doc.expects.is_empty() {
            tables.push((&doc.key, vec![doc]));
        } else {
            let of = tables.iter_mut().rev().find(|(table, _)| doc.key.starts_with(&format!("{table}.")));
            match of {
                Some((_, keys)) => keys.push(doc),
                None => tables.push((doc.key.trim_end_matches(".*"), vec![doc])),
            }
        }
    }
    for (table, docs) in tables {
        let heading = match table.strip_suffix("[]") {
            Some(list) => format!("[[{list}]]"),
            None => format!("[{table}]"),
        };
        write!(out, "\n### `{heading}`\n\n").unwrap();
        let (about, keys): (Vec<_>, Vec<_>) = docs.into_iter().partition(|doc| doc.expects.is_empty());
        for doc in about {
            write!(out, "{}\n\n", doc.meaning).unwrap();
        }
        out += "| key | expects | default | meaning |\n|---|---|---|---|\n";
        for doc in keys {
            let name = doc.key.strip_prefix(table).unwrap_or(&doc.key).trim_start_matches('.');
            let default = match &doc.default {
                Presence::Required => "required".to_owned(),
                Presence::Optional => "-".to_owned(),
                Presence::Default(toml) => format!("`{toml}`"),
            };
            writeln!(out, "| `{name}` | {} | {default} | {} |", doc.expects, doc.meaning).unwrap();
        }
    }
    out + "\n"
}

#[test]
fn the_tables_of_telemetry_are_current() {
    current_part("docs/telemetry.md", "events", &events());
    let mut broker = Registry::new("seb");
    let _ = (BrokerMetrics::register(&mut broker), GrpcMetrics::register(&mut broker));
    current_part("docs/telemetry.md", "metrics", &metrics(&broker));
    let mut authority = Registry::new("sab");
    let _ = (SabMetrics::register(&mut authority), GrpcMetrics::register(&mut authority));
    current_part("docs/telemetry.md", "sab metrics", &metrics(&authority));
}

fn events() -> String {
    let mut out = String::from("\n| event | level | what happened | what to do |\n|---|---|---|---|\n");
    for event in Event::ALL {
        let level = event.level().as_str().to_lowercase();
        writeln!(out, "| `{}` | {level} | {} | {} |", event.name(), event.meaning(), event.mend()).unwrap();
    }
    out + "\n"
}

fn metrics(registry: &Registry) -> String {
    let mut out = String::from("\n| metric | kind | labels | meaning |\n|---|---|---|---|\n");
    for doc in registry.describe() {
        let labels: Vec<_> = doc.labels.iter().map(|label| format!("`{label}`")).collect();
        writeln!(out, "| `{}` | {} | {} | {} |", doc.name, doc.kind, labels.join(", "), doc.help).unwrap();
    }
    out + "\n"
}

/// Each line of the log is one of the table, at its level: nothing logs but by `log!`, and nothing in the table is unused.
#[test]
fn whatever_is_logged_is_in_the_table() {
    let mut used = BTreeSet::new();
    let mut bare = Vec::new();
    for path in sources(&root().join("src")) {
        let text = read(&path);
        let shown = path.strip_prefix(root()).unwrap().display().to_string();
        // Tests may log what they like.
        let inside = text.split("\n#[cfg(test)]\nmod tests {").next().unwrap();
        let tests = shown.ends_with("tests.rs");
        for (index, line) in inside.lines().enumerate().filter(|_| !tests) {
            let forbidden = ["trace!", "debug!", "info!", "warn!", "error!", "event!"];
            let logs = forbidden.iter().any(|name| line.contains(&format!("tracing::{name}")));
            if logs && shown != "src/telemetry/events.rs" {
                bare.push(format!("{shown}:{}: {}", index + 1, line.trim()));
            }
        }
        for call in inside.split("log!(").skip(1) {
            used.insert(call.trim_start().split(|c: char| !c.is_alphanumeric()).next().unwrap().to_owned());
        }
    }
    assert!(
        bare.is_empty(),
        "log these by `crate::telemetry::log!`, with an event of `src/telemetry/events.rs`: {bare:#?}"
    );
    let unused: Vec<_> = Event::ALL.iter().filter(|event| !used.contains(&format!("{event:?}"))).collect();
    assert!(unused.is_empty(), "nothing logs {unused:?}");
    let names: BTreeSet<_> = Event::ALL.iter().map(|event| event.name()).collect();
    assert_eq!(names.len(), Event::ALL.len());
}

/// All Rust files below a folder.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => found.extend(sources(&path)),
            false if path.extension().is_some_and(|ending| ending == "rs") => found.push(path),
            false => {}
        }
    }
    found.sort();
    found
}

/// The example of alerts is YAML, asks for metrics that there are, with labels that they have, and its alerts have names of
/// their own.
#[test]
fn the_example_alerts_ask_for_metrics_that_there_are() {
    let text = read(&root().join("examples/alerts.yml"));
    let events: Result<Vec<_>, _> = saphyr_parser::Parser::new_from_str(&text).collect();
    assert!(events.is_ok(), "{events:?}");
    let (mut broker, mut authority) = (Registry::new("seb"), Registry::new("sab"));
    let _ = (BrokerMetrics::register(&mut broker), GrpcMetrics::register(&mut broker));
    let _ = (SabMetrics::register(&mut authority), GrpcMetrics::register(&mut authority));
    let known: BTreeMap<_, _> =
        broker.describe().iter().chain(authority.describe()).map(|doc| (doc.name.clone(), doc.labels)).collect();
    let mut alerts = BTreeSet::new();
    let mut asked = 0;
    for line in text.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix("- alert: ") {
            assert!(alerts.insert(name.to_owned()), "{name} is there twice");
        }
        let Some(expression) = line.strip_prefix("expr: ") else { continue };
        for word in expression.split(|c: char| !c.is_ascii_alphanumeric() && c != '_') {
            if !word.starts_with("seb_") && !word.starts_with("sab_") {
                continue;
            }
            asked += 1;
            let of_histogram = ["_bucket", "_count", "_sum"].iter().find_map(|end| word.strip_suffix(end));
            let name = of_histogram.filter(|name| known.contains_key(*name)).unwrap_or(word);
            let labels = known.get(name).unwrap_or_else(|| panic!("there is no metric `{name}`: {line}"));
            let after = expression.split_once(word).unwrap().1;
            let chosen = after.strip_prefix('{').and_then(|rest| rest.split_once('}')).map_or("", |(chosen, _)| chosen);
            for pair in chosen.split(',').filter(|pair| !pair.is_empty()) {
                let label = pair.split(['=', '!', '~']).next().unwrap();
                assert!(labels.contains(&label), "`{name}` has no label `{label}`: {line}");
            }
        }
    }
    assert!(alerts.len() >= 8 && asked >= 8, "{alerts:?}");
}

#[test]
fn the_tables_of_the_api_are_current() {
    let mut methods = String::from("\n| method | roles | answers |\n|---|---|---|\n");
    for method in METHODS {
        let roles: Vec<_> = method.roles.iter().map(|role| role.as_str()).collect();
        let answers = if method.flow == Flow::Stream { "a stream" } else { "once" };
        writeln!(methods, "| `{}` | {} | {answers} |", method.path.trim_start_matches('/'), roles.join(", ")).unwrap();
    }
    current_part("docs/api.md", "methods", &format!("{methods}\n"));
    let mut causes = String::from(
        "\n| reason | gRPC code | retry | mended by | meaning | what to do |\n|---|---|---|---|---|---|\n",
    );
    for cause in Cause::ALL {
        let (code, who) = (code_name(cause.grpc()).to_uppercase(), cause.mender().as_str());
        let (meaning, mend) = (cause.meaning(), cause.mend());
        writeln!(causes, "| `{}` | `{code}` | {} | {who} | {meaning} | {mend} |", cause.code(), retry(cause.retry()))
            .unwrap();
    }
    current_part("docs/api.md", "causes", &format!("{causes}\n"));
    let mut by_code = BTreeMap::<String, Vec<String>>::new();
    for reason in Reason::ALL.iter().filter(|reason| reason.public_code() != PUBLIC_UNAUTHENTICATED) {
        let code = reason.code();
        by_code
            .entry(code_name(grpc_code(*reason)).to_uppercase())
            .or_default()
            .push(format!("[`{code}`](reasons.md#{code})"));
    }
    let mut reasons = String::from("\n| gRPC code | reasons |\n|---|---|\n");
    for (code, list) in by_code {
        writeln!(reasons, "| `{code}` | {} |", list.join(", ")).unwrap();
    }
    current_part("docs/api.md", "reasons", &format!("{reasons}\n"));
}

fn is_hidden(verdict: Verdict) -> bool {
    Reason::ALL.iter().any(|reason| reason.verdict() == verdict && reason.public_code() == PUBLIC_UNAUTHENTICATED)
}

fn retry(retry: Retry) -> &'static str {
    match retry {
        Retry::Never => "never",
        Retry::Later => "later",
    }
}

fn verdict_texts(verdict: Verdict) -> (&'static str, &'static str) {
    match verdict {
        Verdict::Parse => ("Parse", "Are the octets one attribute certificate in DER, within bounds?"),
        Verdict::Profile => ("Profile", "Does it keep the rules of the certificate profile?"),
        Verdict::Signature => ("Signature and path", "Did a trusted attribute authority sign it?"),
        Verdict::Targeting => ("Targeting", "Is it for this agent and this broker?"),
        Verdict::Authorization => ("Authorization", "May its mutation be performed now?"),
    }
}

/// `a, b and c`.
fn list<'a>(items: impl Iterator<Item = &'a str>) -> String {
    let items: Vec<_> = items.collect();
    match items.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} and {last}", rest.join(", ")),
        _ => items.concat(),
    }
}

#[test]
fn links_lead_somewhere() {
    let pages = pages();
    let anchors: BTreeMap<_, _> = pages.iter().map(|page| (page.clone(), anchors(&read(page)))).collect();
    let mut broken = Vec::new();
    for page in &pages {
        for (line, target) in links(&read(page)) {
            if let Err(why) = resolve(page, &target, &anchors) {
                let page = page.strip_prefix(root()).unwrap().display();
                broken.push(format!("{page}:{line}: `{target}`: {why}\n"));
            }
        }
    }
    assert!(pages.len() > 5, "{pages:?}");
    assert!(broken.is_empty(), "\n{}", broken.concat());
}

fn read(page: &Path) -> String {
    std::fs::read_to_string(page).unwrap_or_else(|error| panic!("{}: {error}", page.display()))
}

/// All pages of the tree.
fn pages() -> Vec<PathBuf> {
    let mut pages = Vec::new();
    let mut folders = vec![root().to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            if path.is_dir() && !name.starts_with('.') && name != "target" && name != "corpus" && name != "artifacts" {
                folders.push(path);
            } else if name.ends_with(".md") {
                pages.push(path);
            }
        }
    }
    pages.sort();
    pages
}

/// Why the link does not lead anywhere.
fn resolve(page: &Path, target: &str, anchors: &BTreeMap<PathBuf, BTreeSet<String>>) -> Result<(), String> {
    if ["https://", "http://", "mailto:"].iter().any(|scheme| target.starts_with(scheme)) {
        return Ok(());
    }
    let (path, anchor) = match target.split_once('#') {
        Some((path, anchor)) => (path, Some(anchor)),
        None => (target, None),
    };
    let file = match path {
        "" => page.to_owned(),
        path => page.parent().unwrap().join(path).canonicalize().map_err(|_| "there is no such file".to_owned())?,
    };
    if !file.starts_with(root().canonicalize().unwrap()) {
        return Err("it leads out of the tree".to_owned());
    }
    match (anchor, anchors.get(&file)) {
        (None, _) => Ok(()),
        (Some(anchor), Some(known)) if known.contains(anchor) => Ok(()),
        (Some(_), Some(_)) => Err("there is no such heading".to_owned()),
        (Some(_), None) => Err("only pages have headings".to_owned()),
    }
}

/// The lines of a page outside fenced code, with their numbers.
fn prose(page: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut fenced = false;
    page.lines().enumerate().filter_map(move |(index, line)| {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
            return None;
        }
        (!fenced).then_some((index + 1, line))
    })
}

/// The targets of `[text](target)` and of `[label]: target`, outside code.
fn links(page: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (number, line) in prose(page) {
        if let Some((label, target)) = line.split_once("]: ")
            && label.starts_with('[')
        {
            found.push((number, target.trim().to_owned()));
        }
        // Every other part between backticks is code; a link's text may hold code, its target never does.
        let mut plain = String::new();
        for (index, part) in line.split('`').enumerate() {
            plain += if index % 2 == 0 { part } else { "code" };
        }
        for rest in plain.split("](").skip(1) {
            found.push((number, rest.split([')', ' ']).next().unwrap_or_default().to_owned()));
        }
    }
    found
}

/// The anchors of a page's headings, as GitHub makes them, and those given by hand.
fn anchors(page: &str) -> BTreeSet<String> {
    let mut seen = BTreeMap::<String, usize>::new();
    let mut out = BTreeSet::new();
    for (_, line) in prose(page) {
        if let Some(name) = line.split("<a id=\"").nth(1) {
            out.insert(name.split('"').next().unwrap_or_default().to_owned());
        }
        let heading = line.trim_start_matches('#');
        if heading.len() == line.len() || !heading.starts_with(' ') {
            continue;
        }
        let slug: String = heading
            .trim()
            .to_lowercase()
            .chars()
            .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'))
            .map(|c| if c == ' ' { '-' } else { c })
            .collect();
        let count = seen.entry(slug.clone()).or_default();
        out.insert(if *count == 0 { slug } else { format!("{slug}-{count}") });
        *count += 1;
    }
    out
}

/// The checker of links, shown to hold on small pages.
mod rules {
    use super::*;

    #[test]
    fn links_are_found_outside_code() {
        let page = "[a](b.md) and [`c`](d.md#e) but not `[f](g.md)`\n```\n[h](i.md)\n```\n[j]: k.md\n";
        let expected = [(1, "b.md"), (1, "d.md#e"), (5, "k.md")].map(|(line, target)| (line, target.to_owned()));
        assert_eq!(links(page), expected);
    }

    #[test]
    fn anchors_are_those_of_the_headings() {
        let page = "# One: two, `three`!\n## Same\n## Same\n```\n# no\n```\n#no\n<a id=\"by-hand\"></a>\n";
        let expected = ["by-hand", "one-two-three", "same", "same-1"].map(str::to_owned);
        assert_eq!(anchors(page), BTreeSet::from(expected));
    }

    #[test]
    fn broken_links_are_refused() {
        let page = root().join("README.md");
        let anchors = BTreeMap::from([(page.clone(), BTreeSet::from(["here".to_owned()]))]);
        for good in ["https://example.org/x", "Cargo.toml", "src/lib.rs", "#here", "README.md#here"] {
            assert_eq!(resolve(&page, good, &anchors), Ok(()), "{good}");
        }
        for bad in ["nowhere.md", "#there", "README.md#there", "Cargo.toml#x", "../"] {
            assert!(resolve(&page, bad, &anchors).is_err(), "{bad}");
        }
    }
}
