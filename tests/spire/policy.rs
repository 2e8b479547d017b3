//! The shipped authorization policy on a real server: what it refuses, and what it admits.

use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, SanType};
use seb::tls::{self, Connector, H2};
use tonic::Code;
use tonic::client::Grpc;
use tonic::transport::{Channel, Endpoint};
use tonic_prost::ProstCodec;

use crate::domain::{identities, options, policy};
use crate::minting::mutation;
use crate::testbed::spire::{Options, Spire};
use crate::testbed::{Folder, PATIENCE};
use crate::world::id;

#[expect(clippy::allow_attributes_without_reason, reason = "generated code")]
mod api {
    pub mod types {
        tonic::include_proto!("spire.api.types");
    }
    pub mod server {
        pub mod svid {
            pub mod v1 {
                tonic::include_proto!("spire.api.server.svid.v1");
            }
        }
    }
}

use api::server::svid::v1::svid_client::SvidClient;
use api::server::svid::v1::{MintJwtsvidRequest, MintX509svidRequest, NewDownstreamX509caRequest};
use api::types::Spiffeid;

async fn channel(spire: &Spire, path: &str) -> Channel {
    let own = identities(spire, path).await;
    let config = tls::client_config(&own, [id("spire/server")], &[H2]).unwrap();
    let endpoint = Endpoint::from_shared(format!("http://{}", spire.server_address)).unwrap();
    endpoint.connect_with_connector(Connector::new(config, PATIENCE)).await.unwrap()
}

fn csr(path: &str, change: impl FnOnce(&mut CertificateParams)) -> Vec<u8> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, path.rsplit('/').next().unwrap());
    params.subject_alt_names = vec![SanType::URI(format!("spiffe://example.org/{path}").try_into().unwrap())];
    change(&mut params);
    params.serialize_request(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
}

/// Calls a method with an empty request: what it answers to it does not matter, only whether it is let in.
async fn let_in(channel: &Channel, method: &'static str) -> bool {
    let mut client = Grpc::new(channel.clone());
    client.ready().await.unwrap();
    let path = http::uri::PathAndQuery::from_static(method);
    let answer = client.unary(tonic::Request::new(()), path, ProstCodec::<(), ()>::default()).await;
    !matches!(answer, Err(status) if status.code() == Code::PermissionDenied)
}

#[tokio::test(flavor = "multi_thread")]
async fn i5_a_broker_mints_nothing_but_executions_for_seconds() {
    let folder = Folder::new();
    let spire = Spire::start(&folder, options("spire-mint", 3600)).await;
    let channel = channel(&spire, "seb").await;
    let client = SvidClient::new(channel.clone());
    let x509 = async |csr: Vec<u8>, ttl: i32| {
        client.clone().mint_x509svid(MintX509svidRequest { csr, ttl }).await.map(drop).map_err(|it| it.code())
    };
    let jwt = async |path: &str, audiences: &[&str], ttl: i32| {
        let (trust_domain, path) = ("example.org".to_owned(), format!("/{path}"));
        let audience = audiences.iter().map(|&one| one.to_owned()).collect();
        let request = MintJwtsvidRequest { id: Some(Spiffeid { trust_domain, path }), audience, ttl };
        client.clone().mint_jwtsvid(request).await.map(drop).map_err(|it| it.code())
    };
    let execution = format!("seb/execution/{}", mutation(1));
    let plain = |path: &str| csr(path, |_| {});
    for ttl in [1, 30, 60] {
        assert_eq!(x509(plain(&execution), ttl).await, Ok(()), "{ttl}");
        assert_eq!(jwt(&execution, &["cluster", "urn:seb:call:1"], ttl).await, Ok(()), "{ttl}");
    }
    let denied = Err(Code::PermissionDenied);
    // Longer, or for as long as the server likes.
    for ttl in [61, 3600, 0, -1] {
        assert_eq!(x509(plain(&execution), ttl).await, denied, "{ttl}");
        assert_eq!(jwt(&execution, &["cluster"], ttl).await, denied, "{ttl}");
    }
    // Somebody else.
    let more = format!("{execution}/more");
    for path in ["agent/one", "sab", "seb", "seb/execution", "seb/execution/m-1", "x/seb/execution/m-1", &more] {
        assert_eq!(x509(plain(path), 30).await, denied, "{path}");
        assert_eq!(jwt(path, &["cluster"], 30).await, denied, "{path}");
    }
    assert_eq!(jwt(&execution, &["a", "b", "c", "d", "e"], 30).await, denied);
    assert_eq!(jwt(&execution, &[], 30).await, denied);
    // The right name beside others.
    let dns = csr(&execution, |it| it.subject_alt_names.push(SanType::DnsName("example.org".try_into().unwrap())));
    let two = csr(&execution, |it| {
        it.subject_alt_names.push(SanType::URI("spiffe://example.org/agent/one".try_into().unwrap()));
    });
    let named = csr(&execution, |it| it.distinguished_name = DistinguishedName::new());
    for csr in [dns, two, named, b"nonsense".to_vec(), Vec::new()] {
        assert_eq!(x509(csr, 30).await, denied);
    }
    // Other methods, which an admin or a downstream server could call.
    let ca = NewDownstreamX509caRequest { csr: plain("seb"), preferred_ttl: 3600 };
    assert_eq!(client.clone().new_downstream_x509ca(ca).await.unwrap_err().code(), Code::PermissionDenied);
    for method in [
        "/spire.api.server.svid.v1.SVID/MintWITSVID",
        "/spire.api.server.svid.v1.SVID/BatchNewX509SVID",
        "/spire.api.server.entry.v1.Entry/ListEntries",
        "/spire.api.server.entry.v1.Entry/BatchCreateEntry",
        "/spire.api.server.agent.v1.Agent/CreateJoinToken",
        "/spire.api.server.bundle.v1.Bundle/AppendBundle",
        "/spire.api.server.bundle.v1.Bundle/PublishJWTAuthority",
        "/spire.api.server.localauthority.v1.LocalAuthority/PrepareX509Authority",
    ] {
        assert!(!let_in(&channel, method).await, "{method}");
    }
    assert!(let_in(&channel, "/spire.api.server.bundle.v1.Bundle/GetBundle").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_intermediate_is_signed_only_where_the_policy_says_so() {
    let folder = Folder::new();
    // The entry is a downstream one in both, and the policy in one.
    let with = Spire::start(&folder, options("spire-downstream", 3600)).await;
    let without =
        Options { trust_domain: "example.org", policy: Some(policy(false)), ..options("spire-downstream", 3600) };
    let ask = async |spire: &Spire, preferred_ttl: i32| {
        let mut client = SvidClient::new(channel(spire, "seb").await);
        let request = NewDownstreamX509caRequest { csr: csr("seb", |_| {}), preferred_ttl };
        client.new_downstream_x509ca(request).await.map(drop).map_err(|it| it.code())
    };
    assert_eq!(ask(&with, 3600).await, Ok(()));
    for ttl in [0, 3601, 86_400] {
        assert_eq!(ask(&with, ttl).await, Err(Code::PermissionDenied), "{ttl}");
    }
    let channel = channel(&with, "seb").await;
    assert!(!let_in(&channel, "/spire.api.server.bundle.v1.Bundle/PublishJWTAuthority").await);
    drop(with);
    let folder = Folder::new();
    assert_eq!(ask(&Spire::start(&folder, without).await, 3600).await, Err(Code::PermissionDenied));
}

#[tokio::test(flavor = "multi_thread")]
async fn i5_nobody_else_makes_an_execution_identity() {
    let folder = Folder::new();
    let spire = Spire::start(&folder, options("spire-mint", 3600)).await;
    // On the server's own machine, where everything is allowed otherwise.
    let socket = spire.server_socket();
    let path = crate::testbed::program("spire", "spire-server");
    let run = async |words: &[&str]| {
        let mut command = tokio::process::Command::new(&path);
        command.args(words).arg("-socketPath").arg(&socket).kill_on_drop(true);
        command.output().await.unwrap().status.success()
    };
    let (execution, parent) = (spire.id("seb/execution/m-1"), spire.id("spire/agent/x509pop/node"));
    let agent = spire.id("agent/two");
    for (id, allowed) in [(agent.as_str(), true), (execution.as_str(), false)] {
        assert_eq!(run(&["x509", "mint", "-spiffeID", id]).await, allowed, "{id}");
        assert_eq!(run(&["jwt", "mint", "-spiffeID", id, "-audience", "a"]).await, allowed, "{id}");
        let entry = ["entry", "create", "-parentID", &parent, "-spiffeID", id, "-selector", "unix:uid:12345"];
        assert_eq!(run(&entry).await, allowed, "{id}");
    }
    // And a workload that is nobody in particular can do nothing of it.
    let channel = channel(&spire, "agent/one").await;
    assert!(!let_in(&channel, "/spire.api.server.svid.v1.SVID/MintX509SVID").await);
}
