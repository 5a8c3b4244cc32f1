//! The interface between gmat and its plugins. Empty until plugins are built.
