//! The embedded projection: one SQLite file that holds what users' projections made of events.
//!
//! Which tables it has and what stands in them is decided elsewhere, as SQL. Here is what runs
//! it: transactions on the one writing connection ([`database`]), and queries on connections that
//! cannot write ([`query`]).

mod database;
mod nifs;
mod query;
mod values;
