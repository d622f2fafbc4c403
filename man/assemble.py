#!/usr/bin/python3
"""Makes one manual page: fills in what comes from the code, and runs scdoc.

assemble.py SCDOC TEMPLATE [COMMAND...]: @GENERATED@ in the template becomes the command's output.
A COMMAND that is a file which cannot be run is shown as it is, as an example."""
import os
import pathlib
import re
import subprocess
import sys


def main():
    scdoc, template, *command = sys.argv[1:]
    text = pathlib.Path(template).read_text(encoding="utf-8")
    if command and os.access(command[0], os.X_OK):
        made = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    elif command:
        made = f"```\n{pathlib.Path(command[0]).read_text(encoding='utf-8').rstrip()}\n```\n"
    else:
        made = ""
    text = text.replace("@GENERATED@\n", re.sub(r"\n{3,}", "\n\n", made.rstrip()) + "\n")
    page = subprocess.run([scdoc], input=text, capture_output=True, text=True, check=False)
    if page.returncode:
        sys.exit(f"{template}: {page.stderr}")
    sys.stdout.write(page.stdout)


if __name__ == "__main__":
    main()
