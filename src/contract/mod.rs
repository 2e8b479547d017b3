//! The execution contract: the exact mutation that an authority admitted, and what was left open in it.
