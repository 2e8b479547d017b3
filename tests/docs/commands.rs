//! `docs/commands.md`, from what `--help` says.

use std::fmt::Write as _;

use clap::{Arg, Command, CommandFactory as _};

/// The page.
pub fn page() -> String {
    let mut out = String::from(
        "<!-- Generated from the command line by tests/docs.rs: `UPDATE=1 cargo test --test docs`. -->\n\
         # Commands\n\
         \n\
         `seb` is for those who run a broker, act as an agent, or read records; `sab` for those who run the authority. Each\n\
         command has `--help`. `--output json` prints one JSON document on one line, whose fields are stable; text is for\n\
         reading. `seb completions SHELL` and `sab completions SHELL` print a completion script for bash, elvish, fish,\n\
         powershell or zsh.\n\
         \n\
         ## Exit status\n\
         \n\
         | status | what it means |\n\
         |---:|---|\n\
         | 0 | what was asked holds, or was done |\n\
         | 1 | it does not hold, or was refused; why was printed |\n\
         | 2 | the command line cannot be understood, or an input cannot be read; why is on standard error |\n\
         | 3 | whether it was done is not known yet, or people have to decide first: ask again |\n\
         | 4 | it could not be asked, or cannot be answered now: try again later |\n\
         \n\
         A command that says nothing of its own ends with 0, 1 or 2.\n",
    );
    for program in [seb::cli::seb::Command::command(), seb::cli::sab::Command::command()] {
        write!(out, "\n## {}\n\n{}.\n", program.get_name(), about(&program)).unwrap();
        leaves(&program, program.get_name(), &mut out);
    }
    out
}

/// Every command below one that has none below it.
fn leaves(command: &Command, path: &str, out: &mut String) {
    for below in command.get_subcommands().filter(|below| below.get_name() != "help") {
        let path = format!("{path} {}", below.get_name());
        if below.has_subcommands() && !below.is_subcommand_required_set() || !below.has_subcommands() {
            section(below, &path, out);
        }
        leaves(below, &path, out);
    }
}

fn section(command: &Command, path: &str, out: &mut String) {
    let about = about(command);
    let end = if about.ends_with('.') { "" } else { "." };
    write!(out, "\n### {path}\n\n{}{end}\n", about.replace("\n\n", ".\n\n")).unwrap();
    let arguments: Vec<&Arg> =
        command.get_arguments().filter(|it| !["help", "version", "format"].contains(&it.get_id().as_str())).collect();
    if arguments.is_empty() {
        return;
    }
    out.push_str("\n| argument | meaning | default |\n|---|---|---|\n");
    for argument in arguments {
        let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
        let defaults: Vec<_> = argument.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
        let default = match (defaults.concat(), argument.is_required_set()) {
            (default, _) if !default.is_empty() && takes_value(argument) => format!("`{default}`"),
            (_, true) => "required".to_owned(),
            _ => "-".to_owned(),
        };
        writeln!(out, "| `{}` | {} | {default} |", shown(argument), help.replace('|', "\\|")).unwrap();
    }
}

fn about(command: &Command) -> String {
    command.get_long_about().or(command.get_about()).map(ToString::to_string).unwrap_or_default()
}

fn takes_value(argument: &Arg) -> bool {
    argument.get_action().takes_values()
}

/// An argument, as it is written.
fn shown(argument: &Arg) -> String {
    let names = argument.get_value_names().unwrap_or_default();
    let value = names.first().map_or_else(|| argument.get_id().to_string().to_uppercase(), ToString::to_string);
    match argument.get_long() {
        None => format!("<{value}>"),
        Some(long) if takes_value(argument) => format!("--{long} <{value}>"),
        Some(long) => format!("--{long}"),
    }
}
