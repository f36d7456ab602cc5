"""Reads a report: its file, and the type that its third part should have."""
import email
import email.policy
import sys

with open(sys.argv[1], "rb") as file:
    report = email.message_from_binary_file(file, policy=email.policy.SMTPUTF8)

assert report.get_content_type() == "multipart/report", report.get_content_type()
assert report.get_param("report-type") == "delivery-status"
assert not report.defects, report.defects
assert report["Auto-Submitted"] == "auto-replied"
assert report["References"] == "<m1@b.test>"
people, programs, original = report.get_payload()
assert "The mailbox does not exist." in people.get_content(), people.get_content()
assert "j\u00f6rg@far.test" in people.get_content()
assert not any(ord(c) < 32 and c not in "\r\n" for c in people.get_content())

wide = sys.argv[2].startswith("message/global")
kind = "message/global-delivery-status" if wide else "message/delivery-status"
assert programs.get_content_type() == kind, programs.get_content_type()
if wide:
    # Python does not know this type: the groups of fields are read by hand.
    text = programs.get_payload()[0] if programs.is_multipart() else programs
    octets = text.as_bytes(policy=email.policy.SMTPUTF8.clone(max_line_length=0))
    with open(sys.argv[1], "rb") as file:
        octets = file.read().split(b"delivery-status\r\n", 1)[1].split(b"\r\n\r\n", 1)[1].split(b"\r\n--", 1)[0]
    groups = [email.message_from_bytes(group, policy=email.policy.SMTPUTF8) for group in octets.split(b"\r\n\r\n")]
else:
    groups = programs.get_payload()
groups = [group for group in groups if group.keys()]
assert len(groups) == 3, [group.items() for group in groups]
assert groups[0]["Reporting-MTA"] == "dns; mail.b.test"
assert (groups[1]["Action"], groups[1]["Status"]) == ("failed", "5.1.1"), groups[1].items()
assert groups[1]["Final-Recipient"] == "rfc822; bob@far.test"
assert "no such user" in groups[1]["Diagnostic-Code"]
assert groups[2]["Action"] == "delayed" and groups[2]["Will-Retry-Until"]
jorg = "utf-8; j\u00f6rg@far.test" if wide else "utf-8; j\\x{F6}rg@far.test"
assert str(groups[2]["Final-Recipient"]) == jorg, groups[2]["Final-Recipient"]

assert original.get_content_type() == sys.argv[2], original.get_content_type()
assert b"Message-ID: <m1@b.test>" in original.as_bytes()
print("all well")
