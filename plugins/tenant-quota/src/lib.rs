//! A filter: hard caps on what a tenant may hold.
