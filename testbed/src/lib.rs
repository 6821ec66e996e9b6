//! What agent-wrap is tested with.
