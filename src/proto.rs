//! The gRPC types and services, generated from `proto/`.
#![expect(
    missing_docs,
    clippy::allow_attributes,
    clippy::allow_attributes_without_reason,
    reason = "generated code; the comments are in the proto files"
)]

/// `proto/seb`: the broker.
pub mod seb {
    /// Version 1.
    pub mod v1 {
        tonic::include_proto!("seb.v1");
    }
}

/// `proto/sab`: the authority.
pub mod sab {
    /// Version 1.
    pub mod v1 {
        tonic::include_proto!("sab.v1");
    }
}

/// The descriptors of all services, for gRPC reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
