//! Compiles `proto/` without `protoc`, keeps the descriptors for gRPC reflection, and notes what `--version` tells.

use std::error::Error;
use std::path::PathBuf;
use std::process::Command;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let files = ["seb/v1/execution.proto", "seb/v1/record.proto", "sab/v1/authority.proto"];
    let descriptors = protox::compile(files, ["proto"])?;
    let out = PathBuf::from(std::env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?);
    std::fs::write(out.join("descriptors.bin"), prost::Message::encode_to_vec(&descriptors))?;
    tonic_prost_build::configure().compile_fds(descriptors)?;
    // SPIRE's API is called and not offered: there is no server of it, and nobody finds it by reflection.
    let spire = protox::compile(["spire/api/server/svid/v1/svid.proto"], ["proto"])?;
    tonic_prost_build::configure().build_server(false).compile_fds(spire)?;
    facts();
    Ok(())
}

/// What a build is made of and by. The same sources and tools give the same facts; what is not known is empty, and
/// nothing here can fail a build.
fn facts() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=Cargo.lock");
    let rustc = variable("RUSTC").and_then(|rustc| output(Command::new(rustc).arg("--version")));
    let lock = std::fs::read_to_string("Cargo.lock").unwrap_or_default();
    let profile = variable("PROFILE").unwrap_or_default();
    fact("COMMIT", commit(&profile));
    fact("RUSTC", rustc.map(|rustc| rustc.trim_start_matches("rustc ").to_owned()));
    fact("TARGET", variable("TARGET"));
    fact("TLS", locked(&lock, "rustls"));
    fact("CRYPTO", locked(&lock, "aws-lc-rs"));
    fact("PROFILE", Some(profile));
    // The time is one only where whoever builds says which: two builds of the same sources are the same.
    fact("EPOCH", variable("SOURCE_DATE_EPOCH").filter(|epoch| epoch.bytes().all(|b| b.is_ascii_digit())));
}

fn fact(name: &str, value: Option<String>) {
    // A variable of cargo's is one line.
    let value = value.unwrap_or_default().replace(['\n', '\r'], " ");
    println!("cargo:rustc-env=SEB_BUILD_{name}={}", value.trim());
}

/// The commit: `SEB_COMMIT` where that is set, as a packager would; else, of a release, what git says of the checkout.
/// Other profiles do not ask, because they would have to be built again after every commit to say the truth.
fn commit(profile: &str) -> Option<String> {
    let given = variable("SEB_COMMIT").filter(|commit| !commit.is_empty());
    if given.is_some() || profile != "release" {
        return given;
    }
    let git = |arguments: &[&str]| output(Command::new("git").args(arguments));
    // Whether there are changes depends on all of these; an index that is not there has no changes.
    for path in ["HEAD", "logs/HEAD", "index"] {
        if let Some(path) = git(&["rev-parse", "--git-path", path]) {
            println!("cargo:rerun-if-changed={path}");
        }
    }
    for path in ["src", "proto", "Cargo.toml"] {
        println!("cargo:rerun-if-changed={path}");
    }
    // A source tree inside somebody else's checkout is not of its commits.
    let top = PathBuf::from(git(&["rev-parse", "--show-toplevel"])?).canonicalize().ok()?;
    if top != PathBuf::from(variable("CARGO_MANIFEST_DIR")?).canonicalize().ok()? {
        return None;
    }
    let commit = git(&["rev-parse", "HEAD"])?;
    let clean = git(&["status", "--porcelain", "--untracked-files=no"])?.is_empty();
    Some(if clean { commit } else { format!("{commit} (changed)") })
}

fn variable(name: &str) -> Option<String> {
    println!("cargo:rerun-if-env-changed={name}");
    std::env::var_os(name)?.into_string().ok()
}

/// What a command prints, if it succeeds.
fn output(command: &mut Command) -> Option<String> {
    let output = command.output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8(output.stdout).ok()?.trim().to_owned())
}

/// A package and its version in `Cargo.lock`.
fn locked(lock: &str, name: &str) -> Option<String> {
    let (_, after) = lock.split_once(&format!("name = \"{name}\"\nversion = \""))?;
    Some(format!("{name} {}", after.split('"').next()?))
}
