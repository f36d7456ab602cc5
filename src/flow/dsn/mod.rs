//! Reports of delivery (RFC 3464).
