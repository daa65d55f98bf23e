//! What a person writes: types, loading, structure and schema.

pub mod load;
pub mod node;
pub mod number;
pub mod schema;
pub mod types;
pub mod walk;
