//! The execution contract.

/// placeholder
#[derive(Debug, Clone)]
pub struct Contract;
impl Contract {
    /// placeholder
    pub fn canonical(&self) -> &str {
        ""
    }
}
