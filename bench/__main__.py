"""`make bench`: prints the numbers, stores them under bench/results/ as JSON, and writes docs/reference/numbers.md.

Everything is measured from outside, on a real installation with scripted models: times come from the database, the
run logs and the wall clock; CPU and memory from /proc. The bare CLIs run in between, on the same machine.
"""

import argparse
import json
import os
import platform
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from statistics import median

import anyio

from bench import bare, measures, report, whatsapp
from bench.gateway import gateway
from bench.hardening import HARDENING, starts
from bench.page import page
from bench.tunnel import fetches

_LARGE = 50_000_000


async def measure(engines: Sequence[str], turns: int) -> dict[str, dict[str, float]]:
    """Every number, by name."""
    found: dict[str, dict[str, float]] = {}
    for engine in engines:
        for provider in ("codex", "claude"):
            print(f"{turns} turns of {provider} in {engine} …", file=sys.stderr, flush=True)
            measured = await measures.turns(engine, provider, turns, bare.runner(provider))
            found[f"turn in {engine} / bare, {provider}"] = {
                "ratio": median(measured.turns) / median(measured.bare),
                "seconds": median(measured.turns),
                "bare_seconds": median(measured.bare),
            }
            found[f"message to runner start, {engine}, {provider}"] = {"ms": median(measured.to_runner) * 1000}
            found.setdefault(f"proof before a run, {engine}", {"ms": median(measured.proof) * 1000})
            found.setdefault("host share, message to sandbox start", {"ms": median(measured.host_share) * 1000})
    print("mailbox, idle host, ingest …", file=sys.stderr, flush=True)
    found["IPC file to sent"] = {"ms": median(await measures.mailbox(engines[0], 60)) * 1000}
    idle = await measures.idle(engines[0], seconds=30.0)
    found["idle CPU"] = {"percent": idle.cpu_percent}
    found["host memory"] = {"megabytes": idle.megabytes}
    late = sorted(await measures.lateness(engines[0], 40))
    found["scheduler lateness"] = {"ms": median(late) * 1000, "p99_ms": late[int(0.99 * (len(late) - 1))] * 1000}
    found["a look at 100,000 tasks"] = {"ms": median(measures.many_tasks(100_000)) * 1000}
    found["ingest"] = {"messages_per_second": await measures.ingest(engines[0], 1000)}
    cost = await gateway(engines[0], 200)
    found["gateway, added to a request"] = {"ms": (median(cost.through.whole) - median(cost.direct.whole)) * 1000}
    first_byte = median(cost.through.first_byte) - median(cost.direct.first_byte)
    found["gateway, added to a stream's first byte"] = {"ms": first_byte * 1000}
    found["host memory, growth under 16 streams"] = {"megabytes": cost.growth_megabytes}
    found |= await containment([engine for engine in engines if engine in HARDENING], turns)
    print("page …", file=sys.stderr, flush=True)
    answers = await page(engines[0])
    found["page with 100 groups, 10,000 runs, 100,000 messages"] = {
        "ms": answers.slowest * 1000,
        "usual_ms": answers.usual * 1000,
    }
    print("WhatsApp …", file=sys.stderr, flush=True)
    chat = await whatsapp.latency(turns)
    found["WhatsApp, message on the wire to sandbox start"] = {"ms": median(chat.to_agent) * 1000}
    found["WhatsApp, agent done to reply on the wire"] = {"ms": median(chat.to_wire) * 1000}
    carried = await whatsapp.load(10_000, 1_000)
    found["WhatsApp, rate in and out"] = {
        "in_per_second": carried.received_per_second,
        "out_per_second": carried.sent_per_second,
    }
    found["WhatsApp worker after 10,000 messages"] = {"megabytes": carried.megabytes}
    return found


async def containment(engines: Sequence[str], count: int) -> dict[str, dict[str, float]]:
    """What proof, hardening and tunnel add."""
    found: dict[str, dict[str, float]] = {}
    for engine in engines:
        print(f"{3 * count} starts in {engine} …", file=sys.stderr, flush=True)
        started = await starts(engine, count)
        whole, unproven, soft = (median(way) * 1000 for way in (started.whole, started.unproven, started.soft))
        found[f"run's start in {engine}, proof on / off"] = {"ms": whole, "ms_off": unproven}
        found[f"run's start in {engine}, hardening on / off"] = {"ms": unproven, "ms_off": soft}
    print("tunnel …", file=sys.stderr, flush=True)
    small = await fetches(20 * count, 100)
    found["tunnel, added to a small request"] = {"ms": (median(small.tunnel) - median(small.direct)) * 1000}
    large = await fetches(count, _LARGE)
    found["download of 50 MB through the tunnel / direct"] = {
        "seconds": median(large.tunnel),
        "direct_seconds": median(large.direct),
    }
    return found


def main() -> None:
    """Measure, print, store."""
    parser = argparse.ArgumentParser(prog="bench")
    parser.add_argument("--engine", action="append", choices=["bubblewrap", "podman", "docker"])
    parser.add_argument("--turns", type=int, default=15)
    options = parser.parse_args()
    found = anyio.run(measure, options.engine or ["bubblewrap", "podman"], options.turns)
    print(report.table(found))
    now = datetime.now(UTC)
    machine = {
        "cpus": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
    }
    document = {"at": now.isoformat(timespec="seconds"), "machine": machine, "numbers": found}
    stored = report.RESULTS / f"{now:%Y%m%dT%H%M%SZ}.json"
    stored.parent.mkdir(exist_ok=True)
    stored.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    report.PAGE.write_text(report.page(document), encoding="utf-8")
    print(f"\nstored as {stored}, and in {report.PAGE}; README.md shows some of its rows")


main()
