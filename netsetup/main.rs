//! netsetup
fn main() {}
