//! A relay that takes mail for others, where the direct way does not work.

use crate::house::Plan;

#[test]
fn when_the_direct_way_is_closed_the_relay_takes_it_and_only_that() {
    let plan = Plan::new().domain("far.test", 1).domain("open.test", 3);
    let (relay, port) = (plan.ip(2), plan.port());
    let lines = format!(
        "retry = [\"1s\"]\n[relay]\nhost = \"[{relay}]\"\nport = {port}\ntls = \"none\"\nwhen = \"fallback\"\nafter = 2"
    );
    let house = plan.outbound(&lines).make();
    // Nobody is at the first.
    let (relay, open) = (house.mx(2, ""), house.mx(3, ""));
    let server = house.serve();
    let mut sender = server.submission();
    sender.send("closed", &["bob@far.test"]);
    sender.send("open", &["bob@open.test"]);
    drop(server.wait(&open, |seen| seen.mail.len() == 1));
    drop(server.wait(&relay, |seen| seen.mail.len() == 1));
    let log = server.stop();
    assert_eq!(relay.seen().mail[0].subject(), "closed");
    assert_eq!(open.seen().mail[0].subject(), "open");
    assert_eq!(log.matches("\"put off\"").count(), 1, "the second try went by the relay: {log}");
    house.is_empty();
}

#[test]
fn a_relay_for_some_domains_gets_no_other() {
    let plan = Plan::new().domain("far.test", 1).domain("sub.only.test", 3);
    let (relay, port) = (plan.ip(2), plan.port());
    let lines =
        format!("[relay]\nhost = \"[{relay}]\"\nport = {port}\ntls = \"none\"\ndomains = [\"only.test\"]");
    let house = plan.outbound(&lines).make();
    let (far, relay) = (house.mx(1, ""), house.mx(2, ""));
    let server = house.serve();
    let mut sender = server.submission();
    for to in ["bob@far.test", "bob@only.test", "bob@sub.only.test"] {
        sender.send(to, &[to]);
    }
    drop(server.wait(&far, |seen| seen.mail.len() == 1));
    drop(server.wait(&relay, |seen| seen.mail.len() == 2));
    server.stop();
    assert_eq!(far.seen().mail[0].subject(), "bob@far.test");
    house.is_empty();
}
