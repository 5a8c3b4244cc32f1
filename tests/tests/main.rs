//! The integration tests, one module each.

mod quant_golden;
