//! The pages about the modules say what the modules say themselves.

use std::fmt::Write as _;

use crate::attacks;
use crate::render::{MODULES, root};

/// A variable of a module.
pub struct Variable {
    pub name: String,
    kind: String,
    description: String,
    /// None where it must be given.
    default: Option<String>,
    /// The message of each validation.
    pub refusals: Vec<String>,
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn quoted(text: &str) -> String {
    text.trim().trim_matches('"').replace("\\\"", "\"").replace("\\\\", "\\")
}

/// The blocks of a kind, `variable` or `output`, of a formatted file: name and lines.
fn blocks(text: &str, kind: &str) -> Vec<(String, Vec<String>)> {
    let mut found = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if let Some(name) = line.strip_prefix(&format!("{kind} \"")).and_then(|rest| rest.strip_suffix("\" {")) {
            found.push((name.to_owned(), lines.by_ref().take_while(|line| *line != "}").map(str::to_owned).collect()));
        }
    }
    found
}

/// The value of an argument of a block: of several lines, it is joined to one.
fn argument(lines: &[String], key: &str) -> Option<String> {
    let is = |line: &&String| line.strip_prefix("  ").is_some_and(|line| line.starts_with(&format!("{key} ")));
    let place = lines.iter().position(|line| is(&line))?;
    let mut value = lines[place].split_once('=').unwrap().1.trim().to_owned();
    if value.ends_with(['{', '(', '[']) {
        for line in &lines[place + 1..] {
            let words: Vec<_> = line.split_whitespace().collect();
            write!(value, " {}", words.join(" ")).unwrap();
            if !line.starts_with("   ") {
                break;
            }
        }
    }
    Some(value)
}

pub fn variables(module: &str) -> Vec<Variable> {
    let text = read(&format!("terraform/modules/{module}/variables.tf"));
    let all = blocks(&text, "variable").into_iter().map(|(name, lines)| Variable {
        kind: argument(&lines, "type").unwrap_or_else(|| panic!("{module}: {name} has no type")),
        description: quoted(
            &argument(&lines, "description").unwrap_or_else(|| panic!("{module}: {name} is not described")),
        ),
        default: argument(&lines, "default"),
        refusals: lines
            .iter()
            .filter_map(|line| line.trim_start().strip_prefix("error_message = "))
            .map(quoted)
            .collect(),
        name,
    });
    all.collect()
}

/// The comment of a module that says what it does not bind, as a list.
fn unbound(module: &str) -> String {
    let files = ["policies.tf", "main.tf"].map(|file| format!("terraform/modules/{module}/{file}"));
    let texts: String = files.iter().filter(|file| root().join(file).exists()).map(|file| read(file)).collect();
    let mut out = String::new();
    let mut inside = false;
    for line in texts.lines() {
        let line = line.trim_start();
        let comment = line.strip_prefix('#').map(|rest| rest.strip_prefix(' ').unwrap_or(rest));
        match comment {
            Some(text) if text.starts_with("What ") && text.contains(" not ") && text.contains(':') => {
                inside = true;
                let rest = text.split_once(": ").map_or("", |(_, rest)| rest);
                if !rest.is_empty() {
                    let mut letters = rest.chars();
                    let first = letters.next().unwrap().to_uppercase();
                    writeln!(out, "- {first}{}", letters.as_str()).unwrap();
                }
            }
            Some(text) if inside && (text.starts_with("- ") || text.starts_with("  ")) => {
                writeln!(out, "{text}").unwrap()
            }
            Some(text) if inside && !text.is_empty() => writeln!(out, "  {text}").unwrap(),
            _ => inside = false,
        }
    }
    out
}

/// `README.md` of a module.
fn page(module: &str) -> String {
    let mut out = format!(
        "<!-- Generated from the module by tests/terraform: `UPDATE=1 cargo test --test terraform`. -->\n\
         # Module `{module}`\n\nWhat it is for, and how the modules fit together: [docs/terraform.md](../../../docs/terraform.md).\n\n\
         ## What it does not bind\n\n{}\n## Inputs\n\n| input | type | default | meaning |\n|---|---|---|---|\n",
        unbound(module)
    );
    for Variable { name, kind, description, default, .. } in variables(module) {
        let default = default.map_or_else(|| "required".to_owned(), |value| format!("`{value}`"));
        writeln!(out, "| `{name}` | `{kind}` | {default} | {} |", description.replace('|', "\\|")).unwrap();
    }
    out += "\n## Outputs\n\n| output | meaning |\n|---|---|\n";
    for file in ["outputs.tf", "policies.tf"] {
        let path = format!("terraform/modules/{module}/{file}");
        if root().join(&path).exists() {
            for (name, lines) in blocks(&read(&path), "output") {
                let about =
                    argument(&lines, "description").unwrap_or_else(|| panic!("{module}: {name} is not described"));
                writeln!(out, "| `{name}` | {} |", quoted(&about)).unwrap();
            }
        }
    }
    out
}

#[track_caller]
fn current(path: &str, expected: &str) {
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(root().join(path), expected).unwrap();
    } else {
        let found = std::fs::read_to_string(root().join(path)).unwrap_or_default();
        assert!(found == expected, "{path} is not current: run `UPDATE=1 cargo test --test terraform`");
    }
}

#[test]
fn the_pages_of_the_modules_are_current() {
    for module in MODULES {
        assert!(!unbound(module).is_empty(), "{module} does not say what it does not bind");
        current(&format!("terraform/modules/{module}/README.md"), &page(module));
    }
}

#[test]
fn the_table_of_attacks_is_current() {
    let path = "docs/terraform.md";
    let text = read(path);
    let (begin, end) = ("<!-- begin attacks -->\n", "<!-- end attacks -->");
    let (before, rest) = text.split_once(begin).unwrap();
    let (_, after) = rest.split_once(end).unwrap();
    current(path, &format!("{before}{begin}{}{end}{after}", attacks::markdown()));
}

/// Whoever reads the page finds every module and example there.
#[test]
fn the_page_names_every_module_and_example() {
    let text = read("docs/terraform.md");
    for module in MODULES {
        assert!(text.contains(&format!("(../terraform/modules/{module})")), "{module}");
    }
    let examples: Vec<_> = std::fs::read_dir(root().join("terraform/examples")).unwrap().collect();
    assert!(examples.len() >= 3);
    for example in examples {
        let name = example.unwrap().file_name().into_string().unwrap();
        assert!(text.contains(&format!("(../terraform/examples/{name})")), "{name}");
    }
}
