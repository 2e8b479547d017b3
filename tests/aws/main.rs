//! An AWS account: an emulator that enforces IAM, and before it IAM Roles Anywhere as its documentation has it.
//!
//! What the broker's sessions can do there, and what nobody can: every attack of the table in `docs/boundary-aws.md`. And
//! AWS's own credential helper (`aws_signing_helper`) against the same endpoint, and against the product: for the same key,
//! time and body both send the same octets.

#[cfg(test)]
mod attacks;
#[cfg(test)]
mod boundary;
#[cfg(test)]
mod broker;
#[cfg(test)]
mod cloud_control;
#[cfg(test)]
mod control;
#[cfg(test)]
mod driving;
#[cfg(test)]
mod evidence;
#[cfg(test)]
mod examples;
#[cfg(test)]
mod exchanges;
#[cfg(test)]
#[path = "../world/mod.rs"]
mod house;
#[cfg(test)]
#[path = "../support/memory.rs"]
mod memory;
#[cfg(test)]
#[path = "../support/people.rs"]
mod people;
#[cfg(test)]
#[path = "../support/permit.rs"]
mod permit;
#[cfg(test)]
mod permits;
#[cfg(test)]
#[path = "../support/recorder.rs"]
mod recorder;
#[cfg(test)]
#[path = "../support/roles_anywhere.rs"]
mod roles_anywhere;
#[cfg(test)]
#[path = "../support/sessions.rs"]
mod sessions;
#[cfg(test)]
#[path = "../support/mod.rs"]
mod support;
#[cfg(test)]
#[expect(dead_code, reason = "its page is made by tests/docs.rs")]
mod table;
#[cfg(test)]
#[path = "../support/testbed/mod.rs"]
mod testbed;
#[cfg(test)]
mod ways;
#[cfg(test)]
mod world;

#[cfg(test)]
mod helper {
    use std::path::PathBuf;
    use std::process::Output;

    use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
    use der::{Decode, Encode};
    use rustls::crypto::aws_lc_rs::sign::any_supported_type;
    use rustls::sign::CertifiedKey;
    use rustls_pki_types::pem::PemObject;
    use rustls_pki_types::{CertificateDer, PrivateKeyDer};
    use seb::target::aws::create_session::RolesAnywhere;
    use seb::target::aws::x509::{Algorithm, Prepared, Request, signer};
    use seb::timestamp::Timestamp;
    use serde_json::Value;
    use tokio::process::Command;

    use super::roles_anywhere::{self as endpoint, PROFILE, REGION, ROLE, Recorded, Rules, TRUST_ANCHOR, made_up};
    use super::testbed::{Folder, PATIENCE, program};

    fn vectors() -> PathBuf {
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/aws")
    }

    fn certificate(name: &str) -> CertificateDer<'static> {
        CertificateDer::from_pem_file(vectors().join(name)).unwrap()
    }

    fn identity(name: &str, with_chain: bool) -> CertifiedKey {
        let mut chain = vec![certificate(&format!("{name}.pem"))];
        chain.extend(with_chain.then(|| certificate("intermediate.pem")));
        let key = PrivateKeyDer::from_pem_file(vectors().join(format!("{name}-key.pem"))).unwrap();
        CertifiedKey::new(chain, any_supported_type(&key).unwrap())
    }

    /// Runs AWS's helper by these files, in a folder and an environment without any other AWS configuration.
    async fn helper(folder: &Folder, origin: &str, name: &str, with_chain: bool, more: &[&str]) -> Output {
        let mut command = Command::new(program("aws-signing-helper", "rolesanywhere-credential-helper"));
        command.env_clear().env("HOME", folder.path()).env("AWS_EC2_METADATA_DISABLED", "true").kill_on_drop(true);
        command.arg("credential-process").arg("--certificate").arg(vectors().join(format!("{name}.pem")));
        command.arg("--private-key").arg(vectors().join(format!("{name}-key.pem")));
        if with_chain {
            command.arg("--intermediates").arg(vectors().join("intermediate.pem"));
        }
        command.args(["--trust-anchor-arn", TRUST_ANCHOR, "--profile-arn", PROFILE, "--role-arn", ROLE]);
        command.args(["--region", REGION, "--session-duration", "900", "--endpoint", origin]).args(more);
        tokio::time::timeout(PATIENCE, command.output()).await.unwrap().unwrap()
    }

    async fn start() -> endpoint::RolesAnywhere {
        endpoint::RolesAnywhere::start(Rules::new(&certificate("intermediate.pem"), made_up()), None).await
    }

    fn signed_names(request: &Recorded) -> Vec<String> {
        let authorization = request.header("authorization").unwrap();
        let names = authorization.split("SignedHeaders=").nth(1).unwrap().split(',').next().unwrap();
        names.split(';').map(str::to_owned).collect()
    }

    fn time(request: &Recorded) -> Timestamp {
        endpoint::extended(request.header("x-amz-date").unwrap()).unwrap()
    }

    /// What the product would have signed of the helper's request.
    fn ours(request: &Recorded, identity: &CertifiedKey, algorithm: Algorithm) -> Prepared {
        let own = ["host", "content-type", "x-amz-date", "x-amz-x509", "x-amz-x509-chain"];
        let names = signed_names(request);
        let more: Vec<(&str, &str)> = names
            .iter()
            .filter(|name| !own.contains(&name.as_str()))
            .map(|name| (name.as_str(), request.header(name).unwrap()))
            .collect();
        let query = [("trustAnchorArn", TRUST_ANCHOR), ("profileArn", PROFILE), ("roleArn", ROLE)];
        let asked = Request {
            host: request.header("host").unwrap(),
            region: REGION,
            query: &query,
            headers: &more,
            body: &request.body,
            time: time(request),
        };
        Prepared::new(&asked, algorithm, &identity.cert).unwrap()
    }

    #[tokio::test]
    async fn the_helper_of_aws_signs_the_same_octets() {
        let folder = Folder::new();
        for (name, with_chain, algorithm) in
            [("ecdsa", true, Algorithm::Ecdsa), ("ecdsa", false, Algorithm::Ecdsa), ("rsa", true, Algorithm::Rsa)]
        {
            let server = start().await;
            let output = helper(&folder, &server.origin, name, with_chain, &[]).await;
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            let said: Value = serde_json::from_slice(&output.stdout).unwrap();
            assert_eq!(said["AccessKeyId"], "ASIAEXAMPLEEXAMPLE00");

            let request = server.requests().pop().unwrap();
            let identity = identity(name, with_chain);
            let prepared = ours(&request, &identity, algorithm);
            assert_eq!(prepared.query(), request.query);
            for (name, value) in prepared.headers() {
                assert_eq!(request.header(name), Some(value.as_str()), "{name}");
            }
            let theirs = request.header("authorization").unwrap();
            let signature = base16ct::lower::decode_vec(theirs.rsplit('=').next().unwrap()).unwrap();
            assert_eq!(prepared.authorization(&signature), theirs);
            match algorithm {
                Algorithm::Rsa => {
                    let (_, signer) = signer(&identity).unwrap();
                    assert_eq!(prepared.sign(signer.as_ref()).unwrap(), theirs, "byte for byte");
                }
                Algorithm::Ecdsa => {
                    let leaf = x509_cert::Certificate::from_der(&identity.cert[0]).unwrap();
                    let key = leaf.tbs_certificate().subject_public_key_info().to_der().unwrap();
                    let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, key);
                    key.verify(prepared.string_to_sign().as_bytes(), &signature).unwrap();
                }
            }
            // What the product sends by itself: the same but for the headers of the helper's SDK.
            let arn = |text: &str| text.parse().unwrap();
            let (origin, region) = (server.origin.parse().unwrap(), REGION.parse().unwrap());
            let roles = RolesAnywhere::new(origin, region, arn(TRUST_ANCHOR), arn(PROFILE), arn(ROLE)).unwrap();
            let sent = roles.request(&identity, time(&request)).unwrap();
            assert_eq!(sent.body, request.body);
            assert_eq!(sent.url, format!("{}/sessions?{}", server.origin, request.query));
            for (name, value) in sent.headers.iter().filter(|(name, _)| name != "authorization") {
                assert_eq!(request.header(name), Some(value.as_str()), "{name}");
            }
        }
    }

    #[tokio::test]
    async fn the_helper_of_aws_is_refused_where_aws_would() {
        let folder = Folder::new();
        let server = start().await;
        let said = |output: Output| {
            assert!(!output.status.success());
            String::from_utf8_lossy(&output.stderr).into_owned()
        };
        let output = helper(&folder, &server.origin, "ecdsa", true, &["--role-session-name", "mine"]).await;
        assert!(said(output).contains("does not accept a role session name"));
        server.configure(|rules| rules.roles.clear());
        let output = helper(&folder, &server.origin, "ecdsa", true, &[]).await;
        assert!(said(output).contains("AccessDeniedException"));
        server.configure(|rules| *rules = Rules::new(&certificate("rsa.pem"), made_up()));
        let output = helper(&folder, &server.origin, "ecdsa", true, &[]).await;
        assert!(said(output).contains("Untrusted"));
    }
}
