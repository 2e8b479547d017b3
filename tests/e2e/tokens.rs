//! Rotation of the authority that signs JWT-SVIDs, by which executions authenticate.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::failing::Load;
use crate::world::{CHECKOUT, Options, World};

fn scale(replicas: u32) -> Value {
    json!({ "change": { "kind": "scale", "namespace": "shop", "name": "checkout", "replicas": replicas } })
}

/// The ID of the key that signs tokens now.
async fn signs(world: &World) -> String {
    use base64ct::{Base64UrlUnpadded, Encoding};
    let token = world.spire.mint_jwt("agent/deployer", &["nobody"], "60s").await;
    let header = Base64UrlUnpadded::decode_vec(token.split('.').next().unwrap()).unwrap();
    let header: Value = serde_json::from_slice(&header).unwrap();
    header["kid"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn rotation_of_the_authority_of_tokens_fails_no_execution() {
    let world = Arc::new(World::new(&Options::default()).await);
    let (load, tasks) = Load::start(&world, 3);
    let spire = &world.spire;
    load.more("executions before").await;
    let old = spire.jwt_authority("show", None).await;
    assert_eq!(signs(&world).await, old);
    let new = spire.jwt_authority("prepare", None).await;
    // The API server fetches the keys when it meets a token by one that it does not know: they must be there by then.
    spire.published("the next key", |keys| keys.contains(&new)).await;
    load.more("executions when the next key is known").await;
    spire.jwt_authority("activate", Some(&new)).await;
    assert_eq!(signs(&world).await, new);
    load.more("executions under the new key").await;
    spire.jwt_authority("taint", Some(&old)).await;
    load.more("executions when the old key is tainted").await;
    spire.jwt_authority("revoke", Some(&old)).await;
    spire.published("the end of the old key", |keys| keys == [new.clone()]).await;
    load.more("executions without the old key").await;
    println!("{} executions", load.ends(tasks).await);
    world.verified().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn i6_a_token_by_a_key_that_is_not_published_yet_is_refused_and_changes_nothing() {
    let mut world = World::new(&Options::default()).await;
    world.performs(&scale(4)).await;
    // Nobody fetches keys that are known.
    world.spire.discovery.as_mut().unwrap().kill();
    world.performs(&scale(5)).await;
    let certificate = world.certificate(&scale(6)).await;
    let new = world.spire.jwt_authority("prepare", None).await;
    world.spire.jwt_authority("activate", Some(&new)).await;
    let (status, answer) = world.execute("deployer", &certificate, &[]).await;
    assert_eq!((status, &answer["state"]), (1, &json!("rejected")), "{answer}");
    assert!(answer["detail"].as_str().unwrap().contains("401"), "{answer}");
    assert_eq!(world.object(CHECKOUT).await["spec"]["replicas"], 5, "nothing was done");
    world.spire.discovery.as_mut().unwrap().restart();
    world.spire.ready().await;
    world.spire.published("the new key", |keys| keys.contains(&new)).await;
    world.performs(&scale(6)).await;
    world.verified().await;
}
