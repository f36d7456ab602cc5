//! The house rules, held by machine: floors, the walls' dependencies, rooms that say what they are for, citations.

#![allow(clippy::unwrap_used, reason = "a test stops at what it does not expect")]

mod citations;
mod cli;
mod floors;
mod rooms;
mod source;
