//! Models of the commit path.
