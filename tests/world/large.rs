//! A queue of a hundred thousand recipients.

use std::io::Write;

use rustix::process::Signal;

use crate::house::{Plan, signal};

#[test]
fn a_hundred_thousand_recipients_wait_in_bounded_memory() {
    let recipients =
        std::env::var("PENFOLD_WORLD_RECIPIENTS").ok().and_then(|n| n.parse().ok()).unwrap_or(100_000);
    // Nobody is there.
    let house = Plan::new().domain("gone.test", 1).outbound("retry = [\"1h\"]").make();
    let server = house.serve();
    let mut sender = server.submission();
    let empty = server.memory_kib("VmRSS");
    for n in 0..recipients / 1_000 {
        let to: Vec<String> = (0..1_000).map(|r| format!("somebody-{r}@gone.test")).collect();
        sender.send(&format!("m{n}"), &to.iter().map(String::as_str).collect::<Vec<_>>());
    }
    let full = server.memory_kib("VmRSS");
    // In the midst of telling them all that nobody was reached, perhaps.
    let began = penfold::clock::monotonic();
    signal(server.pid(), Signal::TERM);
    server.ended();
    let stopped = penfold::clock::monotonic() - began;
    assert_eq!(house.left().len(), recipients + recipients / 1_000);

    let began = penfold::clock::monotonic();
    let server = house.serve();
    let started = penfold::clock::monotonic() - began;
    let again = server.memory_kib("VmRSS");
    let _ = writeln!(
        std::io::stderr(),
        "{recipients} recipients: {empty} KiB before, {full} KiB queued, {again} KiB after a start; stop {stopped:?}, start {started:?}"
    );
    assert!(full < 256 * 1_024 && again < 256 * 1_024, "{full} KiB, {again} KiB");
    assert!(stopped.as_secs() < 20 && started.as_secs() < 20, "{stopped:?} {started:?}");
    server.stop();
}
