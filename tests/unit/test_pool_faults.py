"""Random kills of workers and drivers: the digits of the undisturbed run, and nothing complete twice."""

from __future__ import annotations

import os
import random
import signal
import time
from contextlib import suppress

from test_pool import Driver, digests

from reference.studies import diamonds
from surpass.engine import inline
from surpass.store import Store

NUM_KILLS = 20
DEPTH, SECONDS = 12, 0.05


def test_twenty_random_kills(tmp_path):
    chance = random.Random(0)
    log, undisturbed, store = str(tmp_path / "log"), Store(tmp_path / "inline"), Store(tmp_path / "store")
    target = diamonds(log, depth=DEPTH)
    inline.run([target], undisturbed)
    kept: dict[str, object] = {}
    kills, rounds, driver = 0, 0, Driver(store, log, depth=DEPTH, seconds=SECONDS)
    while kills < NUM_KILLS:
        time.sleep(chance.uniform(0.0, 0.6))
        if driver.process.poll() is not None:  # done, or a stage met three kills
            driver.process.communicate()
            if found := digests(store).keys() == digests(undisturbed).keys():
                assert digests(store) == digests(undisturbed)
                rounds, store = rounds + 1, Store(tmp_path / f"store-{rounds}")
            kept = {} if found else kept
            driver = Driver(store, log, depth=DEPTH, seconds=SECONDS)
        elif chance.random() < 0.25:
            driver.kill()
            kills += 1
            now = {artifact.id: artifact.manifest for artifact in store.artifacts()}
            assert kept.items() <= now.items()
            kept = now
            driver = Driver(store, log, depth=DEPTH, seconds=SECONDS)
        elif workers := driver.workers():
            with suppress(ProcessLookupError):
                os.kill(chance.choice(workers), signal.SIGKILL)
                kills += 1
    driver.kill()
    inline.run([target], store)
    assert digests(store) == digests(undisturbed)
    now = {artifact.id: artifact.manifest for artifact in store.artifacts()}
    assert kept.items() <= now.items()
    store.clean_tmp()
    assert store.verify() == []
