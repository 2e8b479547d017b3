//! The Terraform modules and examples with the real AWS provider: its schema takes them, and what they plan is what they
//! promise. No AWS is asked.
//!
//! `scripts/testbed terraform-provider-aws` builds the provider; a machine that has it in a filesystem mirror names that by
//! `SEB_TERRAFORM_MIRROR`. Each command of Terraform loads its whole schema, which takes
//! seconds: so there are few, about everything at once.

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};
    use std::process::{Command, ExitStatus};

    /// What the provider is called for Terraform: its module says no version. The fork is of the time of this one.
    const VERSION: &str = "6.35.0";

    /// A copy of `terraform/` in which Terraform may write, and the provider where Terraform finds it.
    struct World {
        folder: tempfile::TempDir,
    }

    fn root() -> &'static Path {
        Path::new(env!("CARGO_MANIFEST_DIR"))
    }

    fn provider() -> PathBuf {
        let output =
            Command::new(root().join("scripts/testbed")).args(["--path", "terraform-provider-aws"]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let path = Path::new(String::from_utf8(output.stdout).unwrap().trim()).join("terraform-provider-aws");
        assert!(path.exists(), "the provider is not built: run `scripts/testbed terraform-provider-aws`");
        path
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
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            copy(&root().join("terraform"), &folder.path().join("terraform"));
            let mirror = std::env::var_os("SEB_TERRAFORM_MIRROR").map(PathBuf::from);
            let mirror = mirror.unwrap_or_else(|| Self::built(&folder.path().join("mirror")));
            let path = mirror.display();
            let settings =
                format!("provider_installation {{\n  filesystem_mirror {{\n    path = \"{path}\"\n  }}\n}}\n");
            std::fs::write(folder.path().join("terraform.rc"), settings).unwrap();
            Self { folder }
        }

        /// Makes a mirror of the provider that `scripts/testbed` built.
        fn built(mirror: &Path) -> PathBuf {
            let machine = if cfg!(target_arch = "aarch64") { "linux_arm64" } else { "linux_amd64" };
            let package = mirror.join("registry.terraform.io/hashicorp/aws").join(VERSION).join(machine);
            std::fs::create_dir_all(&package).unwrap();
            std::os::unix::fs::symlink(provider(), package.join(format!("terraform-provider-aws_v{VERSION}"))).unwrap();
            mirror.to_owned()
        }

        fn terraform(&self, arguments: &[&str]) -> (ExitStatus, String) {
            let output = Command::new("terraform")
                .args(arguments)
                .arg("-no-color")
                .current_dir(self.folder.path().join("terraform"))
                .env("CHECKPOINT_DISABLE", "1")
                .env("TF_IN_AUTOMATION", "1")
                .env("TF_CLI_CONFIG_FILE", self.folder.path().join("terraform.rc"))
                .env("AWS_EC2_METADATA_DISABLED", "true")
                .output()
                .expect("Terraform 1.9 or newer is needed: https://developer.hashicorp.com/terraform/install");
            (output.status, String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
        }
    }

    #[test]
    fn the_provider_takes_every_module_and_example() {
        let world = World::new();
        let mut all = String::new();
        let examples = std::fs::read_dir(root().join("terraform/examples")).unwrap();
        let mut names: Vec<_> = examples.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort_unstable();
        // An example's inputs are what it requires; that a configuration of providers stands in it is allowed of a module.
        for name in &names {
            let text = std::fs::read_to_string(root().join("terraform/examples").join(name).join("main.tf")).unwrap();
            all += &format!("module \"{name}\" {{\n  source = \"./examples/{name}\"\n");
            for block in text.split("\nvariable \"").skip(1) {
                let block = block.split("\n}").next().unwrap();
                if !block.contains("\n  default") {
                    all += &format!("  {} = \"given\"\n", block.split('"').next().unwrap());
                }
            }
            all += "}\n";
        }
        assert!(names.len() >= 3, "{names:?}");
        std::fs::write(world.folder.path().join("terraform/all.tf"), &all).unwrap();
        for arguments in [["init", "-input=false"].as_slice(), &["validate"]] {
            let (status, output) = world.terraform(arguments);
            assert!(status.success(), "{output}\n{all}");
            // `init` warns that the provider is of this machine alone.
            assert!(arguments[0] == "init" || !output.contains("Warning"), "{output}");
        }
        // Every module stands in some example.
        for module in std::fs::read_dir(root().join("terraform/modules")).unwrap() {
            let name = module.unwrap().file_name().into_string().unwrap();
            let used = names.iter().any(|example| {
                let path = root().join("terraform/examples").join(example).join("main.tf");
                std::fs::read_to_string(path).unwrap().contains(&format!("\"../../modules/{name}\""))
            });
            assert!(used, "{name}");
        }
    }

    #[test]
    fn what_is_planned_is_what_the_modules_promise() {
        let world = World::new();
        let (status, output) = world.terraform(&["init", "-input=false"]);
        assert!(status.success(), "{output}");
        let (status, output) = world.terraform(&["test"]);
        assert!(status.success(), "{output}");
        let runs = std::fs::read_to_string(root().join("terraform/tests/modules.tftest.hcl")).unwrap();
        let runs = runs.matches("\nrun \"").count();
        assert!(runs >= 10 && output.contains(&format!("{runs} passed, 0 failed.")), "{output}");
    }
}
