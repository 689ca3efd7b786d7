//! Round builders, generators and the conformance suite for authors of policies.
