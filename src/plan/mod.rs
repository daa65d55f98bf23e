//! Spec × sweep × seeds → runs with ids. Pure.

pub mod expand;
pub mod sweep;
pub mod template;
