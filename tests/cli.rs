//! The two binaries, as a person runs them: what they print, and how they exit.

#[cfg(test)]
mod support;

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;
    use std::process::{Command, Output};

    use seb::attribute_certificate::SignatureAlgorithm;
    use serde_json::Value;
    use tempfile::TempDir;

    use crate::support::{AUTHORITY, BROKER, CONTRACT, HOLDER, Pki};

    /// A folder with everything that `sab issue` and `seb certificate verify` read.
    struct Files(TempDir);

    impl Files {
        fn new() -> Self {
            let pki = Pki::new(SignatureAlgorithm::EcdsaP256Sha256);
            let files = Self(tempfile::tempdir().unwrap());
            let chain = [&pki.chain[0], &pki.chain[1]].map(|der| pem("CERTIFICATE", der)).concat();
            files.write("contract.json", CONTRACT);
            files.write("key.pem", pki.key.to_pkcs8_pem().unwrap().as_str());
            files.write("chain.pem", &chain);
            files.write("bundle.pem", &pki.root.pem());
            files.write("policy", "permit everything");
            files.write("evidence", "looked at everything");
            files
        }

        fn path(&self) -> &Path {
            self.0.path()
        }

        fn write(&self, name: &str, text: &str) {
            fs::write(self.path().join(name), text).unwrap();
        }

        fn run(&self, program: &str, words: &[&str]) -> Output {
            Command::new(program).args(words).current_dir(self.path()).output().unwrap()
        }

        fn issue(&self, more: &[&str]) -> Output {
            let words = [
                &["issue", "--contract", "contract.json", "--key", "key.pem", "--chain", "chain.pem"][..],
                &["--holder", HOLDER, "--broker", BROKER, "--policy", "policy", "--evidence", "evidence"],
                &["--policy-epoch", "1", "--revocation-epoch", "0", "--tier", "low"],
                &["--not-before", "2026-11-20T00:00:00Z"],
                more,
            ];
            self.run(env!("CARGO_BIN_EXE_sab"), &words.concat())
        }

        fn verify(&self, more: &[&str]) -> Output {
            let words = [
                &["certificate", "verify", "certificate.pem", "--bundle", "bundle.pem"][..],
                &["--authority", AUTHORITY, "--broker", BROKER],
                more,
            ];
            self.run(env!("CARGO_BIN_EXE_seb"), &words.concat())
        }
    }

    fn pem(label: &str, der: &[u8]) -> String {
        der::pem::encode_string(label, der::pem::LineEnding::LF, der).unwrap()
    }

    fn text(octets: &[u8]) -> &str {
        std::str::from_utf8(octets).unwrap()
    }

    fn json(output: &Output) -> Value {
        serde_json::from_slice(&output.stdout).unwrap()
    }

    #[test]
    fn a_certificate_is_issued_inspected_and_verified() {
        let files = Files::new();
        let issued = files.issue(&["--out", "certificate.pem"]);
        assert_eq!(issued.status.code(), Some(0), "{issued:?}");

        let inspected = files.run(env!("CARGO_BIN_EXE_seb"), &["certificate", "inspect", "certificate.pem"]);
        assert_eq!(inspected.status.code(), Some(0));
        for expected in ["not verified", HOLDER, BROKER, "2026-11-20T00:00:00Z", "\"replicas\": 10"] {
            assert!(text(&inspected.stdout).contains(expected), "{expected} in {}", text(&inspected.stdout));
        }

        let verified = files.verify(&["--holder", HOLDER, "--at", "2026-11-21T00:00:00Z"]);
        assert_eq!(verified.status.code(), Some(0), "{verified:?}");
        assert_eq!(text(&verified.stdout).matches("passed").count(), 5);
        assert!(!text(&verified.stdout).contains('\u{1b}'), "no colour where there is no terminal");
    }

    #[test]
    fn each_verdict_is_told_with_its_reason() {
        let files = Files::new();
        assert_eq!(files.issue(&["--out", "certificate.pem"]).status.code(), Some(0));
        let other = "spiffe://example.org/agent/other";
        let refused = files.verify(&["--holder", other, "--at", "2027-01-01T00:00:00Z", "--output", "json"]);
        assert_eq!(refused.status.code(), Some(1));
        let report = json(&refused);
        assert_eq!(report["valid"], false);
        assert_eq!(report["reason"], "wrong_holder");
        let statuses: Vec<_> =
            report["verdicts"].as_array().unwrap().iter().map(|verdict| &verdict["status"]).collect();
        assert_eq!(statuses, ["passed", "passed", "passed", "refused", "refused"]);
        let denials = report["verdicts"][4]["denials"].as_array().unwrap();
        assert!(denials.iter().all(|denial| denial["reason"] == "expired"));
        assert_eq!(denials.len(), 2, "the certificate's and the contract's validity");
    }

    #[test]
    fn der_with_a_chain_beside_it_verifies_as_pem_does() {
        let files = Files::new();
        let issued = files.issue(&[]);
        let (_, der) = der::pem::decode_vec(
            text(&issued.stdout).split_inclusive("-----END ATTRIBUTE CERTIFICATE-----\n").next().unwrap().as_bytes(),
        )
        .unwrap();
        fs::write(files.path().join("certificate.pem"), der).unwrap();
        let at = ["--holder", HOLDER, "--at", "2026-11-21T00:00:00Z"];
        assert_eq!(files.verify(&at).status.code(), Some(1), "no chain came with it");
        assert_eq!(files.verify(&[&at[..], &["--chain", "chain.pem"]].concat()).status.code(), Some(0));
    }

    #[test]
    fn a_wrong_command_line_or_an_unreadable_file_is_told_from_an_invalid_certificate() {
        let files = Files::new();
        let at = ["--holder", HOLDER, "--at", "2026-11-21T00:00:00Z"];
        assert_eq!(files.verify(&at).status.code(), Some(2), "there is no such file");
        assert_eq!(files.verify(&[]).status.code(), Some(2), "no holder");
        assert_eq!(files.verify(&["--holder", "me"]).status.code(), Some(2), "not a SPIFFE ID");
        assert_eq!(files.verify(&["--holder", HOLDER, "--at", "noon"]).status.code(), Some(2), "not a time");
        files.write("certificate.pem", "not a certificate");
        let refused = files.verify(&at);
        assert_eq!(refused.status.code(), Some(1));
        assert!(text(&refused.stdout).contains("certificate_pem"));
        assert_eq!(text(&refused.stdout).matches("not reached").count(), 4);
    }

    #[test]
    fn a_contract_that_breaks_a_rule_is_refused_with_its_place() {
        let files = Files::new();
        files.write("contract.json", &CONTRACT.replace("\"maximum\": 50", "\"maximum\": 5"));
        let refused = files.issue(&["--output", "json", "--out", "certificate.pem"]);
        assert_eq!(refused.status.code(), Some(1));
        assert_eq!(json(&refused)["denial"]["reason"], "contract_schema");
        assert!(json(&refused)["denial"]["detail"].as_str().unwrap().contains("/steps/0/mutation/"));
        assert!(!files.path().join("certificate.pem").exists());
    }

    #[test]
    fn a_key_that_is_not_the_chains_issues_nothing() {
        let files = Files::new();
        let other = Pki::new(SignatureAlgorithm::EcdsaP256Sha256);
        files.write("key.pem", other.key.to_pkcs8_pem().unwrap().as_str());
        let refused = files.issue(&["--out", "certificate.pem"]);
        assert_eq!(refused.status.code(), Some(2));
        assert!(text(&refused.stderr).contains("signature_invalid"), "{refused:?}");
        assert!(!files.path().join("certificate.pem").exists());
    }

    #[test]
    fn no_file_is_overwritten_and_no_key_is_shown() {
        let files = Files::new();
        files.write("certificate.pem", "precious");
        assert_eq!(files.issue(&["--out", "certificate.pem"]).status.code(), Some(2));
        assert_eq!(fs::read_to_string(files.path().join("certificate.pem")).unwrap(), "precious");
        files.write("key.pem", "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n");
        let refused = files.issue(&["--out", "other.pem"]);
        assert_eq!(refused.status.code(), Some(2));
        assert!(!text(&refused.stderr).contains("c2VjcmV0"));
    }

    #[test]
    fn completions_and_version_are_there() {
        for program in [env!("CARGO_BIN_EXE_seb"), env!("CARGO_BIN_EXE_sab")] {
            for shell in ["bash", "zsh", "fish"] {
                let output = Command::new(program).args(["completions", shell]).output().unwrap();
                assert!(output.status.success() && !output.stdout.is_empty());
            }
            let short = Command::new(program).arg("-V").output().unwrap();
            assert_eq!(text(&short.stdout).split(' ').nth(1), Some(concat!(env!("CARGO_PKG_VERSION"), "\n")));
            let long = Command::new(program).arg("--version").output().unwrap();
            let told = Command::new(program).args(["version", "--output", "json"]).output().unwrap();
            let told = json(&told);
            assert_eq!(told["version"], env!("CARGO_PKG_VERSION"));
            for fact in ["rustc", "target", "profile", "tls", "crypto"] {
                let fact = told[fact].as_str().unwrap();
                assert!(!fact.is_empty() && text(&long.stdout).contains(fact), "{fact}: {}", text(&long.stdout));
            }
            assert!(told["crypto"].as_str().unwrap().starts_with("aws-lc-rs "));
            // Two builds of the same sources say the same.
            assert_eq!(told["built"].is_null(), option_env!("SOURCE_DATE_EPOCH").is_none());
        }
    }
}
