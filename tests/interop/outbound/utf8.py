"""Sends a message with letters outside ASCII wherever they may stand, as a user with such a name; then reads its INBOX until
something is in it, if asked to. Arguments: ports of submission and IMAP, user, password, recipient, `read` or nothing."""

import base64
import imaplib
import smtplib
import sys
import time
from email.message import EmailMessage
from email.policy import SMTPUTF8

submission, imap, user, password, to = sys.argv[1:6]
plain = f"\0{user}\0{password}".encode()

m = EmailMessage(policy=SMTPUTF8)
m["From"], m["To"], m["Subject"] = f"Jörg <{user}>", f"Bär <{to}>", "Grüße"
m["Message-ID"] = "<grüße@home.test>"
m.set_content("Es regnet überall.\n", cte="8bit")
m.add_attachment("x\n", filename="größe.txt")
with smtplib.SMTP("127.0.0.1", int(submission), timeout=30) as s:
    s.ehlo("client.home.test")
    assert s.has_extn("smtputf8") and s.has_extn("8bitmime"), s.esmtp_features
    # Its own login knows ASCII only.
    code, said = s.docmd("AUTH", "PLAIN " + base64.b64encode(plain).decode())
    assert code == 235, said
    for command in (f"MAIL FROM:<{user}>", f"MAIL FROM:<{user}> BODY=8BITMIME"):
        s.send(command.encode() + b"\r\n")
        code, said = s.getreply()
        assert (code, said[:5]) == (550, b"5.6.7"), said
    assert s.send_message(m) == {}

if sys.argv[6:] == ["read"]:
    i = imaplib.IMAP4("127.0.0.1", int(imap), timeout=30)
    i.authenticate("PLAIN", lambda _: plain)
    while int(i.select("INBOX", readonly=True)[1][0]) == 0:
        time.sleep(0.02)
    sys.stdout.buffer.write(i.fetch("1", "(BODY.PEEK[])")[1][0][1])
    i.logout()
