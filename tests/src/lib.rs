//! The promises of the host, tested where they are made.
