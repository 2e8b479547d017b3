#![cfg(test)]
//! What the type system refuses: without a permit there is no call, and without facts there is no permit.
//!
//! Each file of `tests/compile_fail/` begins with `//~ CODE TEXT`: the compiler has to refuse it with that error, and to
//! say that text. It is compiled against the library that this test is linked with, so that nothing is built twice.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The folder of everything that was compiled with this test.
fn deps() -> PathBuf {
    std::env::current_exe().unwrap().parent().unwrap().to_path_buf()
}

/// The newest build of a library among them.
fn library(name: &str) -> PathBuf {
    let prefix = format!("lib{name}-");
    let files = fs::read_dir(deps()).unwrap().map(|entry| entry.unwrap().path());
    let ours = files.filter(|path| {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        name.starts_with(&prefix) && name.ends_with(".rlib")
    });
    ours.max_by_key(|path| fs::metadata(path).unwrap().modified().unwrap()).expect("it is built with the library")
}

fn compile(file: &Path) -> Output {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let out = tempfile::tempdir().unwrap();
    let mut command = Command::new(rustc);
    command.args(["--edition=2024", "--crate-type=lib", "--emit=metadata", "--error-format=short"]);
    command.arg("--out-dir").arg(out.path()).arg("-L").arg(deps());
    for name in ["seb", "serde", "serde_json"] {
        command.arg("--extern").arg(format!("{name}={}", library(name).display()));
    }
    command.arg(file).output().unwrap()
}

fn cases(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(folder);
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

#[test]
fn i1_nothing_behind_a_permit_can_be_called_without_one() {
    let cases = cases("compile_fail");
    assert!(cases.len() >= 14, "{cases:?}");
    for case in cases {
        let text = fs::read_to_string(&case).unwrap();
        let first = text.lines().next().unwrap();
        let expected = first.strip_prefix("//~ ").expect("the first line says what the compiler will say");
        let (code, words) = expected.split_once(' ').unwrap();
        let output = compile(&case);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{} compiles", case.display());
        assert!(errors.contains(&format!("error[{code}]")) && errors.contains(words), "{}: {errors}", case.display());
        assert_eq!(errors.matches("error[").count(), 1, "for one reason only: {}: {errors}", case.display());
    }
}

#[test]
fn with_a_permit_it_can_be_called() {
    let cases = cases("compile_pass");
    assert!(!cases.is_empty());
    for case in cases {
        let output = compile(&case);
        assert!(output.status.success(), "{}: {}", case.display(), String::from_utf8_lossy(&output.stderr));
    }
}
