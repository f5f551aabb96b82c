"""Sends a mail: ``send_mail.py SUBJECT TEXT``, by the server and to the address in the environment."""

import os
import smtplib
import sys
from email.message import EmailMessage


def main() -> None:
    mail = EmailMessage()
    mail["From"] = os.environ.get("MAIL_FROM", "scheduler@localhost")
    mail["To"] = os.environ["MAIL_TO"]
    mail["Subject"] = sys.argv[1]
    mail.set_content(sys.argv[2])
    with smtplib.SMTP(os.environ["MAIL_HOST"], int(os.environ["MAIL_PORT"]), timeout=20) as server:
        server.send_message(mail)


if __name__ == "__main__":
    main()
