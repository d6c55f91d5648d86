//! What finds an entity's rows: where its log ends, the chain of its rows, marks, ids, and its aggregates.

pub mod aggregates;
pub mod chain;
pub mod entities;
pub mod ids;
pub mod open_table;
