//! Faults of the fake and of the disk.
