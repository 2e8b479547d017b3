//! What only the real store can do.
