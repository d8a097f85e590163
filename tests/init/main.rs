//! pause as an init: beside tini, dumb-init and catatonit, and by itself.

mod bed;
mod crossed;
mod filters;
mod own;
