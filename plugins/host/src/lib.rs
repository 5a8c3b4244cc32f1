//! The native host of plugins. Empty until plugins are built.
