//! May this call be made, and if not, for which reasons?
