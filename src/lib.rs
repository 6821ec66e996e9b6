//! The shells around the supervisor.
