//! The Terraform modules and examples with the real AWS provider: its schema takes them, what they plan is what they
//! promise, and what they make in an account (an emulator of one) is that, holds, and goes away again. No AWS is asked.
//!
//! `scripts/testbed terraform-provider-aws` builds the provider; a machine that has it in a filesystem mirror names that by
//! `SEB_TERRAFORM_MIRROR`. Each command of Terraform loads its whole schema, which takes
//! seconds: so there are few, about everything at once.

#[cfg(test)]
mod account;
#[cfg(test)]
mod applied;
#[cfg(test)]
mod organization;
#[cfg(test)]
mod provider;
#[cfg(test)]
mod roles_anywhere;
#[cfg(test)]
#[path = "../support/testbed/mod.rs"]
mod testbed;
#[cfg(test)]
mod tls;

#[cfg(test)]
mod tests {
    use crate::provider::{World, names, root};

    fn example(name: &str) -> String {
        std::fs::read_to_string(root().join("terraform/examples").join(name).join("main.tf")).unwrap()
    }

    #[test]
    fn the_provider_takes_every_module_and_example() {
        let (world, examples) = (World::new(), names("terraform/examples"));
        let mut all = String::new();
        // An example's inputs are what it requires; that a configuration of providers stands in it is allowed of a module.
        for name in &examples {
            all += &format!("module \"{name}\" {{\n  source = \"./examples/{name}\"\n");
            for block in example(name).split("\nvariable \"").skip(1) {
                let block = block.split("\n}").next().unwrap();
                if !block.contains("\n  default") {
                    all += &format!("  {} = \"given\"\n", block.split('"').next().unwrap());
                }
            }
            all += "}\n";
        }
        assert!(examples.len() >= 3, "{examples:?}");
        world.write("all.tf", &all);
        // It warns that the provider is of this machine alone.
        world.done(&["init", "-input=false"]);
        let output = world.done(&["validate"]);
        assert!(!output.contains("Warning"), "{output}");
        for module in names("terraform/modules") {
            let used = examples.iter().any(|name| example(name).contains(&format!("\"../../modules/{module}\"")));
            assert!(used, "{module} stands in no example");
        }
    }

    #[test]
    fn what_is_planned_is_what_the_modules_promise() {
        let world = World::new();
        world.done(&["init", "-input=false"]);
        let output = world.done(&["test"]);
        let runs = std::fs::read_to_string(root().join("terraform/tests/modules.tftest.hcl")).unwrap();
        let runs = runs.matches("\nrun \"").count();
        assert!(runs >= 10 && output.contains(&format!("{runs} passed, 0 failed.")), "{output}");
    }
}
