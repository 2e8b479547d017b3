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

/// `proto/spire`: what a SPIRE server offers to those that mint.
pub(crate) mod spire {
    /// The API.
    pub(crate) mod api {
        /// Messages that several services share.
        pub(crate) mod types {
            tonic::include_proto!("spire.api.types");
        }
        /// Of the server.
        pub(crate) mod server {
            /// SVIDs.
            pub(crate) mod svid {
                /// Version 1.
                pub(crate) mod v1 {
                    tonic::include_proto!("spire.api.server.svid.v1");
                }
            }
        }
    }
}

/// The descriptors of all services, for gRPC reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
