//! Attribute certificates (RFC 5755) in the profile of the broker.
