"""What people think of first. Source: written for this project out of general knowledge; no list was copied.

A password of twelve characters is common when little is left of it without these words, rows of a keyboard, counting
and repetition: `Password2026!!`, `qwertyuiop123`, `letmeinletmein`.
"""

from __future__ import annotations

import re

WORDS = frozenset(
    """
    password passwort motdepasse contrasena senha parola wachtwoord salasana lozinka heslo passphrase passcode
    secret geheim topsecret welcome willkommen bienvenue bienvenido letmein opensesame changeme changeit default
    temporary temp initial start login signin logon access admin administrator root user username guest test
    testing tester demo example sample master super superuser sysadmin system service server support helpdesk
    office company business hello hallo bonjour hola iloveyou ichliebedich jetaime teamo love lovely sweetheart
    darling forever friends family baby angel princess prince queen king dragon monkey tiger lion eagle wolf bear
    panther dolphin butterfly unicorn football baseball basketball soccer hockey cricket rugby liverpool arsenal
    chelsea barcelona realmadrid juventus superman batman spiderman ironman starwars skywalker pokemon pikachu
    minecraft fortnite matrix ninja samurai pirate shadow sunshine summer sommer winter spring autumn herbst
    monday friday sunday january march june july august october november december michael jennifer jessica ashley
    daniel thomas andrew joshua matthew charlie robert jordan george maggie buster ginger pepper cookie banana
    orange cheese chocolate coffee whatever trustno nothing computer internet google facebook linkedin twitter
    microsoft windows apple iphone samsung android github gitlab jupyter notebook python claude anthropic openai
    chatgpt llm proxy ultimate ultimateproxy database postgres oracle money lucky winner success freedom blessed
    jesus christ heaven correcthorsebatterystaple correct horse battery staple the my is this your pass word
    """.split()  # noqa: SIM905 - a hundred quotes would hide the words
)
_ROWS = (
    "1234567890",
    "abcdefghijklmnopqrstuvwxyz",
    "qwertyuiop",
    "asdfghjkl",
    "zxcvbnm",
    "qwertzuiop",
    "yxcvbnm",
    "azertyuiop",
    "qsdfghjklm",
    "wxcvbn",
    "1qaz2wsx3edc4rfv5tgb6yhn7ujm",
    "1q2w3e4r5t6y7u8i9o0p",
    "qazwsxedcrfvtgbyhnujm",
)
_SHORTEST_RUN = 4
_LEAST_LEFT = 6
_LEET = str.maketrans("@4310$5!7", "aaeiossit")
_WORD = re.compile("|".join(sorted(WORDS, key=len, reverse=True)))


def is_common(password: str) -> bool:
    """Say whether too little is left of a password without what everyone thinks of."""
    lower = password.casefold()
    readings = (lower, lower.translate(_LEET))
    return min(len(set(_rest(reading))) for reading in readings) < _LEAST_LEFT


def _rest(text: str) -> str:
    """Return what is left: each character counts once however often it stands in a row, and years do not count."""
    text = "".join(c for c in text if c.isalnum() or ord(c) > 0x7F)  # noqa: PLR2004 - ASCII's punctuation alone
    text = _WORD.sub("", text)
    text = _WORD.sub("", re.sub(r"(.+?)\1+", r"\1", text))
    text = re.sub(r"(19|20)\d\d", "", text)
    return _without_runs(text)


def _without_runs(text: str) -> str:
    """Remove four or more characters in a row of a keyboard or of counting, in either direction."""
    kept, at = [], 0
    while at < len(text):
        length = max(_run(text, at, row) for ordered in _ROWS for row in (ordered, ordered[::-1]))
        if length >= _SHORTEST_RUN:
            at += length
        else:
            kept.append(text[at])
            at += 1
    return "".join(kept)


def _run(text: str, at: int, row: str) -> int:
    place = row.find(text[at])
    if place < 0:
        return 0
    length = 0
    while at + length < len(text) and row[place + length : place + length + 1] == text[at + length]:
        length += 1
    return length
