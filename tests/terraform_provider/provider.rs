//! Terraform with the real provider, in a copy of `terraform/`.

use std::path::{Path, PathBuf};
use std::process::Command;

use seb::clock;

use crate::roles_anywhere::RolesAnywhere;
use crate::testbed::program;
use crate::tls::Front;

/// What the provider is called for Terraform: the version that its source says.
const VERSION: &str = "6.34.0";

/// A copy of `terraform/` in which Terraform may write, and the provider where Terraform finds it.
pub struct World {
    folder: tempfile::TempDir,
    /// What the provider asks in place of AWS.
    aws: Option<Aws>,
}

struct Aws {
    origin: String,
    ca: PathBuf,
    roles_anywhere: String,
}

pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The names of what is in a folder of the tree, in order.
pub fn names(folder: &str) -> Vec<String> {
    let entries = std::fs::read_dir(root().join(folder)).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort_unstable();
    names
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}

impl World {
    /// One in which nobody is asked.
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        copy(&root().join("terraform"), &folder.path().join("terraform"));
        let mirror = std::env::var_os("SEB_TERRAFORM_MIRROR").map(PathBuf::from);
        let mirror = mirror.unwrap_or_else(|| built(&folder.path().join("mirror")));
        let path = mirror.display();
        let settings = format!("provider_installation {{\n  filesystem_mirror {{\n    path = \"{path}\"\n  }}\n}}\n");
        std::fs::write(folder.path().join("terraform.rc"), settings).unwrap();
        Self { folder, aws: None }
    }

    /// One whose provider asks this account, as its root.
    pub fn of(front: &Front, roles_anywhere: &RolesAnywhere) -> Self {
        let (origin, ca) = (front.origin.clone(), front.ca.clone());
        Self { aws: Some(Aws { origin, ca, roles_anywhere: roles_anywhere.origin.clone() }), ..Self::new() }
    }

    /// Writes a file of the copy.
    pub fn write(&self, name: &str, text: &str) {
        let path = self.folder.path().join("terraform").join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    /// Runs it; its status as a number, and what it wrote.
    pub fn terraform(&self, arguments: &[&str]) -> (i32, String) {
        let (begin, folder) = (clock::instant(), self.folder.path());
        let mut command = Command::new("terraform");
        command.args(arguments).current_dir(folder.join("terraform"));
        // What the machine says of Terraform and AWS is none of the tests' business.
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy().into_owned();
            if ["AWS_", "TF_"].iter().any(|begin| text.starts_with(begin)) {
                command.env_remove(name);
            }
        }
        command.env("CHECKPOINT_DISABLE", "1").env("TF_IN_AUTOMATION", "1").env("TF_CLI_ARGS", "-no-color");
        command.env("TF_CLI_CONFIG_FILE", folder.join("terraform.rc"));
        for file in ["AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"] {
            command.env(file, folder.join("none"));
        }
        // Where anything but the emulator is asked, nobody answers.
        command.env("AWS_EC2_METADATA_DISABLED", "true").env("HTTPS_PROXY", "http://127.0.0.1:1");
        if let Some(Aws { origin, ca, roles_anywhere }) = &self.aws {
            command.env("AWS_ENDPOINT_URL", origin).env("AWS_CA_BUNDLE", ca);
            command.env("AWS_ENDPOINT_URL_ROLESANYWHERE", roles_anywhere);
            command.env("AWS_ACCESS_KEY_ID", "test").env("AWS_SECRET_ACCESS_KEY", "test");
        }
        let output = command
            .output()
            .expect("Terraform 1.9 or newer is needed: https://developer.hashicorp.com/terraform/install");
        let what = arguments.first().unwrap();
        println!("terraform {what}: {:.1} s", begin.elapsed().as_secs_f64());
        (output.status.code().unwrap(), String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
    }

    /// Runs it, and it succeeds; what it wrote.
    pub fn done(&self, arguments: &[&str]) -> String {
        let (status, output) = self.terraform(arguments);
        assert_eq!(status, 0, "{arguments:?}\n{output}");
        output
    }
}

/// Makes a mirror of the provider that `scripts/testbed` built.
fn built(mirror: &Path) -> PathBuf {
    let machine = if cfg!(target_arch = "aarch64") { "linux_arm64" } else { "linux_amd64" };
    let package = mirror.join("registry.terraform.io/hashicorp/aws").join(VERSION).join(machine);
    std::fs::create_dir_all(&package).unwrap();
    let provider = program("terraform-provider-aws", "terraform-provider-aws");
    std::os::unix::fs::symlink(provider, package.join(format!("terraform-provider-aws_v{VERSION}"))).unwrap();
    mirror.to_owned()
}
