//! Who may come in: connections at once, together and from one client.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::config::Network;

/// Counts connections over all listeners that share it.
#[derive(Debug)]
pub struct Gate {
    most: usize,
    most_each: usize,
    inside: Mutex<Inside>,
}

#[derive(Debug, Default)]
struct Inside {
    all: usize,
    /// Only networks with a connection stand here, so `all` bounds it.
    each: HashMap<Network, usize>,
}

/// Why a client may not come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closed {
    /// There are too many connections.
    Full,
    /// There are too many from this client.
    FullForYou,
}

/// The right to one connection; given back when dropped.
#[derive(Debug)]
pub struct Permit {
    gate: Arc<Gate>,
    network: Network,
}

impl Gate {
    /// A gate for so many connections, and so many from one IPv4 address or IPv6 /64.
    #[must_use]
    pub fn new(most: usize, most_each: usize) -> Arc<Gate> {
        Arc::new(Gate { most, most_each, inside: Mutex::default() })
    }

    /// Lets a client in.
    pub fn enter(self: &Arc<Gate>, ip: IpAddr) -> Result<Permit, Closed> {
        let network = Network::of(ip);
        let mut inside = self.inside();
        if inside.all >= self.most {
            return Err(Closed::Full);
        }
        let each = inside.each.get(&network).copied().unwrap_or(0);
        if each >= self.most_each {
            return Err(Closed::FullForYou);
        }
        inside.each.insert(network, each + 1);
        inside.all += 1;
        drop(inside);
        Ok(Permit { gate: Arc::clone(self), network })
    }

    /// Connections now.
    #[must_use]
    pub fn now(&self) -> usize {
        self.inside().all
    }

    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut inside = self.gate.inside();
        inside.all = inside.all.saturating_sub(1);
        match inside.each.get_mut(&self.network) {
            Some(each) if *each > 1 => *each -= 1,
            _ => drop(inside.each.remove(&self.network)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holds_both_limits_and_forgets_who_left() {
        let gate = Gate::new(3, 2);
        let from = |ip: &str| gate.enter(ip.parse().unwrap());
        let first = from("2001:db8::1").unwrap();
        let _second = from("2001:db8::2").unwrap();
        assert_eq!(from("2001:db8::3").unwrap_err(), Closed::FullForYou, "one /64 is one client");
        let _third = from("192.0.2.1").unwrap();
        assert_eq!(from("192.0.2.2").unwrap_err(), Closed::Full);
        drop(first);
        assert_eq!(gate.now(), 2);
        let _fourth = from("2001:db8::4").unwrap();
        drop((_second, _third, _fourth));
        assert_eq!((gate.now(), gate.inside().each.len()), (0, 0));
    }
}
