//! Compiles `proto/` without `protoc`, and keeps the descriptors for gRPC reflection.

use std::error::Error;
use std::path::PathBuf;

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
    Ok(())
}
