//! The house rules, held by machine: floors, the walls' dependencies, rooms that say what they are for, citations.

mod citations;
mod floors;
mod rooms;
mod source;
