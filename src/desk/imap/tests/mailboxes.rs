//! LIST and its kin, CREATE, RENAME, DELETE, STATUS, COPY, MOVE.

use super::house::House;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists() {
    let house = House::new().await;
    let mut c = house.client().await;
    c.hears(r#"LIST "" """#, "* LIST (\\Noselect) \"/\" \"\"\n. OK Listed").await;
    c.hears(
        r#"LIST "" "*""#,
        r#"* LIST (\HasNoChildren \Archive) "/" "Archive"
           * LIST (\HasNoChildren \Drafts) "/" "Drafts"
           * LIST (\HasNoChildren) "/" "INBOX"
           * LIST (\HasNoChildren \Junk) "/" "Junk"
           * LIST (\HasNoChildren \Sent) "/" "Sent"
           * LIST (\HasNoChildren \Trash) "/" "Trash"
           . OK Listed"#,
    )
    .await;
    c.hears("CREATE a/b/c", ". OK Created").await;
    c.hears("CREATE a/b/c", ". NO [ALREADYEXISTS] ~").await;
    c.hears("CREATE inbox", ". NO [ALREADYEXISTS] ~").await;
    c.hears(r#"LIST "" "a%""#, "* LIST (\\HasChildren) \"/\" \"a\"\n. OK Listed").await;
    c.hears(r#"LIST "a/" "%""#, "* LIST (\\HasChildren) \"/\" \"a/b\"\n. OK Listed").await;
    c.hears("DELETE a/b", ". OK Deleted").await;
    c.hears(r#"LIST "" "a/%""#, "* LIST (\\Noselect \\HasChildren) \"/\" \"a/b\"\n. OK Listed").await;
    c.hears("SELECT a/b", ". NO [NONEXISTENT] ~").await;
    c.hears("DELETE a/b", ". NO [CANNOT] ~").await;
    c.hears("DELETE nowhere", ". NO [NONEXISTENT] ~").await;
    c.hears("DELETE INBOX", ". NO [CANNOT] ~").await;
    c.hears("RENAME a/b x", ". OK Renamed").await;
    c.hears(r#"LIST "" "x*""#, "* LIST (~\n* LIST (\\HasNoChildren) \"/\" \"x/c\"\n. OK Listed").await;
    c.hears("RENAME nowhere y", ". NO [NONEXISTENT] ~").await;
    c.hears("RENAME x/c Sent", ". NO [ALREADYEXISTS] ~").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn subscriptions() {
    let house = House::new().await;
    let mut c = house.client().await;
    c.run("CREATE foo/bar").await;
    c.run("UNSUBSCRIBE foo").await;
    for other in ["Archive", "Drafts", "INBOX", "Junk", "Sent", "Trash"] {
        c.hears(&format!("UNSUBSCRIBE {other}"), ". OK Unsubscribed").await;
    }
    c.hears(r#"LSUB "" "*""#, "* LSUB () \"/\" \"foo/bar\"\n. OK Listed").await;
    c.hears(r#"LSUB "" "%""#, "* LSUB (\\Noselect) \"/\" \"foo\"\n. OK Listed").await;
    c.hears("SUBSCRIBE nowhere", ". NO [NONEXISTENT] ~").await;
    c.hears("SUBSCRIBE sent", ". NO [NONEXISTENT] ~").await;
    c.hears("SUBSCRIBE Sent", ". OK Subscribed").await;
    c.hears(
        r#"LIST (SUBSCRIBED) "" "*" RETURN (SPECIAL-USE)"#,
        "* LIST (\\HasNoChildren \\Subscribed \\Sent) \"/\" \"Sent\"\n* LIST (\\HasNoChildren \\Subscribed) \"/\" \"foo/bar\"\n. OK Listed",
    )
    .await;
    c.hears(
        r#"LIST (SUBSCRIBED RECURSIVEMATCH) "" "%""#,
        "* LIST (\\HasNoChildren \\Subscribed \\Sent) \"/\" \"Sent\"\n* LIST (\\HasChildren) \"/\" \"foo\" (\"CHILDINFO\" (\"SUBSCRIBED\"))\n. OK Listed",
    )
    .await;
    // A subscription outlives its mailbox (RFC 3501 s.6.3.6).
    c.run("DELETE foo/bar").await;
    let answer = c.run(r#"LIST (SUBSCRIBED) "" "foo*""#).await;
    if !answer.starts_with(". OK") {
        assert!(answer.contains("\\NonExistent") && answer.contains("\\Subscribed"), "{answer}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn extended_lists() {
    let house = House::new().await;
    let mut c = house.client().await;
    c.append("Sent (\\Seen)", "A: b\r\n\r\n").await;
    c.append("Sent", "A: b\r\n\r\n").await;
    c.hears(
        r#"LIST (SPECIAL-USE) "" ("S*" "Tr%") RETURN (STATUS (MESSAGES UNSEEN UIDNEXT RECENT))"#,
        r#"* LIST (\HasNoChildren \Sent) "/" "Sent"
           * STATUS "Sent" (MESSAGES 2 UNSEEN 1 UIDNEXT 3 RECENT 2)
           * LIST (\HasNoChildren \Trash) "/" "Trash"
           * STATUS "Trash" (MESSAGES 0 UNSEEN 0 UIDNEXT 1 RECENT 0)
           . OK Listed"#,
    )
    .await;
    c.hears("STATUS sent (MESSAGES)", ". NO [NONEXISTENT] ~").await;
    c.hears("STATUS Sent (UIDVALIDITY)", "* STATUS \"Sent\" (UIDVALIDITY #)\n. OK ~").await;
    c.hears("CREATE Mine (USE (\\Sent))", ". NO [USEATTR] ~").await;
    c.run("DELETE Sent").await;
    c.hears("CREATE Mine (USE (\\Sent))", ". OK Created").await;
    c.hears(r#"LIST "" Mine"#, "* LIST (\\HasNoChildren \\Sent) \"/\" \"Mine\"\n. OK Listed").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_are_copied_and_moved() {
    let house = House::new().await;
    let mut c = house.in_inbox().await;
    for i in 1..=4 {
        c.append("INBOX (\\Seen $K)", &format!("Subject: {i}\r\n\r\n")).await;
    }
    c.hears("COPY 2:3 Archive", ". OK [COPYUID # 2:3 1:2] Copied").await;
    c.hears("UID COPY 1,99 Archive", ". OK [COPYUID # 1 3] Copied").await;
    c.hears("UID COPY 99 Archive", ". OK ~").await;
    c.hears("COPY 1 Nowhere", ". NO [TRYCREATE] ~").await;
    c.hears("MOVE 1:2 Trash", "* OK [COPYUID # 1:2 1:2] Moved\n* 2 EXPUNGE\n* 1 EXPUNGE\n. OK Moved").await;
    // Phones ask for what has gone: NO would leave them phantoms.
    c.hears("UID MOVE 1:2 Trash", ". OK ~").await;
    c.hears("UID MOVE 4 Trash", "* OK [COPYUID # 4 3] Moved\n* 2 EXPUNGE\n. OK Moved").await;
    c.run("SELECT Trash").await;
    c.hears(
        "FETCH 1:* (UID FLAGS BODY.PEEK[HEADER.FIELDS (SUBJECT)])",
        "* 1 FETCH (UID 1 FLAGS (\\Seen \\Recent $K) BODY[HEADER.FIELDS (SUBJECT)] {14}\nSubject: 1\n\n)
         * 2 FETCH (UID 2 FLAGS (\\Seen \\Recent $K) BODY[HEADER.FIELDS (SUBJECT)] {14}\nSubject: 2\n\n)
         * 3 FETCH (UID 3 FLAGS (\\Seen \\Recent $K) BODY[HEADER.FIELDS (SUBJECT)] {14}\nSubject: 4\n\n)
         . OK Fetched",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn inbox_is_renamed_and_is_still_there() {
    let house = House::new().await;
    let mut c = house.client().await;
    c.append("INBOX", "A: b\r\n\r\n").await;
    c.hears("RENAME INBOX old", ". OK Renamed").await;
    c.hears("STATUS old (MESSAGES)", "* STATUS \"old\" (MESSAGES 1)\n. OK ~").await;
    c.hears("STATUS INBOX (MESSAGES)", "* STATUS \"INBOX\" (MESSAGES 0)\n. OK ~").await;
}
