//! Reports where they were asked for, and none where they were not (RFC 3461).

use crate::house::Plan;

#[test]
fn who_asks_hears_that_it_is_there_or_was_passed_on_and_who_asks_not_to_hears_nothing() {
    let house = Plan::new().domain("far.test", 1).make();
    house.account("ben@home.test");
    let far = house.mx(1, "RCPT no@far.test 550 5.1.1 no");
    let server = house.serve();
    let mut sender = server.submission();
    let mut send = |to: &str, mail: &str, rcpt: &str| {
        let reply = sender.try_send(to, &[to], mail, rcpt, "It rains.\r\n").unwrap();
        assert!(reply.starts_with("250"), "{reply}");
    };
    send("ben@home.test", " RET=HDRS ENVID=A+2B1", " NOTIFY=SUCCESS ORCPT=rfc822;Ben@old.test");
    send("bob@far.test", "", " NOTIFY=SUCCESS,FAILURE");
    send("no@far.test", "", " NOTIFY=NEVER");
    send("no@far.test", "", " NOTIFY=SUCCESS");
    send("bob@far.test", "", " NOTIFY=FAILURE");
    drop(server.wait(&far, |seen| seen.mail.len() == 2));
    drop(server.reports(2));
    // Of these two nobody hears.
    let failed =
        |line: &&str| line.contains(r#""message":"failed""#) && line.contains(r#""to":"no@far.test""#);
    server.logged(|log| log.lines().filter(failed).count() == 2);
    server.stop();
    house.is_empty();

    // With everything settled there are these two, and no other.
    let server = house.serve();
    let reports = server.reports(2);
    assert_eq!(reports.len(), 2);
    for report in reports {
        match report.only().as_str() {
            "ben@home.test" => {
                report.says("ben@home.test", "delivered", "2.1.5", &[]);
                assert!(report.field("ben@home.test", "original-recipient").contains("Ben@old.test"));
            }
            // The other server does not offer DSN: what becomes of it there nobody tells.
            to => report.says(to, "relayed", "2.0.0", &[]),
        }
    }
    server.stop();
}
