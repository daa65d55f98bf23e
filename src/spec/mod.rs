//! What a person writes: types, loading, structure and schema.

pub mod check;
pub mod files;
pub mod hints;
pub mod load;
pub mod names;
pub mod node;
pub mod number;
pub mod schema;
pub mod types;
pub mod walk;
