//! What no certificate may exceed, however valid (I10).
