//! Hosts and their order, by tables; and their addresses, from a real nameserver.

use super::*;
use crate::dns::{MxHost, Settings, Why};
use crate::nameserver::{Zone, serve};
use proptest::prelude::*;

fn domain(name: &str) -> Domain {
    name.parse().unwrap()
}

fn mx(hosts: &[(u16, &str)]) -> Mx {
    let host = |(preference, name): &(u16, &str)| MxHost { preference: *preference, name: domain(name) };
    Mx { hosts: hosts.iter().map(host).collect(), secure: true }
}

fn own() -> Own {
    Own {
        names: vec![domain("mail.own.test"), domain("own.test")],
        addresses: vec!["192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap()],
        listens: Vec::new(),
    }
}

#[test]
fn a_connection_from_the_address_that_it_goes_to_is_one_to_ourselves() {
    let at = |text: &str| text.parse().unwrap();
    let own = |listens: &[&str]| Own { listens: listens.iter().map(|l| at(l)).collect(), ..Own::default() };
    let everywhere = own(&["0.0.0.0:25", "[::]:25"]);
    let there = own(&["192.0.2.7:25"]);
    for (own, local, peer, expected) in [
        (&everywhere, "192.0.2.7:40000", "192.0.2.7:25", true),
        (&everywhere, "[2001:db8::7]:40000", "[2001:db8::7]:25", true),
        (&everywhere, "192.0.2.7:40000", "192.0.2.8:25", false),
        (&everywhere, "192.0.2.7:40000", "192.0.2.7:2525", false),
        (&own(&["[::]:25"]), "192.0.2.7:40000", "192.0.2.7:25", false),
        (&there, "192.0.2.7:40000", "192.0.2.7:25", true),
        (&there, "192.0.2.8:40000", "192.0.2.8:25", false),
        (&own(&[]), "192.0.2.7:40000", "192.0.2.7:25", false),
    ] {
        assert_eq!(own.is_reached(at(local), at(peer)), expected, "{local} to {peer}");
    }
}

/// Shuffles nothing: each stays where it is.
fn still(n: usize) -> usize {
    n - 1
}

fn names(found: &Hops) -> Vec<String> {
    found.hops.iter().map(|hop| hop.host.to_string()).collect()
}

#[test]
fn hosts_in_the_order_of_their_preference() {
    let of = domain("example.test");
    for (hosts, expected) in [
        (&[(20, "b.test"), (10, "c.test"), (30, "a.test")][..], Ok(&["c.test", "b.test", "a.test"][..])),
        (&[(0, "a.test")], Ok(&["a.test"])),
        (&[(65_535, "a.test"), (0, "b.test")], Ok(&["b.test", "a.test"])),
        (&[(20, "a.test"), (10, "a.test"), (15, "b.test")], Ok(&["a.test", "b.test"])),
        // We are on the list: only who is better.
        (&[(10, "a.test"), (20, "mail.own.test"), (30, "b.test")], Ok(&["a.test"])),
        (&[(10, "a.test"), (20, "b.test"), (20, "mail.own.test")], Ok(&["a.test"])),
        (&[(10, "mail.own.test"), (20, "a.test")], Err(NoRoute::LoopsBack(of.clone()))),
        (&[(10, "a.test"), (10, "own.test")], Err(NoRoute::LoopsBack(of.clone()))),
        (&[], Err(NoRoute::NoHosts(of.clone()))),
    ] {
        let found = hops(&of, Ok(mx(hosts)), &own(), &mut still);
        let expected = expected.map(|names| names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>());
        assert_eq!(found.as_ref().map(names).map_err(Clone::clone), expected, "{hosts:?}");
        assert!(found.is_err() || found.is_ok_and(|found| found.secure && !found.implicit));
    }
}

#[test]
fn without_mx_records_the_domain_is_its_own_host() {
    for secure in [true, false] {
        let found =
            hops(&domain("example.test"), Err(Error::NoRecords { secure }), &own(), &mut still).unwrap();
        assert_eq!(names(&found), ["example.test"]);
        assert_eq!((found.secure, found.implicit), (secure, true));
    }
    let ours = hops(&domain("own.test"), Err(Error::NoRecords { secure: true }), &own(), &mut still);
    assert_eq!(ours, Err(NoRoute::LoopsBack(domain("own.test"))));
    // Names in other scripts have become A-labels before they come here (RFC 5891).
    let found =
        hops(&domain("bücher.test"), Err(Error::NoRecords { secure: true }), &own(), &mut still).unwrap();
    assert_eq!(names(&found), ["xn--bcher-kva.test"]);
}

#[test]
fn address_literals_need_no_dns() {
    let unasked = || Err(Error::Temporary(Why::TimedOut));
    for literal in ["[192.0.2.7]", "[IPv6:2001:db8::7]"] {
        let found = hops(&domain(literal), unasked(), &own(), &mut still).unwrap();
        assert_eq!((names(&found), found.secure), (vec![literal.to_owned()], false));
    }
    for literal in ["[192.0.2.1]", "[IPv6:2001:db8::1]", "[IPv6:::ffff:192.0.2.1]"] {
        let found = hops(&domain(literal), unasked(), &own(), &mut still);
        assert_eq!(found, Err(NoRoute::LoopsBack(domain(literal))), "{literal}");
    }
}

#[test]
fn why_there_is_no_host() {
    let of = domain("example.test");
    for (answer, temporary, status, says) in [
        (Error::NullMx, false, (5, 1, 10), "takes no mail"),
        (Error::NoSuchDomain { secure: false }, false, (5, 1, 2), "no domain example.test"),
        (Error::Temporary(Why::Bogus), true, (4, 4, 3), "DNSSEC"),
        (Error::Temporary(Why::TimedOut), true, (4, 4, 3), "in time"),
    ] {
        let why = hops(&of, Err(answer), &own(), &mut still).unwrap_err();
        assert_eq!((why.is_temporary(), why.status()), (temporary, status), "{why}");
        assert!(why.to_string().contains(says), "{why}");
    }
    assert_eq!(NoRoute::LoopsBack(of.clone()).status(), (5, 4, 6));
    assert_eq!(NoRoute::NoHosts(of).status(), (5, 4, 4));
}

#[test]
fn a_delivery_tries_so_many_hosts_and_no_more() {
    let many: Vec<(u16, String)> = (0..40).map(|n| (n, format!("mx{n}.test"))).collect();
    let many: Vec<(u16, &str)> = many.iter().map(|(n, name)| (*n, name.as_str())).collect();
    let found = hops(&domain("example.test"), Ok(mx(&many)), &own(), &mut still).unwrap();
    assert_eq!(found.hops.len(), limits::MX_HOSTS);
    assert_eq!(names(&found)[9], "mx9.test");
}

#[test]
fn all_hosts_of_one_preference_come_first_now_and_then() {
    let hosts = [(10, "a.test"), (10, "b.test"), (10, "c.test"), (20, "d.test")];
    let mut orders = std::collections::BTreeSet::new();
    for (one, two) in [(0, 0), (1, 0), (2, 0), (0, 1), (1, 1), (2, 1)] {
        let mut given = [one, two].into_iter();
        let mut random = |n: usize| given.next().unwrap() % n;
        let found = hops(&domain("example.test"), Ok(mx(&hosts)), &own(), &mut random).unwrap();
        assert_eq!(names(&found)[3], "d.test");
        orders.insert(names(&found));
    }
    assert_eq!(orders.len(), 6, "each order of three comes from one of the six draws");
}

fn addresses(ips: &[&str]) -> Addresses {
    let mut found = Addresses { v6: Vec::new(), v4: Vec::new(), secure: false, alias: None };
    for ip in ips {
        match ip.parse().unwrap() {
            IpAddr::V6(ip) => found.v6.push(ip),
            IpAddr::V4(ip) => found.v4.push(ip),
        }
    }
    found
}

#[test]
fn families_take_turns() {
    let all = ["192.0.2.1", "192.0.2.2", "192.0.2.3", "2001:db8::1"];
    for (ips, families, expected) in [
        (&all[..], Families::V6First, &["2001:db8::1", "192.0.2.1", "192.0.2.2", "192.0.2.3"][..]),
        (&all, Families::V4First, &["192.0.2.1", "2001:db8::1", "192.0.2.2", "192.0.2.3"]),
        (&all, Families::V4Only, &["192.0.2.1", "192.0.2.2", "192.0.2.3"]),
        (&["2001:db8::1"], Families::V4First, &["2001:db8::1"]),
        (&["2001:db8::1"], Families::V4Only, &[]),
        (&[], Families::V6First, &[]),
    ] {
        let found: Vec<String> =
            order(&addresses(ips), families, &mut still).iter().map(IpAddr::to_string).collect();
        assert_eq!(found, expected, "{ips:?} {families:?}");
    }
}

#[test]
fn a_host_with_one_of_our_addresses_is_us() {
    let resolved = |host: &str, preference, found: Result<Addresses, Error>| Resolved {
        hop: Hop { host: domain(host), preference },
        addresses: found,
    };
    let of = domain("example.test");
    let all =
        hops(&of, Ok(mx(&[(10, "a.test"), (20, "b.test"), (30, "c.test")])), &own(), &mut still).unwrap();
    let unknown = || Err(Error::Temporary(Why::TimedOut));
    let found = |a, b, c| {
        let list = vec![resolved("a.test", 10, a), resolved("b.test", 20, b), resolved("c.test", 30, c)];
        reachable(&of, &all, list, &own())
            .map(|left| left.iter().map(|host| host.hop.host.to_string()).collect::<Vec<_>>())
    };
    let (other, ours) = (|| Ok(addresses(&["192.0.2.9"])), || Ok(addresses(&["192.0.2.8", "2001:db8::1"])));
    let none = || Err(Error::NoRecords { secure: true });
    assert_eq!(found(other(), other(), other()).unwrap(), ["a.test", "b.test", "c.test"]);
    assert_eq!(found(other(), ours(), other()).unwrap(), ["a.test"]);
    assert_eq!(found(ours(), other(), other()), Err(NoRoute::LoopsBack(of.clone())));
    // Of what could be left none has an address: whether it is known decides.
    assert_eq!(found(none(), none(), none()), Err(NoRoute::NoHosts(of.clone())));
    assert!(found(none(), unknown(), none()).unwrap_err().is_temporary());
    assert_eq!(found(none(), other(), unknown()).unwrap(), ["a.test", "b.test", "c.test"]);
    assert!(found(unknown(), ours(), other()).unwrap_err().is_temporary());
}

#[tokio::test]
async fn hosts_are_resolved_in_their_order() {
    let dir = tempfile::tempdir().unwrap();
    let mut zone = Zone::new(".")
        .ip("a.test", "192.0.2.10")
        .ip("b.test", "192.0.2.11")
        .ip("b.test", "2001:db8::11")
        .ip("example.test", "192.0.2.12");
    let trust_anchor = Some(zone.sign(dir.path()));
    let servers = vec![serve(vec![zone]).await];
    let dns = Dns::new(&Settings { servers, trust_anchor, ..Settings::default() }).unwrap();
    let of = domain("example.test");
    let all = hops(
        &of,
        Ok(mx(&[(1, "b.test"), (2, "none.test"), (3, "a.test"), (4, "[192.0.2.13]")])),
        &own(),
        &mut still,
    );
    let resolved = resolve(&dns, &all.unwrap()).await;
    let found: Vec<_> = resolved
        .iter()
        .map(|host| {
            let ips =
                host.addresses.as_ref().map(|found| found.all().map(|ip| ip.to_string()).collect::<Vec<_>>());
            (host.hop.host.to_string(), ips.unwrap_or_default())
        })
        .collect();
    let of = |host: &str, ips: &[&str]| (host.to_owned(), ips.iter().map(|ip| (*ip).to_owned()).collect());
    assert_eq!(
        found,
        [
            of("b.test", &["2001:db8::11", "192.0.2.11"]),
            of("none.test", &[]),
            of("a.test", &["192.0.2.10"]),
            of("[192.0.2.13]", &["192.0.2.13"]),
        ]
    );
}

proptest! {
    #[test]
    fn nothing_is_lost_or_worse_first(
        hosts in prop::collection::vec((0_u16..4, 0_usize..6), 0..12),
        draws in prop::collection::vec(any::<usize>(), 20),
    ) {
        let named: Vec<(u16, String)> = hosts.iter().map(|(p, n)| (*p, format!("mx{n}.test"))).collect();
        let named: Vec<(u16, &str)> = named.iter().map(|(p, n)| (*p, n.as_str())).collect();
        let mut draws = draws.into_iter().cycle();
        let mut random = |n: usize| draws.next().unwrap() % n;
        if let Ok(found) = hops(&domain("example.test"), Ok(mx(&named)), &own(), &mut random) {
            prop_assert!(found.hops.is_sorted_by_key(|hop| hop.preference));
            let all: std::collections::BTreeSet<_> = named.iter().map(|(_, n)| (*n).to_owned()).collect();
            let mut tried = names(&found);
            tried.sort();
            prop_assert_eq!(tried, all.into_iter().collect::<Vec<_>>());
        } else {
            prop_assert!(named.is_empty());
        }
    }
}
