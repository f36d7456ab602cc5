"""Drives the server with Python's own mail libraries. Arguments: certificate, alice, her password, bob, his, ports."""

import imaplib
import poplib
import smtplib
import ssl
import sys
from email.message import EmailMessage

cert, alice, alice_pw, bob, bob_pw = sys.argv[1:6]
port = {k: int(v) for k, v in (a.split("=") for a in sys.argv[6:])}
tls = ssl.create_default_context(cafile=cert)
host = "localhost"


def mail(subject, sender, to, text):
    m = EmailMessage()
    m["From"], m["To"], m["Subject"] = sender, to, subject
    m.set_content(text)
    return m


# smtplib: submission with STARTTLS, implicit TLS, and plain delivery to the MX.
with smtplib.SMTP(host, port["submission"], timeout=30) as s:
    s.starttls(context=tls)
    s.login(alice, alice_pw)
    s.send_message(mail("grüße", alice, bob, "Füße und Grüße\n.\n..\nEnde\n"))
    assert s.sendmail(alice, ["far@example.org"], b"From: " + alice.encode() + b"\r\n\r\nx\r\n") == {}
    try:
        s.sendmail(bob, [bob], b"From: " + bob.encode() + b"\r\n\r\nx\r\n")
        raise SystemExit("a foreign sender was taken")
    except smtplib.SMTPResponseException as e:
        assert e.smtp_code in (550, 553), e
with smtplib.SMTP_SSL(host, port["submissions"], context=tls, timeout=30) as s:
    s.login(bob, bob_pw)
    s.send_message(mail("from bob", bob, alice, "hello\n"))
with smtplib.SMTP(host, port["smtp"], timeout=30) as s:
    s.send_message(mail("from afar", "x@example.net", alice, "hello from afar\n"))

# imaplib
i = imaplib.IMAP4_SSL(host, port["imaps"], ssl_context=tls, timeout=30)
i.login(bob, bob_pw)
ok, n = i.select("INBOX")
assert ok == "OK" and int(n[0]) == 2, (ok, n)
ok, found = i.search("UTF-8", "SUBJECT", '"grüße"'.encode())
assert ok == "OK" and found[0].split(), found
seq = found[0].split()[0]
ok, data = i.fetch(seq, "(FLAGS UID RFC822.SIZE ENVELOPE BODYSTRUCTURE BODY.PEEK[])")
assert ok == "OK", data
whole = data[0][1]
assert "Füße".encode() in whole or b"F=C3=BC" in whole, whole
print("8bit" if "Füße".encode() in whole else "quoted")
ok, found = i.search(None, "BODY", '"Ende"')
assert found[0].split() == [seq], found
assert i.store(seq, "+FLAGS", "(\\Seen $Forwarded)")[0] == "OK"
ok, flags = i.fetch(seq, "(FLAGS)")
assert b"\\Seen" in flags[0] and b"$Forwarded" in flags[0], flags
assert i.create('"A/B"')[0] == "OK"
assert i.copy(seq, '"A/B"')[0] == "OK"
assert i.append('"A/B"', "(\\Draft)", None, b"Subject: appended\r\n\r\nx\r\n")[0] == "OK"
ok, status = i.status('"A/B"', "(MESSAGES UNSEEN UIDNEXT UIDVALIDITY RECENT)")
assert b"MESSAGES 2" in status[0], status
assert i.rename('"A/B"', '"A/C"')[0] == "OK"
ok, boxes = i.list()
assert any(b'"A/C"' in b or b"A/C" in b for b in boxes), boxes
assert any(b"\\Sent" in b for b in boxes), boxes
assert i.uid("MOVE", "1:*", '"A/C"')[0] == "OK"
ok, n = i.select('"A/C"')
assert int(n[0]) == 4, n
i.store("1:*", "+FLAGS", "\\Deleted")
assert i.expunge()[0] == "OK"
assert i.close()[0] == "OK"
i.delete('"A/C"')
assert i.namespace()[0] == "OK" and i.noop()[0] == "OK"
try:
    i.select("nowhere", readonly=True)
except imaplib.IMAP4.error:
    pass
i.logout()

# AUTHENTICATE, and a wrong password.
i = imaplib.IMAP4(host, port["imap"], timeout=30)
i.starttls(tls)
i.authenticate("PLAIN", lambda _: f"\0{alice}\0{alice_pw}".encode())
i.select()
i.logout()
i = imaplib.IMAP4_SSL(host, port["imaps"], ssl_context=tls, timeout=30)
try:
    i.login(alice, "wrong")
    raise SystemExit("a wrong password was taken")
except imaplib.IMAP4.error as e:
    assert "AUTHENTICATIONFAILED" in str(e), e
i.logout()

# poplib
p = poplib.POP3_SSL(host, port["pop3s"], context=tls, timeout=30)
p.user(alice)
p.pass_(alice_pw)
count, size = p.stat()
assert count == 3, count
assert sum(int(x.split()[1]) for x in p.list()[1]) == size
before = p.uidl()[1]
got = b"\n".join(p.retr(count)[1])
assert b"hello from afar" in got, got
assert b"hello from afar" not in b"\n".join(p.top(count, 0)[1])
q = poplib.POP3(host, port["pop3"], timeout=30)
q.stls(tls)
assert "UIDL" in q.capa() and "TOP" in q.capa()
try:
    q.user(alice)
    q.pass_(alice_pw)
    raise SystemExit("a maildrop was served twice")
except poplib.error_proto as e:
    assert b"IN-USE" in e.args[0], e
q.close()
p.dele(1)
p.rset()
p.dele(2)
p.quit()
p = poplib.POP3_SSL(host, port["pop3s"], context=tls, timeout=30)
p.user(alice)
p.pass_(alice_pw)
after = p.uidl()[1]
assert [x.split()[1] for x in after] == [x.split()[1] for k, x in enumerate(before) if k != 1], (before, after)
p.quit()
print("all well")
