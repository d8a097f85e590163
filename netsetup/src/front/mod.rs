//! How netsetup is spoken to: what comes in as words and JSON, and what goes out.

pub mod result;
