//! The driver against the real server, over loopback.

mod performing;
mod refusing;
mod stored;
mod world;
