#!/usr/bin/env python3
"""Load for a plain SQLite file, from one thread with prepared statements: one row for each event,
journal_mode=WAL, synchronous=FULL. A transaction takes one call of each caller, as if they had all
been gathered. Prints calls per second, or the milliseconds that it took.

  sqlite_load.py FILE singles|batches|transfers|mix CALLERS SECONDS TAG
  sqlite_load.py FILE fill EVENTS EACH
  sqlite_load.py FILE victims ENTITIES EACH
  sqlite_load.py FILE read|delete ENTITY
  sqlite_load.py FILE start
"""
import bisect
import itertools
import random
import sqlite3
import sys
import time

ENTITIES, ACCOUNTS, BATCH, ZIPF = 10000, 1000, 500, 1.001
PAYLOAD = '{"amount":5,"from":"acct-00001234","ok":true}'
INSERT = "INSERT INTO events VALUES (?, ?, 'Credited', ?)"
SCHEMA = """
CREATE TABLE IF NOT EXISTS events (entity TEXT, seq INTEGER, type TEXT NOT NULL,
    payload TEXT NOT NULL, PRIMARY KEY (entity, seq)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS states (entity TEXT PRIMARY KEY, seq INTEGER, balance INTEGER)
    WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS accounts (id INTEGER PRIMARY KEY, balance INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS transfers (id INTEGER PRIMARY KEY, debited INTEGER, credited INTEGER,
    amount INTEGER);
"""


def opened(file):
    db = sqlite3.connect(file, isolation_level=None)
    db.execute("PRAGMA journal_mode=WAL")
    db.execute("PRAGMA synchronous=FULL")
    db.executescript(SCHEMA)
    return db


# Each of these carries out one call of each caller; the transaction is around it.


def singles(db, callers, tag):
    slice_ = ENTITIES // callers
    names = [f"acct-{tag}-{n}" for n in range(ENTITIES)]
    for call in itertools.count():
        first, seq = callers * (call % slice_), 1 + call // slice_
        db.executemany(INSERT, [(name, seq, PAYLOAD) for name in names[first : first + callers]])
        yield


def batches(db, callers, tag):
    slice_ = ENTITIES // callers
    for call in itertools.count():
        first, seq = callers * (call % slice_), 1 + call // slice_ * BATCH
        for n in range(first, first + callers):
            name = f"acct-{tag}-{n}"
            db.executemany(INSERT, [(name, s, PAYLOAD) for s in range(seq, seq + BATCH)])
        yield


def transfers(db, callers, _tag):
    db.executemany("INSERT INTO accounts VALUES (?, 0)", [(n,) for n in range(ACCOUNTS)])
    yield
    while True:
        for _ in range(callers):
            debited, credited = random.sample(range(ACCOUNTS), 2)
            db.execute("SAVEPOINT one")
            db.execute("UPDATE accounts SET balance = balance - 5 WHERE id = ?", (debited,))
            db.execute("UPDATE accounts SET balance = balance + 5 WHERE id = ?", (credited,))
            db.execute("INSERT INTO transfers VALUES (NULL, ?, ?, 5)", (debited, credited))
            db.execute("RELEASE one")
        yield


def mix(db, callers, tag):
    names = [f"mix-{tag}-{n}" for n in range(ENTITIES)]
    db.executemany("INSERT INTO states VALUES (?, 0, 0)", [(name,) for name in names])
    yield
    sums = list(itertools.accumulate(1 / n**ZIPF for n in range(1, ENTITIES + 1)))
    for call in itertools.count():
        for caller in range(callers):
            name = names[bisect.bisect(sums, random.random() * sums[-1])]
            if (call + caller) % 5:
                db.execute("SELECT seq, balance FROM states WHERE entity = ?", (name,)).fetchone()
            else:
                db.execute("UPDATE states SET seq = seq + 1, balance = balance + 5"
                           " WHERE entity = ?", (name,))
                db.execute("INSERT INTO events SELECT entity, seq, 'Credited', ? FROM states"
                           " WHERE entity = ?", (PAYLOAD, name))
        yield


def rate(db, turns, callers, seconds):
    turn(db, turns)
    for measured in (seconds / 5, seconds):
        count, began = 0, time.monotonic()
        while time.monotonic() < began + measured:
            turn(db, turns)
            count += callers
        result = count / (time.monotonic() - began)
    return result


def turn(db, turns):
    db.execute("BEGIN IMMEDIATE")
    next(turns)
    db.execute("COMMIT")


# All rows in one statement, in the order of the key, which is the quickest.


def fill(db, events, each):
    filled(db, "old-", 0, events // each - 1, each)


def victims(db, entities, each):
    filled(db, "victim-", 1, entities, each)


def filled(db, prefix, first, last, each):
    db.execute("PRAGMA synchronous=OFF")
    db.execute(
        """WITH RECURSIVE entities(e) AS (VALUES (?1) UNION ALL SELECT e + 1 FROM entities WHERE e < ?2),
                          seqs(s) AS (VALUES (1) UNION ALL SELECT s + 1 FROM seqs WHERE s < ?3)
           INSERT INTO events SELECT ?4 || e, s, 'Credited', ?5 FROM entities CROSS JOIN seqs""",
        (first, last, each, prefix, PAYLOAD))
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def read(db, entity):
    rows = db.execute("SELECT seq, type, payload FROM events WHERE entity = ? ORDER BY seq", (entity,))
    assert len(rows.fetchall()) > 0, f"there is no {entity}"


def delete(db, entity):
    db.execute("PRAGMA secure_delete=ON")
    assert db.execute("DELETE FROM events WHERE entity = ?", (entity,)).rowcount > 0
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def main():
    file, mode, *args = sys.argv[1:]
    began = time.monotonic()
    db = opened(file)
    if mode in ("singles", "batches", "transfers", "mix"):
        callers, seconds, tag = int(args[0]), float(args[1]), args[2]
        print(f"{rate(db, globals()[mode](db, callers, tag), callers, seconds):.3f}")
        return
    if mode == "start":
        db.execute("SELECT * FROM events LIMIT 1").fetchone()
    else:
        began = time.monotonic()
        if mode in ("fill", "victims"):
            globals()[mode](db, int(args[0]), int(args[1]))
        else:
            {"read": read, "delete": delete}[mode](db, args[0])
    print(f"{(time.monotonic() - began) * 1000:.3f}")


main()
