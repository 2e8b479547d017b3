//! What the authority has revoked, and how old that knowledge is (I2).
