//! The sandbox: a small resource API that admits only the mutations of identities that the broker minted.
