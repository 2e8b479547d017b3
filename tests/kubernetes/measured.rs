//! How long it takes. Not part of any stage.

use seb::clock;

use seb::target::Performed;

use crate::world::{Ask, SHOP, World, exact, fields};

#[tokio::test(flavor = "multi_thread")]
#[ignore = "it measures"]
async fn measure_a_mutation_and_a_read() {
    let world = World::new().await;
    world.shop().await;
    for (what, rounds) in [("warming up", 20), ("exact", 200), ("fields", 200)] {
        let mut times = Vec::new();
        for round in 0..rounds {
            let shop = world.get(SHOP).await;
            let baseline = if what == "fields" { fields(&shop, &["/spec/replicas"]) } else { exact(&shop) };
            let ask = Ask::scale("merge-patch", round % 10, baseline);
            let begun = clock::instant();
            let (_, performed) = world.perform(&ask).await;
            times.push(begun.elapsed().as_micros());
            assert!(matches!(performed, Performed::Succeeded { .. }), "{performed:?}");
        }
        times.sort_unstable();
        println!("{what}: p50 {} us, p99 {} us", times[times.len() / 2], times[times.len() * 99 / 100]);
    }
}
