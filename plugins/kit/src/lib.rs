//! Pure parts that the bundled policies and the built-ins of the host share.
