//! The pure modules stay pure, and arrows between modules point down only.
//!
//! The table in the crate documentation (`src/lib.rs`) lists the pure modules, the upper ones first. This test parses
//! their source and refuses what would let the world in: files, sockets, processes, threads, clocks, randomness,
//! `async`, the crates that bring those, and a path to a module that is not below in the table. Tests are exempt.
//!
//! Names are resolved by the `use` declarations of their file, and macros are searched token by token. It is a guard
//! against the careless, not against the cunning: review sees to those.

#![cfg(test)]

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use proc_macro2::{Span, TokenStream, TokenTree};
use syn::spanned::Spanned;
use syn::visit::{self, Visit};

/// Modules of the package that are not pure, so not in the table.
const EDGES: &[&str] = &[
    "broker",
    "cli",
    "clock",
    "config",
    "epochs",
    "fair",
    "fence",
    "grpc",
    "http",
    "identity",
    "key",
    "proto",
    "reconcile",
    "runtime",
    "sab",
    "store",
    "sync",
    "target",
    "telemetry",
    "tls",
];

/// Pure modules that the table leaves out because they are private. They rank below all others.
const PRIVATE: &[&str] = &["spiffe_id"];

/// Paths that no pure module may name, nor anything below them.
const FORBIDDEN: &[(&str, &str)] = &[
    ("aws_config", "it talks to AWS"),
    ("aws_sigv4", "it talks to AWS"),
    ("fastrand", "randomness is an argument"),
    ("futures", "pure code is not async"),
    ("getrandom", "randomness is an argument"),
    ("hyper", "it opens sockets"),
    ("kube", "it talks to Kubernetes"),
    ("rand", "randomness is an argument"),
    ("rand_core", "randomness is an argument"),
    ("reqwest", "it opens sockets"),
    ("rustls", "it opens sockets"),
    ("sqlx", "it talks to a database"),
    ("tokio", "pure code is not async"),
    ("tonic", "it opens sockets"),
    ("tracing", "what a function has to say is in what it returns"),
    ("aws_lc_rs::rand", "randomness is an argument"),
    ("std::collections::HashMap", "its order is random"),
    ("std::collections::HashSet", "its order is random"),
    ("std::collections::hash_map", "its order is random"),
    ("std::collections::hash_set", "its order is random"),
    ("std::env", "configuration is an argument"),
    ("std::fs", "files belong to the edges"),
    ("std::hash::RandomState", "randomness is an argument"),
    ("std::io", "files and sockets belong to the edges"),
    ("std::net", "sockets belong to the edges"),
    ("std::os", "the operating system belongs to the edges"),
    ("std::process", "processes belong to the edges"),
    ("std::thread", "threads belong to the edges"),
    ("std::time::Instant", "time is an argument"),
    ("std::time::SystemTime", "time is an argument"),
    ("std::time::UNIX_EPOCH", "time is an argument"),
];

/// Crates forbidden by the beginning of their name.
const FORBIDDEN_PREFIXES: &[(&str, &str)] = &[("aws_sdk_", "it talks to AWS")];

/// Macros that bring in what the path rules forbid.
const FORBIDDEN_MACROS: &[(&str, &str)] = &[
    ("dbg", "it writes to a stream"),
    ("env", "configuration is an argument"),
    ("eprint", "it writes to a stream"),
    ("eprintln", "it writes to a stream"),
    ("include", "what it includes is not checked"),
    ("option_env", "configuration is an argument"),
    ("print", "it writes to a stream"),
    ("println", "it writes to a stream"),
];

/// One breach of the rules.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Violation {
    file: PathBuf,
    line: usize,
    what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file.display(), self.line, self.what)
    }
}

#[test]
fn the_pure_modules_are_pure() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let root = std::fs::read_to_string(source.join("lib.rs")).unwrap();
    let table = Table::parse(&root);
    let mut violations = Vec::new();
    for module in table.modules() {
        check_module(&source, &source, &[module.to_owned()], &table, &mut violations);
    }
    violations.sort();
    violations.dedup();
    assert!(violations.is_empty(), "\n{}", violations.iter().map(|v| format!("{v}\n")).collect::<String>());
}

#[test]
fn every_module_is_in_the_table_or_an_edge() {
    let root = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/lib.rs")).unwrap();
    let table = Table::parse(&root);
    let declared: Vec<_> = syn::parse_file(&root)
        .unwrap()
        .items
        .into_iter()
        .filter_map(|item| match item {
            syn::Item::Mod(module) => Some(module.ident.to_string()),
            _ => None,
        })
        .collect();
    for module in &declared {
        let known = table.0.contains_key(module) || EDGES.contains(&module.as_str());
        assert!(known, "`{module}` is not in the table of src/lib.rs, PRIVATE or EDGES");
    }
    for module in table.modules() {
        assert!(declared.iter().any(|declared| declared == module), "`{module}` is listed, and not declared");
        assert!(!EDGES.contains(&module), "`{module}` cannot be both");
    }
}

/// The rank of each pure module: its row in the table of `src/lib.rs`. A module may use those of greater rank.
struct Table(BTreeMap<String, usize>);

impl Table {
    /// Reads the rows ``//! | [`name`], [`name`] | ... |`` of the crate documentation.
    fn parse(root: &str) -> Self {
        let mut ranks = BTreeMap::new();
        let rows = root.lines().filter_map(|line| line.strip_prefix("//! | [`"));
        for (rank, row) in rows.enumerate() {
            let cell = row.split(" | ").next().unwrap_or_default();
            for name in cell.split("[`") {
                ranks.insert(name.split('`').next().unwrap_or_default().to_owned(), rank);
            }
        }
        assert!(ranks.len() > 1, "src/lib.rs has no table of modules");
        ranks.extend(PRIVATE.iter().map(|name| ((*name).to_owned(), usize::MAX)));
        Self(ranks)
    }

    fn modules(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// Why `from` may not use `to`, if it may not.
    fn arrow(&self, from: &str, to: &str) -> Option<String> {
        match (self.0.get(from), self.0.get(to)) {
            _ if from == to => None,
            (Some(from), Some(to)) if to > from => None,
            (_, None) => Some(format!("uses `crate::{to}`, which is not a pure module")),
            _ => Some(format!("uses `crate::{to}`, which is not below `{from}` in src/lib.rs")),
        }
    }
}

/// Checks the file of the module `module` (its path from the crate root) below `folder`, and the modules in it.
fn check_module(source: &Path, folder: &Path, module: &[String], table: &Table, out: &mut Vec<Violation>) {
    let name = module.last().unwrap();
    let flat = folder.join(format!("{name}.rs"));
    let file = if flat.exists() { flat } else { folder.join(name).join("mod.rs") };
    let text = std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let shown = Path::new("src").join(file.strip_prefix(source).unwrap());
    for child in check_source(&shown, &text, module, table, out) {
        let folder = child[1..child.len() - 1].iter().fold(source.join(&child[0]), |folder, part| folder.join(part));
        check_module(source, &folder, &child, table, out);
    }
}

/// Checks one file, and returns the modules that it declares in files of their own.
fn check_source(
    file: &Path,
    text: &str,
    module: &[String],
    table: &Table,
    out: &mut Vec<Violation>,
) -> Vec<Vec<String>> {
    let parsed = syn::parse_file(text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let mut names = Names { module: module.to_vec(), names: BTreeMap::new() };
    names.visit_file(&parsed);
    let mut checker =
        Checker { file, table, module: module.to_vec(), names: names.names, children: Vec::new(), violations: out };
    checker.visit_file(&parsed);
    checker.children
}

/// Whether an item with these attributes exists only in tests.
fn is_test(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("test")
            || attribute.path().is_ident("cfg")
                && attribute.parse_args::<syn::Path>().is_ok_and(|path| path.is_ident("test"))
    })
}

/// The attributes of an item, as far as it can be confined to tests.
fn attributes(item: &syn::Item) -> &[syn::Attribute] {
    match item {
        syn::Item::Const(item) => &item.attrs,
        syn::Item::Fn(item) => &item.attrs,
        syn::Item::Impl(item) => &item.attrs,
        syn::Item::Macro(item) => &item.attrs,
        syn::Item::Mod(item) => &item.attrs,
        syn::Item::Static(item) => &item.attrs,
        syn::Item::Struct(item) => &item.attrs,
        syn::Item::Enum(item) => &item.attrs,
        syn::Item::Trait(item) => &item.attrs,
        syn::Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

/// `path` as seen from `module`, with `self`, `super` and the spellings of the standard library taken out.
fn absolute(module: &[String], path: &[String]) -> Vec<String> {
    let mut inside = module.to_vec();
    let mut rest = path;
    let mut relative = false;
    while let Some(first) = rest.first() {
        match first.as_str() {
            "self" => {}
            "super" => {
                inside.pop();
            }
            _ => break,
        }
        relative = true;
        rest = &rest[1..];
    }
    let mut out: Vec<String> = if relative { ["crate".to_owned()].into_iter().chain(inside).collect() } else { vec![] };
    out.extend(rest.iter().cloned());
    if matches!(out.first().map(String::as_str), Some("core" | "alloc")) {
        out[0] = "std".to_owned();
    }
    out
}

/// Every path of a `use` tree with the name that it binds (`*` for a glob).
fn leaves(tree: &syn::UseTree, before: &[String], out: &mut Vec<(Vec<String>, String, Span)>) {
    let with = |ident: &syn::Ident| before.iter().cloned().chain([ident.to_string()]).collect::<Vec<_>>();
    match tree {
        syn::UseTree::Path(path) => leaves(&path.tree, &with(&path.ident), out),
        syn::UseTree::Group(group) => group.items.iter().for_each(|tree| leaves(tree, before, out)),
        syn::UseTree::Glob(glob) => out.push((before.to_vec(), "*".to_owned(), glob.span())),
        syn::UseTree::Name(name) if name.ident == "self" => {
            out.push((before.to_vec(), before.last().cloned().unwrap_or_default(), name.span()));
        }
        syn::UseTree::Name(name) => out.push((with(&name.ident), name.ident.to_string(), name.span())),
        syn::UseTree::Rename(rename) if rename.ident == "self" => {
            out.push((before.to_vec(), rename.rename.to_string(), rename.span()));
        }
        syn::UseTree::Rename(rename) => out.push((with(&rename.ident), rename.rename.to_string(), rename.span())),
    }
}

/// First pass: what the names of the file stand for.
struct Names {
    module: Vec<String>,
    names: BTreeMap<String, Vec<String>>,
}

impl<'ast> Visit<'ast> for Names {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        if !is_test(attributes(item)) {
            visit::visit_item(self, item);
        }
    }

    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        self.module.push(item.ident.to_string());
        visit::visit_item_mod(self, item);
        self.module.pop();
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        let mut found = Vec::new();
        leaves(&item.tree, &[], &mut found);
        for (path, name, _) in found {
            self.names.insert(name, absolute(&self.module, &path));
        }
    }
}

/// Second pass: the rules.
struct Checker<'a> {
    file: &'a Path,
    table: &'a Table,
    module: Vec<String>,
    names: BTreeMap<String, Vec<String>>,
    children: Vec<Vec<String>>,
    violations: &'a mut Vec<Violation>,
}

impl Checker<'_> {
    fn violation(&mut self, span: Span, what: impl Into<String>) {
        self.violations.push(Violation { file: self.file.to_owned(), line: span.start().line, what: what.into() });
    }

    /// Checks a path that is absolute, or begins with a name of the file.
    fn path(&mut self, segments: &[String], glob: bool, span: Span) {
        let mut path = absolute(&self.module, segments);
        // A name may stand for a path that begins with another; each is followed once at most.
        for _ in 0..self.names.len() {
            match path.first().and_then(|first| self.names.get(first)) {
                Some(known) if known.first() != path.first() => {
                    path = known.iter().chain(&path[1..]).cloned().collect();
                }
                _ => break,
            }
        }
        let path = absolute(&[], &path);
        let text = path.join("::");
        let below =
            |path: &str, top: &str| path == top || path.strip_prefix(top).is_some_and(|rest| rest.starts_with("::"));
        for (forbidden, why) in FORBIDDEN {
            if below(&text, forbidden) {
                self.violation(span, format!("`{text}`: {why}"));
            } else if glob && below(forbidden, &text) {
                self.violation(span, format!("`{text}::*` brings in `{forbidden}`: {why}"));
            }
        }
        for (prefix, why) in FORBIDDEN_PREFIXES {
            if text.starts_with(prefix) {
                self.violation(span, format!("`{text}`: {why}"));
            }
        }
        // `UnixTime::now`, `Utc::now` and their like, from wherever.
        if path.len() > 1 && path.last().is_some_and(|last| last == "now" || last.starts_with("now_")) {
            self.violation(span, format!("`{text}` reads a clock: time is an argument"));
        }
        if path.first().is_some_and(|first| first == "crate")
            && let (Some(from), Some(to)) = (self.module.first().cloned(), path.get(1))
            && let Some(why) = self.table.arrow(&from, to)
        {
            self.violation(span, why);
        }
    }

    /// The tokens of a macro: every `a::b::c` in them is a path, and `async` is a violation.
    fn tokens(&mut self, tokens: TokenStream) {
        let mut path: Vec<String> = Vec::new();
        let mut start = Span::call_site();
        let mut colons = 0;
        for token in tokens {
            match token {
                TokenTree::Ident(ident) => {
                    if ident == "async" || ident == "await" {
                        self.violation(ident.span(), format!("`{ident}`: pure code is not async"));
                    }
                    if colons != 2 {
                        self.flush(&mut path, start);
                        start = ident.span();
                    }
                    path.push(ident.to_string());
                    colons = 0;
                }
                TokenTree::Punct(punct) if punct.as_char() == ':' => colons += 1,
                // `$crate::name` in a macro's own definition is `crate::name`.
                TokenTree::Punct(punct) if punct.as_char() == '$' => {
                    self.flush(&mut path, start);
                    colons = 0;
                }
                other => {
                    self.flush(&mut path, start);
                    colons = 0;
                    if let TokenTree::Group(group) = other {
                        self.tokens(group.stream());
                    }
                }
            }
        }
        self.flush(&mut path, start);
    }

    fn flush(&mut self, path: &mut Vec<String>, span: Span) {
        // A lone word is more often a field or a fragment than a path, unless the file imports it.
        if path.len() > 1 || path.first().is_some_and(|first| self.names.contains_key(first)) {
            self.path(&std::mem::take(path), false, span);
        }
        path.clear();
    }
}

impl<'ast> Visit<'ast> for Checker<'_> {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        if !is_test(attributes(item)) {
            visit::visit_item(self, item);
        }
    }

    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        if item.attrs.iter().any(|attribute| attribute.path().is_ident("path")) {
            self.violation(item.span(), "`#[path]`: a module is where its name says");
        }
        self.module.push(item.ident.to_string());
        if item.content.is_none() {
            self.children.push(self.module.clone());
        }
        visit::visit_item_mod(self, item);
        self.module.pop();
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        let mut found = Vec::new();
        leaves(&item.tree, &[], &mut found);
        for (path, name, span) in found {
            self.path(&path, name == "*", span);
        }
    }

    fn visit_item_extern_crate(&mut self, item: &'ast syn::ItemExternCrate) {
        self.violation(item.span(), "`extern crate`: name crates by their paths");
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let segments: Vec<_> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        // A lone name is known by its import, which is checked where it stands.
        if segments.len() > 1 {
            self.path(&segments, false, path.span());
        }
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, item: &'ast syn::Macro) {
        let name = item.path.segments.last().map(|segment| segment.ident.to_string()).unwrap_or_default();
        if let Some((_, why)) = FORBIDDEN_MACROS.iter().find(|(forbidden, _)| *forbidden == name) {
            self.violation(item.span(), format!("`{name}!`: {why}"));
        }
        self.visit_path(&item.path);
        self.tokens(item.tokens.clone());
    }

    fn visit_signature(&mut self, signature: &'ast syn::Signature) {
        if signature.asyncness.is_some() {
            self.violation(signature.span(), "`async fn`: pure code is not async");
        }
        visit::visit_signature(self, signature);
    }

    fn visit_expr_async(&mut self, expression: &'ast syn::ExprAsync) {
        self.violation(expression.span(), "`async` block: pure code is not async");
        visit::visit_expr_async(self, expression);
    }

    fn visit_expr_await(&mut self, expression: &'ast syn::ExprAwait) {
        self.violation(expression.span(), "`.await`: pure code is not async");
        visit::visit_expr_await(self, expression);
    }

    fn visit_expr_closure(&mut self, expression: &'ast syn::ExprClosure) {
        if expression.asyncness.is_some() {
            self.violation(expression.span(), "`async` closure: pure code is not async");
        }
        visit::visit_expr_closure(self, expression);
    }
}

/// The rules, shown to hold on small sources in a module `middle` of a crate with `upper`, `middle` and `lower`.
mod rules {
    use super::*;

    fn violations(module: &[&str], text: &str) -> Vec<String> {
        let table = Table::parse("//! | [`upper`] | a |\n//! | [`middle`] | b |\n//! | [`lower`], [`lowest`] | c |\n");
        let module: Vec<_> = module.iter().map(|part| (*part).to_owned()).collect();
        let mut out = Vec::new();
        check_source(Path::new("src/middle.rs"), text, &module, &table, &mut out);
        out.into_iter().map(|violation| violation.what).collect()
    }

    #[track_caller]
    fn refused(text: &str, because: &str) {
        let found = violations(&["middle"], text);
        assert!(found.iter().any(|what| what.contains(because)), "{text}\n{found:?}");
    }

    #[track_caller]
    fn accepted(text: &str) {
        assert_eq!(violations(&["middle"], text), Vec::<String>::new(), "{text}");
    }

    #[test]
    fn plain_code_is_accepted() {
        accepted("use std::collections::BTreeMap; use std::time::Duration; fn f(x: Duration) -> u64 { x.as_secs() }");
        accepted("use std::fmt; impl fmt::Display for X { fn fmt(&self, f: &mut fmt::Formatter<'_>) {} }");
        accepted("fn f(now: u64, environment: u64) -> u64 { let env = now; env + environment }");
    }

    #[test]
    fn the_world_is_refused() {
        for (path, because) in [
            ("std::fs::read", "files"),
            ("std::net::TcpStream", "sockets"),
            ("std::io::Read", "files and sockets"),
            ("std::env::var", "configuration"),
            ("std::process::exit", "processes"),
            ("std::thread::spawn", "threads"),
            ("std::time::Instant", "time"),
            ("std::time::SystemTime", "time"),
            ("tokio::spawn", "async"),
            ("tonic::Request", "sockets"),
            ("sqlx::query", "database"),
            ("kube::Client", "Kubernetes"),
            ("aws_sdk_sts::Client", "AWS"),
            ("aws_config::load", "AWS"),
            ("aws_sigv4::http_request", "AWS"),
            ("rand::random", "randomness"),
            ("getrandom::fill", "randomness"),
            ("aws_lc_rs::rand::SystemRandom", "randomness"),
        ] {
            refused(&format!("use {path};"), because);
            refused(&format!("use {path} as other;"), because);
            refused(&format!("use ::{path};"), because);
            refused(&format!("fn f() {{ {path}(); }}"), because);
            refused(&format!("struct S {{ field: Option<{path}> }}"), because);
            refused(&format!("fn f() {{ format!(\"{{}}\", {path}()); }}"), because);
            refused(&format!("macro_rules! m {{ () => {{ {path}() }}; }}"), because);
        }
    }

    #[test]
    fn names_are_resolved() {
        refused("use std::time; fn f() { time::Instant::now(); }", "`std::time::Instant::now`");
        refused("use std as s; fn f() { s::fs::read(p); }", "`std::fs::read`");
        refused("use std::{fmt, fs::{self, File}};", "`std::fs`");
        refused("use std::{self as s}; mod inner { fn f() { s::env::args(); } }", "`std::env::args`");
        refused("use std::*;", "`std::*` brings in `std::fs`");
        refused("use core::net::IpAddr;", "`std::net::IpAddr`");
        refused("use std::collections::*;", "HashMap");
        refused("use rustls_pki_types::UnixTime; fn f() { UnixTime::now(); }", "reads a clock");
        refused("fn f() { time::OffsetDateTime::now_utc(); }", "reads a clock");
    }

    #[test]
    fn async_is_refused() {
        refused("async fn f() {}", "async fn");
        refused("trait T { async fn f(); }", "async fn");
        refused("impl T { async fn f() {} }", "async fn");
        refused("fn f() { g(async { 1 }); }", "async");
        refused("fn f() { g(async || 1); }", "async");
        refused("fn f() { x.await; }", ".await");
        refused("macro_rules! m { () => { async fn f() {} } }", "`async`");
    }

    #[test]
    fn streams_and_includes_are_refused() {
        refused("fn f() { println!(\"\"); }", "stream");
        refused("fn f() -> &'static str { env!(\"HOME\") }", "configuration");
        refused("include!(\"x.rs\");", "not checked");
        refused("#[path = \"x.rs\"] mod x;", "where its name says");
        refused("extern crate std as s;", "extern crate");
    }

    #[test]
    fn arrows_point_down() {
        accepted("use crate::lower::X; use crate::middle::Y; fn f() { crate::lowest::g(); }");
        refused("use crate::upper::X;", "not below `middle`");
        refused("use crate::{lower::X, upper};", "not below `middle`");
        refused("use super::upper::X;", "not below `middle`");
        refused("fn f() { crate::upper::g(); }", "not below `middle`");
        refused("use crate as c; fn f() { c::upper::g(); }", "not below `middle`");
        refused("macro_rules! m { () => { $crate::upper::g() } }", "not below `middle`");
        refused("use crate::cli::X;", "not a pure module");
        refused("mod inner { use super::super::upper::X; }", "not below `middle`");
        accepted("mod inner { use super::X; use self::y::Y; }");
        let sibling = violations(&["lower"], "use crate::lowest::X;");
        assert_eq!(sibling.len(), 1, "one row is one rank");
    }

    #[test]
    fn tests_are_exempt() {
        accepted("#[cfg(test)] mod tests { use std::fs; #[test] fn f() { fs::read(p); } }");
        accepted("#[cfg(test)] use std::fs; #[cfg(test)] fn helper() { fs::read(p); }");
        accepted("#[cfg(test)] mod tests;");
        refused("#[cfg(not(test))] use std::fs;", "files");
    }

    #[test]
    fn modules_in_files_of_their_own_are_followed() {
        let table = Table::parse("//! | [`a`] | a |\n//! | [`b`] | b |\n");
        let module = ["a".to_owned()];
        let children = check_source(
            Path::new("src/a/mod.rs"),
            "mod parse; pub mod sign { mod key; } #[cfg(test)] mod tests;",
            &module,
            &table,
            &mut Vec::new(),
        );
        assert_eq!(children, [vec!["a", "parse"], vec!["a", "sign", "key"]]);
    }
}
