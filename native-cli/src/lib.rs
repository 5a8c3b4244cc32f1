//! The command line front end of gmat.
