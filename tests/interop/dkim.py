"""Verifies the first two signatures of each message: `name=record ... file ...`, one line for each file."""
import sys
import dkim

records = {}
files = []
for argument in sys.argv[1:]:
    if "._domainkey." in argument:
        name, value = argument.split("=", 1)
        records[name + "."] = value.encode()
    else:
        files.append(argument)


def lookup(name, timeout=5):
    return records.get(name if isinstance(name, str) else name.decode())


for file in files:
    with open(file, "rb") as message:
        verifier = dkim.DKIM(message.read())
    results = []
    for n in range(2):
        try:
            results.append(verifier.verify(idx=n, dnsfunc=lookup))
        except dkim.DKIMException:
            results.append(False)
    print(*results)
