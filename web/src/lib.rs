//! The browser front end of gmat. Empty until the page is built.
