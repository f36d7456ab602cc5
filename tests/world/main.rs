//! Mail to other hosts: the real binary in a world of its own on loopback, with a nameserver and servers that do as a
//! script says. Each message arrives exactly once where the protocol lets that be known, or its sender is told the right
//! thing; whatever happens to us meanwhile, none is lost.
#![allow(clippy::unwrap_used, reason = "a test stops at what it does not expect")]

#[path = "../support/mod.rs"]
mod support;

#[path = "../support/nameserver.rs"]
#[allow(dead_code, reason = "others ask it more")]
mod nameserver;

mod house;
mod large;
#[allow(dead_code, reason = "others note when it heard what")]
mod mx;
mod notify;
mod relay;
mod replies;
mod routes;
mod salvage;
mod survive;
mod tls;
mod utf8;
